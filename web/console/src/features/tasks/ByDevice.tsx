/** Every device of a task with its state; filtered by state, page by page. */
import { Bdi, Button, DeviceText, Skeleton, Table, Td, Th, Tr } from "@unifyit/ui";
import clsx from "clsx";
import { useTaskTargets } from "@/api/tasks";
import type { TaskDetail, TaskTarget } from "@/api/types";
import { Moment } from "@/components/age";
import { Failure } from "@/components/failure";
import { More } from "@/components/More";
import { statusOrder, TargetStatusBadge } from "@/components/states";
import { bytes, count } from "@/lib/format";
import { duration, toMs } from "@/lib/time";
import { t } from "@/strings";

interface Props {
  task: TaskDetail;
  status: string | undefined;
  chosen: string | undefined;
  onStatus: (status: string | undefined) => void;
  onDevice: (device: string) => void;
}

export function ByDevice({ task, status, chosen, onStatus, onDevice }: Props) {
  const query = useTaskTargets(task.id, status ?? "");
  const targets = query.data?.pages.flatMap((page) => page.items);
  const c = t.tasks.columns;
  return (
    <>
      <div className="flex flex-wrap gap-1 border-b border-line px-3 py-2">
        <Button size="sm" variant={status ? "ghost" : "secondary"} aria-pressed={!status} onClick={() => onStatus(undefined)}>{t.tasks.allStatuses} {count(task.total)}</Button>
        {statusOrder.filter((each) => (task.counts[each] ?? 0) > 0 || each === status).map((each) => (
          <Button key={each} size="sm" variant={status === each ? "secondary" : "ghost"} aria-pressed={status === each} onClick={() => onStatus(each)}>{t.tasks.statuses[each]} {count(task.counts[each] ?? 0)}</Button>
        ))}
      </div>
      {query.isError && !targets ? (
        <Failure error={query.error} onRetry={() => void query.refetch()} compact />
      ) : (
        <Table className="max-h-112 overflow-y-auto" label={t.tasks.results} head={<><Th>{c.device}</Th><Th>{c.status}</Th><Th>{c.exit}</Th><Th>{c.took}</Th><Th>{c.output}</Th><Th>{c.result}</Th></>}>
          {!targets && [0, 1, 2, 3].map((row) => <Tr key={row}><Td colSpan={6}><Skeleton className="h-4" /></Td></Tr>)}
          {targets?.map((target) => <Row key={target.device_id} task={task} target={target} chosen={target.device_id === chosen} onDevice={onDevice} />)}
        </Table>
      )}
      <More query={query} />
    </>
  );
}

function Row({ task, target, chosen, onDevice }: { task: TaskDetail; target: TaskTarget; chosen: boolean; onDevice: (device: string) => void }) {
  const started = toMs(target.started_at);
  const finished = toMs(target.finished_at);
  return (
    <Tr className={clsx(chosen && "!bg-accent-soft")}>
      <Td><button type="button" aria-pressed={chosen} className="clip block max-w-64 font-medium hover:underline" onClick={() => onDevice(target.device_id)}><Bdi>{target.device_name}</Bdi></button></Td>
      <Td><TargetStatusBadge status={target.status} /></Td>
      <Td className="tnum">{target.exit_code ?? "–"}</Td>
      <Td className="text-muted tnum">{started !== null && finished !== null ? duration(finished - started) : "–"}</Td>
      <Td className="text-muted tnum">{target.output_len > 0 ? bytes(target.output_len) : "–"}</Td>
      <Td className="text-muted">{target.status === "pending" ? <>{t.tasks.queuedUntil("")}<Moment at={task.expires_at} /></> : <DeviceText>{target.reason}</DeviceText>}</Td>
    </Tr>
  );
}
