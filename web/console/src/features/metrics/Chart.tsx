/** One chart on uPlot: average line in a min-max band, gaps as gaps, dropped data hatched with its reason, shared crosshair, drag to zoom. Loaded when used. */
import "uplot/dist/uPlot.min.css";
import { Bdi, useTheme } from "@unifyit/ui";
import clsx from "clsx";
import { useEffect, useMemo, useRef, useState } from "react";
import uPlot from "uplot";
import { metric } from "@/lib/format";
import { clockOnly, dayOnly, shortTime, timeOfDay } from "@/lib/time";
import { now } from "@/lib/clock";
import { t } from "@/strings";
import { foremost, latest, type ChartData, type Line } from "./series";

const HEIGHT = 168;
/** Lines of fewer points than this show each of them. */
const SPARSE = 40;
const MOST_LINES = 6;
/** The least width of a gap, so that one of a moment is seen too. */
const GAP_PIXELS = 3;
const PALETTE = 6;
/** Round steps of binary units. */
const BINARY_STEPS = Array.from({ length: 50 }, (_, power) => 2 ** power);

export interface ChartProps {
  title: string;
  data: ChartData;
  /** A fixed upper end, such as 100 for percentages. */
  max?: number;
  from: number;
  to: number;
  onZoom: (from: number, to: number) => void;
}

/** What the lines are called in the legend. */
export function lineName(line: Line, lines: readonly Line[]): string {
  const name = t.metrics.names[line.name] ?? line.name;
  const manyNames = lines.some((other) => other.name !== line.name);
  if (line.label === "") return name;
  return manyNames && name !== "" ? `${line.label} ${name}` : line.label;
}

function token(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** A time axis' label: times of day for short ranges, days for long ones. */
function tick(ms: number, spanSeconds: number): string {
  if (spanSeconds > 2.5 * 86_400) return dayOnly(ms);
  const midnight = new Date(ms).getHours() === 0 && new Date(ms).getMinutes() === 0;
  return midnight && spanSeconds > 3 * 3600 ? dayOnly(ms) : clockOnly(ms);
}

function hatch(context: CanvasRenderingContext2D): CanvasPattern | string {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const draw = tile.getContext("2d");
  if (!draw) return "transparent";
  draw.strokeStyle = token("--line-strong");
  draw.beginPath();
  draw.moveTo(0, 8);
  draw.lineTo(8, 0);
  draw.stroke();
  return context.createPattern(tile, "repeat") ?? "transparent";
}

function drawGaps(plot: uPlot, gaps: ChartData["gaps"]): void {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.fillStyle = hatch(ctx);
  for (const gap of gaps) {
    const left = Math.max(bbox.left, plot.valToPos(gap.from, "x", true));
    const end = bbox.left + bbox.width;
    const right = Math.min(end, Math.max(plot.valToPos(gap.to, "x", true), left + GAP_PIXELS * uPlot.pxRatio));
    if (left < end && right > left) ctx.fillRect(left, bbox.top, right - left, bbox.height);
  }
  ctx.restore();
}

/** Columns in uPlot's order: time, then for each line its maximum, minimum and average. */
function columns(data: ChartData, lines: readonly Line[]): uPlot.AlignedData {
  return [data.times, ...lines.flatMap((line) => (lines.length === 1 ? [line.max, line.min, line.avg] : [line.avg]))] as uPlot.AlignedData;
}

/** Whether a line has so few points that each must be seen, since a single one draws no line. */
function sparse(plot: uPlot, series: number): boolean {
  let points = 0;
  for (const value of plot.data[series] ?? []) if (value != null) points += 1;
  return points < SPARSE;
}

export function Chart({ title, data, max, from, to, onZoom }: ChartProps) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const { resolved } = useTheme();
  const [cursor, setCursor] = useState<number | null>(null);
  const lines = useMemo(() => foremost(data.lines, MOST_LINES), [data.lines]);
  const shape = lines.map((line) => line.key).join("|");
  const unit = lines[0]?.unit ?? "";
  const latestProps = useRef({ data, lines, from, to, onZoom });
  useEffect(() => {
    latestProps.current = { data, lines, from, to, onZoom };
  });

  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const { lines: shown } = latestProps.current;
    const axis: uPlot.Axis = { stroke: token("--faint"), font: "11px 'Inter Variable', sans-serif", grid: { stroke: token("--line"), width: 1 }, ticks: { show: false } };
    const invisible: uPlot.Series = { stroke: "transparent", width: 0, points: { show: false } };
    const series: uPlot.Series[] = [{}];
    shown.forEach((_, index) => {
      const stroke = token(`--chart-${(index % PALETTE) + 1}`);
      if (shown.length === 1) series.push(invisible, invisible);
      series.push({ stroke, width: 1.5, spanGaps: false, points: { show: sparse, size: 4, fill: stroke } });
    });
    const chart = new uPlot(
      {
        width: Math.max(160, element.clientWidth),
        height: HEIGHT,
        legend: { show: false },
        padding: [8, 4, 0, 0],
        cursor: { sync: { key: "device-metrics", setSeries: false }, drag: { x: true, y: false, setScale: false }, points: { size: 6 }, y: false },
        scales: { x: { time: true, range: () => [latestProps.current.from / 1000, Math.max(latestProps.current.to / 1000, latestProps.current.data.times.at(-1) ?? 0)] }, y: { range: (_, low, high) => [Math.min(0, low ?? 0), max ?? Math.max((high ?? 1) * 1.1, 1e-3)] } },
        axes: [
          { ...axis, space: 72, size: 24, values: (self, splits) => splits.map((value) => tick(value * 1000, (self.scales.x?.max ?? 0) - (self.scales.x?.min ?? 0))) },
          { ...axis, size: 66, space: 34, ...(unit.startsWith("bytes") && { incrs: BINARY_STEPS }), values: (_, splits) => splits.map((value) => metric(value, unit)) },
        ],
        series,
        ...(shown.length === 1 && { bands: [{ series: [1, 2] as [number, number], fill: `color-mix(in srgb, ${token("--chart-1")} 20%, transparent)` }] }),
        hooks: {
          drawClear: [(self) => drawGaps(self, latestProps.current.data.gaps)],
          setCursor: [(self) => setCursor(self.cursor.idx ?? null)],
          setSelect: [
            (self) => {
              const { left, width } = self.select;
              if (width < 6) return;
              const start = self.posToVal(left, "x") * 1000;
              const end = self.posToVal(left + width, "x") * 1000;
              self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
              latestProps.current.onZoom(Math.round(start), Math.round(end));
            },
          ],
        },
      },
      columns(latestProps.current.data, shown),
      element,
    );
    plot.current = chart;
    const observer = new ResizeObserver(() => chart.setSize({ width: Math.max(160, element.clientWidth), height: HEIGHT }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      chart.destroy();
      plot.current = null;
    };
  }, [shape, resolved, max, unit]);

  useEffect(() => {
    plot.current?.setData(columns(data, lines), true);
  }, [data, lines, from, to]);

  const newest = lines.map((line) => latest(line.avg)).map((value) => (value === null ? t.metrics.noData : metric(value, unit))).join(", ");
  return (
    <figure className="min-w-0">
      <figcaption className={clsx("flex min-h-6 items-baseline gap-x-4 px-1", lines.length > 2 && "flex-col gap-y-0.5")}>
        <span className="shrink-0 text-13 font-medium">{title}</span>
        <Legend data={data} lines={lines} unit={unit} cursor={cursor} />
      </figcaption>
      <div ref={host} role="img" aria-label={t.metrics.chartLabel(title, newest)} data-points={data.times.length} style={{ height: HEIGHT }} className="overflow-hidden" />
    </figure>
  );
}

