/** Turns what the API and the live socket give into columns that the chart draws: gaps as nulls, the live tail appended. Pure. */
import { seriesKey, type LiveSamples } from "@/api/events/samples";
import type { MetricGap, Metrics } from "@/api/types";
import { toMs } from "@/lib/time";

type Column = (number | null)[];

/** One line with its band. */
export interface Line {
  key: string;
  name: string;
  label: string;
  unit: string;
  avg: Column;
  min: Column;
  max: Column;
}

/** What a chart draws; times in seconds, as uPlot wants them. */
export interface ChartData {
  times: number[];
  lines: Line[];
  gaps: { from: number; to: number; reason: string }[];
}

/** A hole in time longer than this many steps is drawn as a gap. */
const GAP_STEPS = 1.75;

/** Where a null must be inserted: before these indexes time jumps. */
export function holes(times: readonly number[], stepMs: number): Set<number> {
  const found = new Set<number>();
  for (let index = 1; index < times.length; index += 1) {
    const before = times[index - 1];
    const here = times[index];
    if (before !== undefined && here !== undefined && here - before > stepMs * GAP_STEPS) found.add(index);
  }
  return found;
}

function spread<T>(values: readonly T[], at: ReadonlySet<number>, filler: (index: number) => T): T[] {
  if (at.size === 0) return values.slice();
  const result: T[] = [];
  values.forEach((value, index) => {
    if (at.has(index)) result.push(filler(index));
    result.push(value);
  });
  return result;
}

/** How many of the times lie before the empty steps at the end; those have not been reported yet, and live samples take their place. */
function reported(metrics: Metrics): number {
  let known = metrics.times.length;
  while (known > 0 && metrics.series.every((series) => series.avg[known - 1] == null)) known -= 1;
  return known;
}

/** Live samples further apart than this are drawn with a gap between: the page was not listening, or the device not sending. */
const LIVE_HOLE_MS = 120_000;

/** What a computer says to itself is no traffic of its network. */
const isLoopback = ({ name, label }: { name: string; label: string }) => name.startsWith("net.") && (label === "lo" || label === "lo0");

/** Builds the columns for the series whose names are asked for. Live samples extend them, and stand alone until history is stored. */
export function chartData(metrics: Metrics, names: readonly string[], live?: LiveSamples): ChartData {
  const stepMs = metrics.step_s * 1000;
  const known = reported(metrics);
  const stored = metrics.times.slice(0, known);
  const at = holes(stored, stepMs);
  const times = known === 0 ? [] : spread(stored, at, (index) => (stored[index - 1] ?? 0) + stepMs);
  const nothing = () => null;
  const lines = metrics.series
    .filter((series) => names.includes(series.name) && !isLoopback(series))
    .map((series): Line => ({
      key: seriesKey(series.name, series.label), name: series.name, label: series.label, unit: series.unit,
      avg: spread(series.avg.slice(0, known), at, nothing), min: spread(series.min.slice(0, known), at, nothing), max: spread(series.max.slice(0, known), at, nothing),
    }));
  if (live) {
    lines.push(...liveOnly(lines, names, live, times.length));
    appendLive(times, lines, live, stepMs);
  }
  lines.sort((a, b) => names.indexOf(a.name) - names.indexOf(b.name) || a.label.localeCompare(b.label));
  return { times: times.map((ms) => ms / 1000), lines, gaps: gapBands(metrics.gaps) };
}

/** Lines of series that only live samples know: the device has just joined, or a disk has just been plugged in. */
function liveOnly(lines: readonly Line[], names: readonly string[], live: LiveSamples, length: number): Line[] {
  const empty = () => Array.from<null>({ length }).fill(null);
  return [...live.series]
    .filter(([key, series]) => names.includes(series.name) && !isLoopback(series) && !lines.some((line) => line.key === key))
    .map(([key, series]) => ({ key, ...series, avg: empty(), min: empty(), max: empty() }));
}

function appendLive(times: number[], lines: readonly Line[], live: LiveSamples, stepMs: number): void {
  const last = times.at(-1);
  // A stored step stands at its beginning, and comes a little after its end.
  const hole = stepMs + LIVE_HOLE_MS;
  const push = (at: number, value: (line: Line) => number | null) => {
    times.push(at);
    for (const line of lines) for (const column of [line.avg, line.min, line.max]) column.push(value(line));
  };
  let before = last;
  for (const sample of live.tail) {
    if ((last !== undefined && sample.at <= last) || !lines.some((line) => sample.values.has(line.key))) continue;
    if (before !== undefined && sample.at - before > (before === last ? hole : LIVE_HOLE_MS)) push(before + Math.min(stepMs, LIVE_HOLE_MS), () => null);
    push(sample.at, (line) => sample.values.get(line.key) ?? null);
    before = sample.at;
  }
}

function gapBands(gaps: readonly MetricGap[]): ChartData["gaps"] {
  return gaps.flatMap((gap) => {
    const from = toMs(gap.from);
    const to = toMs(gap.to);
    return from === null || to === null || to < from ? [] : [{ from: from / 1000, to: to / 1000, reason: gap.reason }];
  });
}

/** Where a chart would draw too many lines, those that reach highest; in their order. */
export function foremost(lines: readonly Line[], most: number): readonly Line[] {
  if (lines.length <= most) return lines;
  const peak = (line: Line) => line.max.reduce<number>((high, value) => Math.max(high, value ?? 0), 0);
  const chosen = new Set(lines.map((line) => [line, peak(line)] as const).sort((a, b) => b[1] - a[1]).slice(0, most).map(([line]) => line));
  return lines.filter((line) => chosen.has(line));
}

/** The newest value of a column. */
export function latest(column: Column): number | null {
  for (let index = column.length - 1; index >= 0; index -= 1) {
    const value = column[index];
    if (value !== null && value !== undefined) return value;
  }
  return null;
}

/** A range of the address as a window with a step that gives a few hundred points. */
export function window(rangeMs: number, nowMs: number): { from: number; to: number; step: number } {
  const step = stepFor(rangeMs);
  const to = Math.ceil(nowMs / (step * 1000)) * step * 1000;
  return { from: to - Math.ceil(rangeMs / (step * 1000)) * step * 1000, to, step };
}

/** Seconds between points for a range. */
export function stepFor(rangeMs: number): number {
  const goal = rangeMs / 1000 / 400;
  return [60, 300, 900, 1800, 3600, 7200, 21_600].find((step) => step >= goal) ?? 86_400;
}
