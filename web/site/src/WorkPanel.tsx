/** What the IT partner's console runs here, and ran lately. */
import { Panel, SegmentedBar, Skeleton, StateBadge, type Tone } from "@unifyit/ui";
import { useQuery } from "@tanstack/react-query";
import { CircleCheck, CircleDot } from "lucide-react";
import { api, type Status, type Work } from "./api";
import { count, fullTime, t, when } from "./strings";

const MOST = 8;
const tones: Record<Status, Tone> = {
  succeeded: "ok", failed: "bad", timed_out: "bad", refused: "bad", indeterminate: "warn", expired: "warn", cancelled: "off", running: "info", sent: "off", pending: "off",
};
const order = Object.keys(tones) as Status[];

export function WorkPanel({ now, refreshMs }: { now: number; refreshMs: number }) {
  const { data, isPending } = useQuery({ queryKey: ["work"], queryFn: api.work, refetchInterval: refreshMs });
  return (
    <Panel flush title={t.work.title}>
      {isPending && <div className="p-4"><Skeleton className="h-9" /></div>}
      {data?.length === 0 && <p className="px-4 py-6 text-center text-13 text-faint">{t.work.none}</p>}
      <ul>{data?.slice(0, MOST).map((work) => <Row key={work.id} work={work} now={now} />)}</ul>
    </Panel>
  );
}

function Row({ work, now }: { work: Work; now: number }) {
  const segments = order.map((status) => ({ key: status, label: t.work.counts[status], count: work.counts[status] ?? 0, tone: tones[status], waiting: status === "pending" || status === "sent" }));
  const words = segments.filter((segment) => segment.count > 0).map((segment) => `${count(segment.count)} ${segment.label}`).join(", ");
  return (
    <li className="border-b border-line/60 px-4 py-2.5 last:border-0">
      <div className="mb-1.5 flex items-center justify-between gap-3">
        <StateBadge tone={work.done ? "off" : "info"} icon={work.done ? CircleCheck : CircleDot} label={work.done ? t.work.done : t.work.running} />
        <time className="text-xs text-faint" dateTime={new Date(work.received_ms).toISOString()} title={fullTime(work.received_ms)}>{t.work.at(when(work.received_ms, now))}</time>
      </div>
      <SegmentedBar label={t.work.title} segments={segments} className="!h-1.5" />
      <p className="mt-1 text-xs text-muted tnum">{words}</p>
    </li>
  );
}
