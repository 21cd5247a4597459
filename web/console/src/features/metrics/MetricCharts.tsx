/** A device's charts over one range: relative ranges follow the present with a live tail; a zoomed range stands still. Range and zoom live in the address. */
import { Button, EmptyState, Panel, Segmented, Skeleton } from "@unifyit/ui";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { LineChart, Undo2 } from "lucide-react";
import { lazy, Suspense, useEffect, useMemo } from "react";
import { useLiveSamples, useMetrics } from "@/api/devices";
import { Failure } from "@/components/failure";
import { useNow } from "@/lib/clock";
import { shortTime } from "@/lib/time";
import { t } from "@/strings";
import { charts, keyCharts, parseRange, ranges, type ChartSpec, type Range } from "./charts";
import { chartData, stepFor, window as windowOf } from "./series";

const loadChart = () => import("./Chart").then((module) => ({ default: module.Chart }));
const Chart = lazy(loadChart);

/** The open end of a relative range moves on this often. */
const FOLLOW_MS = 30_000;

function useRange() {
  const search = useSearch({ from: "/shell/devices/$deviceId" });
  const navigate = useNavigate();
  const range = parseRange(search.range);
  const following = useNow(FOLLOW_MS);
  const fixed = search.from !== undefined && search.to !== undefined && search.to > search.from ? { from: search.from, to: search.to } : null;
  const span = fixed ? { ...fixed, step: stepFor(fixed.to - fixed.from) } : windowOf(ranges[range], following);
  const set = (patch: { range?: Range; from?: number | undefined; to?: number | undefined }, replace = false) =>
    void navigate({ to: ".", replace, resetScroll: false, search: (before: Record<string, unknown>) => ({ ...before, ...patch }) } as never);
  return { range, fixed, ...span, set };
}

export function MetricCharts({ deviceId, only }: { deviceId: string; only?: "key" }) {
  const { range, fixed, from, to, step, set } = useRange();
  const now = useNow(60_000);
  const specs = only === "key" ? keyCharts : charts;
  const names = only === "key" ? keyCharts.flatMap((chart) => chart.names).join(",") : "";
  const query = useMetrics(deviceId, names, from, to, step, fixed ? false : FOLLOW_MS);
  const live = useLiveSamples(deviceId);
  // What draws comes while what is drawn is on its way.
  useEffect(() => {
    loadChart().catch(() => undefined);
  }, []);
  return (
    <section aria-label={t.devices.tabs.metrics} className="flex flex-col gap-3">
      <div className="flex flex-wrap items-center gap-2">
        <Segmented
          label={t.metrics.range}
          value={fixed ? ("custom" as const) : range}
          onChange={(next) => next !== "custom" && set({ range: next, from: undefined, to: undefined })}
          options={(Object.keys(ranges) as Range[]).map((each) => ({ value: each, label: t.metrics.ranges[each] }))}
        />
        {fixed ? (
          <Button size="sm" variant="ghost" icon={<Undo2 className="size-4" aria-hidden />} onClick={() => set({ from: undefined, to: undefined })}>
            {t.metrics.back}
            <span className="text-faint tnum">{t.metrics.custom(shortTime(fixed.from, now), shortTime(fixed.to, now))}</span>
          </Button>
        ) : (
          <span className="hidden text-xs text-faint md:inline">{t.metrics.zoomHint}</span>
        )}
      </div>
      {query.isError && !query.data ? (
        <Panel><Failure error={query.error} onRetry={() => void query.refetch()} /></Panel>
      ) : (
        <Charts specs={specs} query={query} live={fixed ? undefined : live} from={from} to={to} onZoom={(start, end) => set({ from: start, to: end })} />
      )}
    </section>
  );
}

interface ChartsProps {
  specs: readonly ChartSpec[];
  query: ReturnType<typeof useMetrics>;
  live: ReturnType<typeof useLiveSamples>;
  from: number;
  to: number;
  onZoom: (from: number, to: number) => void;
}

function Charts({ specs, query, live, from, to, onZoom }: ChartsProps) {
  const { data } = query;
  const shown = useMemo(() => {
    if (!data) return null;
    return specs.map((spec) => ({ spec, data: chartData(data, spec.names, live) })).filter((each) => each.data.lines.some((line) => line.avg.some((value) => value !== null)));
  }, [data, live, specs]);
  if (shown?.length === 0) {
    // A range that holds nothing but gaps says why.
    const reasons = [...new Set(data?.gaps.map((gap) => t.metrics.reasons[gap.reason] ?? gap.reason))];
    const detail = reasons.length > 0 ? reasons.slice(0, 3).join(" ") : t.metrics.noneInRangeDetail;
    return <Panel><EmptyState icon={LineChart} title={t.metrics.noneInRange}>{detail}</EmptyState></Panel>;
  }
  const skeleton = <Skeleton className="h-48 !rounded-lg" />;
  return (
    <>
    {data && data.left_out > 0 && <p className="text-xs text-faint">{t.metrics.leftOut(data.left_out)}</p>}
    <div className="grid gap-3 xl:grid-cols-2" aria-busy={query.isPlaceholderData || undefined}>
      {!shown && specs.slice(0, 4).map((spec) => <div key={spec.id}>{skeleton}</div>)}
      {shown?.map(({ spec, data: chart }) => (
        <div key={spec.id} className="min-w-0 rounded-lg border border-line bg-surface px-3 pt-2 pb-1">
          <Suspense fallback={<Skeleton className="h-48" />}>
            <Chart title={spec.title} data={chart} from={from} to={to} onZoom={onZoom} {...(spec.max !== undefined && { max: spec.max })} />
          </Suspense>
        </div>
      ))}
    </div>
    </>
  );
}
