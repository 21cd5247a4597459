/** What the cache saved: bytes by day as bars, and by repository as a table. */
import { Bdi, EmptyState, Panel, Segmented, Skeleton, Table, Td, Th, Tr } from "@unifyit/ui";
import clsx from "clsx";
import { Package } from "lucide-react";
import { useState } from "react";
import { useCacheSavings } from "@/api/packageCache";
import type { CacheSavings, Site } from "@/api/types";
import { Failure } from "@/components/failure";
import { bytes, count, percent } from "@/lib/format";
import { t } from "@/strings";

const words = t.packageCache.saved;
type Span = "7" | "35";
type Sums = CacheSavings["total"];

const saved = (sums: Sums) => Math.max(0, sums.served_bytes - sums.fetched_bytes);
const hitShare = (sums: Sums) => (sums.hits + sums.misses > 0 ? percent((sums.hits / (sums.hits + sums.misses)) * 100) : "–");

export function SavingsPanel({ site, className }: { site: Site; className?: string }) {
  const [span, setSpan] = useState<Span>("35");
  const { data, error, refetch } = useCacheSavings(site.id, Number(span));
  const used = data && (data.total.served_bytes > 0 || data.total.fetched_bytes > 0);
  return (
    <Panel
      title={words.title}
      className={className ?? ""}
      actions={<Segmented label={words.span} value={span} options={[{ value: "7", label: words.week }, { value: "35", label: words.month }]} onChange={setSpan} />}
    >
      {error && !data && <Failure compact error={error} onRetry={() => void refetch()} />}
      {!error && !data && <Skeleton className="h-40" />}
      {data && !used && <EmptyState icon={Package} title={words.emptyTitle}>{site.relay ? words.empty : words.emptyNoRelay}</EmptyState>}
      {data && used && (
        <div className="flex flex-col gap-4">
          <Headline sums={data.total} />
          <Days days={data.days} />
          <Repositories rows={data.repositories} />
          <p className="text-xs text-faint">{words.days}</p>
        </div>
      )}
    </Panel>
  );
}

function Headline({ sums }: { sums: Sums }) {
  const less = saved(sums);
  return (
    <p className="flex flex-wrap items-baseline gap-x-3 gap-y-1 text-13 text-muted">
      <span className="text-xl font-semibold text-text tnum">{bytes(less)}</span>
      <span>{less > 0 ? words.saved(percent((less / sums.served_bytes) * 100)) : words.nothing}</span>
    </p>
  );
}

/** One bar a day: what came without the line upon what came over it. */
function Days({ days }: { days: CacheSavings["days"] }) {
  const most = Math.max(1, ...days.map((day) => Math.max(day.served_bytes, day.fetched_bytes)));
  const height = (value: number) => `${(value / most) * 100}%`;
  const first = days[0]?.day ?? "";
  const last = days[days.length - 1]?.day ?? "";
  return (
    <figure className="flex flex-col gap-1">
      <figcaption className="flex flex-wrap items-center gap-x-4 gap-y-1 text-xs text-muted">
        <span className="font-medium">{words.byDay}</span>
        <Key tone="bg-ok-solid" label={words.legendServed} />
        <Key tone="bg-info-solid" label={words.legendFetched} />
        <span className="ml-auto tnum">{bytes(most)}</span>
      </figcaption>
      <ol className="flex h-28 items-end gap-px border-b border-line sm:gap-0.5" aria-label={words.byDay}>
        {days.map((day) => {
          const text = words.day(day.day, bytes(day.served_bytes), bytes(day.fetched_bytes));
          return (
            <li key={day.day} title={text} className="flex h-full min-w-0 flex-1 flex-col justify-end hover:bg-hover">
              <span className="sr-only">{text}</span>
              <span aria-hidden className={clsx("block w-full rounded-t-sm bg-ok-solid", saved(day) > 0 && "min-h-0.5")} style={{ height: height(saved(day)) }} />
              <span aria-hidden className={clsx("block w-full bg-info-solid", day.fetched_bytes > 0 && "min-h-0.5")} style={{ height: height(day.fetched_bytes) }} />
            </li>
          );
        })}
      </ol>
      <div className="flex justify-between text-xs text-faint tnum" aria-hidden><span>{first}</span><span>{last}</span></div>
    </figure>
  );
}

function Key({ tone, label }: { tone: string; label: string }) {
  return <span className="inline-flex items-center gap-1.5"><span className={clsx("size-2 rounded-sm", tone)} aria-hidden />{label}</span>;
}

function Repositories({ rows }: { rows: CacheSavings["repositories"] }) {
  const number = "text-right tnum";
  return (
    <Table
      label={words.byRepository}
      className="-mx-4"
      head={<><Th>{words.repository}</Th><Th className={number}>{words.served}</Th><Th className={number}>{words.fetched}</Th><Th className={number}>{words.savedColumn}</Th><Th className={number}>{words.requests}</Th><Th className={number}>{words.hits}</Th></>}
    >
      {rows.map((row) => (
        <Tr key={row.repository}>
          <Td><Bdi className="clip block max-w-72">{row.repository}</Bdi></Td>
          <Td className={number}>{bytes(row.served_bytes)}</Td>
          <Td className={number}>{bytes(row.fetched_bytes)}</Td>
          <Td className={number}>{bytes(saved(row))}</Td>
          <Td className={number}>{count(row.hits + row.misses)}</Td>
          <Td className={number}>{hitShare(row)}</Td>
        </Tr>
      ))}
    </Table>
  );
}