function Legend({ data, lines, unit, cursor }: { data: ChartData; lines: readonly Line[]; unit: string; cursor: number | null }) {
  const at = cursor === null ? null : data.times[cursor];
  const gap = at == null ? undefined : data.gaps.find((each) => at >= each.from && at <= each.to);
  return (
    <span className="flex w-full min-w-0 flex-1 items-baseline gap-x-3 text-xs text-muted">
      {/* Every line is named; many lines take more rows. */}
      <span className="flex min-h-5 min-w-0 flex-1 flex-wrap items-baseline gap-x-3 gap-y-0.5">
      {lines.map((line, index) => {
        const value = cursor === null ? latest(line.avg) : (line.avg[cursor] ?? null);
        const low = cursor === null ? null : line.min[cursor];
        const high = cursor === null ? null : line.max[cursor];
        const name = lineName(line, lines);
        return (
          <span key={line.key} className="inline-flex shrink-0 items-baseline gap-1.5 whitespace-nowrap">
            <span className="size-2 shrink-0 self-center rounded-sm" style={{ background: `var(--chart-${(index % PALETTE) + 1})` }} aria-hidden />
            {name && <Bdi className="clip max-w-28">{name}</Bdi>}
            <span className="text-text tnum">{value === null ? t.metrics.noData : metric(value, unit)}</span>
            {lines.length === 1 && low != null && high != null && low !== high && <span className="text-faint tnum">{metric(low, unit)} – {metric(high, unit)}</span>}
          </span>
        );
      })}
      {data.lines.length > lines.length && <span className="text-faint">{t.metrics.moreLines(data.lines.length - lines.length)}</span>}
      </span>
      <span className="shrink-0 text-faint tnum">{gap ? (t.metrics.reasons[gap.reason] ?? gap.reason) : at != null ? timeOrDay(at * 1000) : ""}</span>
    </span>
  );
}

function timeOrDay(ms: number): string {
  const present = now();
  return present - ms < 12 * 3_600_000 ? timeOfDay(ms) : shortTime(ms, present);
}
