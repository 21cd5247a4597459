/** Results grouped by what came out: "297 the same, 3 differ". */
import { Bdi, Button, Skeleton } from "@unifyit/ui";
import { useDevice } from "@/api/devices";
import { useTaskGroups } from "@/api/tasks";
import type { TaskDetail, TaskGroup } from "@/api/types";
import { Failure } from "@/components/failure";
import { OutputView } from "@/components/OutputView";
import { isOpen, TargetStatusBadge } from "@/components/states";
import { count } from "@/lib/format";
import { t } from "@/strings";

export function Groups({ task, onDevice }: { task: TaskDetail; onDevice: (device: string) => void }) {
  const { data, error, refetch } = useTaskGroups(task.id);
  if (error && !data) return <Failure error={error} onRetry={() => void refetch()} compact />;
  if (!data) return <div className="flex flex-col gap-3 p-4"><Skeleton className="h-5 w-48" /><Skeleton className="h-24" /></div>;
  const items = data.items.filter((group) => !isOpen(group.status));
  if (items.length === 0) return <p className="px-4 py-8 text-center text-13 text-faint">{t.tasks.waitingForResults}</p>;
  const largest = items.reduce((most, group) => Math.max(most, group.count), 0);
  const total = items.reduce((sum, group) => sum + group.count, 0);
  return (
    <div>
      <p className="px-4 pt-3 text-13 font-medium tnum" aria-live="polite">{t.tasks.groupsSummary(largest, total - largest)}</p>
      <ul>
        {[...items].sort((a, b) => b.count - a.count).map((group, index) => <Group key={index} group={group} task={task} onDevice={onDevice} />)}
      </ul>
    </div>
  );
}

/** A device's name; looked up when the task's first targets do not hold it. */
function Name({ id, known }: { id: string; known: string | undefined }) {
  const { data } = useDevice(id, known === undefined);
  return <Bdi className="clip">{known ?? data?.name ?? id.slice(0, 8)}</Bdi>;
}

function Group({ group, task, onDevice }: { group: TaskGroup; task: TaskDetail; onDevice: (device: string) => void }) {
  const names = new Map(task.targets.map((target) => [target.device_id, target.device_name]));
  const shown = group.device_ids.slice(0, 6);
  return (
    <li className="border-b border-line/60 px-4 py-3 last:border-0">
      <div className="mb-2 flex flex-wrap items-center gap-x-4 gap-y-1">
        <TargetStatusBadge status={group.status} />
        <span className="text-13 font-medium tnum">{t.tasks.groupSame(group.count)}</span>
        {group.exit_code !== null && <span className="text-xs text-faint tnum">{t.tasks.exitCode(group.exit_code)}</span>}
        <span className="flex flex-wrap items-center gap-1">
          {shown.map((id) => <Button key={id} size="sm" variant="ghost" className="max-w-44" onClick={() => onDevice(id)}><Name id={id} known={names.get(id)} /></Button>)}
          {group.count > shown.length && <span className="text-xs text-faint">{t.tasks.andMore(group.count - shown.length)}</span>}
        </span>
      </div>
      {group.output_sample !== "" && <OutputView className="max-h-64" text={group.output_sample} label={`${t.tasks.columns.output}, ${count(group.count)}`} empty={t.tasks.noOutput} />}
    </li>
  );
}
