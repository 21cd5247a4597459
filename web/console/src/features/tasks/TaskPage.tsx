/** One task: live segmented progress, results grouped by what came out, and each device's output. */
import { Bdi, Button, buttonClass, PageHeader, Panel, SegmentedBar, Segmented, Skeleton, toast } from "@unifyit/ui";
import { Link, useNavigate, useSearch, useParams } from "@tanstack/react-router";
import { Ban, Repeat } from "lucide-react";
import { useState, type ReactElement } from "react";
import { useCancelTask, useTask } from "@/api/tasks";
import type { TaskDetail } from "@/api/types";
import { Age, Moment } from "@/components/age";
import { Confirm } from "@/components/confirm";
import { Failure, toastFailure } from "@/components/failure";
import { segments, statusOrder, TargetStatusBadge, TaskStatusBadge } from "@/components/states";
import { taskName } from "@/components/TaskTable";
import { May } from "@/components/may";
import { count, plural } from "@/lib/format";
import { useTitle } from "@/lib/title";
import { t } from "@/strings";
import { ByDevice } from "./ByDevice";
import { Groups } from "./Groups";
import { TargetOutput } from "./TargetOutput";

export function TaskPage(): ReactElement {
  const { taskId } = useParams({ from: "/shell/tasks/$taskId" });
  const { data: task, error, refetch } = useTask(taskId);
  useTitle(task ? taskName(task) : undefined);
  if (error && !task) return <Failure page error={error} onRetry={() => void refetch()} />;
  if (!task) {
    return (
      <div className="flex flex-col gap-4 p-6">
        <Skeleton className="h-7 w-64" />
        <Skeleton className="h-24" />
        <Skeleton className="h-72" />
      </div>
    );
  }
  return <Body task={task} />;
}

function Body({ task }: { task: TaskDetail }) {
  const search = useSearch({ from: "/shell/tasks/$taskId" });
  const navigate = useNavigate();
  const single = task.total === 1;
  const view = search.view === "devices" ? "devices" : "groups";
  const set = (patch: { view?: string | undefined; device?: string | undefined; status?: string | undefined }) =>
    void navigate({ to: "/tasks/$taskId", params: { taskId: task.id }, replace: true, resetScroll: false, search: (before) => ({ ...before, ...patch }) as never });
  const chosen = search.device ?? (single ? task.targets[0]?.device_id : undefined);
  return (
    <div className="pb-8">
      <Head task={task} />
      <div className="flex flex-col gap-4 px-4 md:px-6">
        <Progress task={task} onStatus={(status) => set({ view: "devices", status })} />
        {!single && (
          <Panel
            flush
            title={t.tasks.results}
            actions={<Segmented label={t.tasks.results} value={view} onChange={(next) => set({ view: next === "groups" ? undefined : next })} options={[{ value: "groups", label: t.tasks.views.groups }, { value: "devices", label: t.tasks.views.devices }]} />}
          >
            {view === "groups" ? <Groups task={task} onDevice={(device) => set({ device })} /> : <ByDevice task={task} status={search.status} chosen={chosen} onStatus={(status) => set({ status })} onDevice={(device) => set({ device })} />}
          </Panel>
        )}
        {chosen && <TargetOutput key={chosen} task={task} deviceId={chosen} {...(!single && { onClose: () => set({ device: undefined }) })} />}
        {task.action.body !== null && (
          <Panel title={t.tasks.showScript}>
            <pre className="max-h-80 overflow-auto font-mono text-xs leading-5 whitespace-pre-wrap" tabIndex={0} aria-label={t.tasks.showScript}>{task.action.body}</pre>
          </Panel>
        )}
      </div>
    </div>
  );
}

function Head({ task }: { task: TaskDetail }) {
  const cancel = useCancelTask(task.id);
  const [asking, setAsking] = useState(false);
  const waiting = (task.counts.pending ?? 0) + (task.counts.sent ?? 0);
  const devices = task.targets.length === task.total && task.total <= 40 ? task.targets.map((target) => target.device_id).join(",") : undefined;
  return (
    <PageHeader
      title={<Bdi>{taskName(task)}</Bdi>}
      actions={
        <>
          <May what="run_tasks">
          <Link to="/tasks/new" search={{ from: task.id, ...(devices && { devices }) }} className={buttonClass()}><Repeat className="size-4" aria-hidden />{t.tasks.again}</Link>
          {task.status === "running" && <Button variant="danger" icon={<Ban className="size-4" aria-hidden />} onClick={() => setAsking(true)}>{t.tasks.cancel}</Button>}
          </May>
        </>
      }
    >
      <span className="flex flex-wrap items-center gap-x-3 gap-y-1">
        <TaskStatusBadge task={task} />
        <span>{plural(task.total, "device")}</span>
        <span><Age at={task.created_at} /></span>
        {task.created_by && <Bdi className="clip max-w-60">{task.created_by}</Bdi>}
      </span>
      <Confirm
        open={asking}
        onOpenChange={setAsking}
        title={t.tasks.cancelTitle}
        action={t.tasks.cancel}
        danger
        busy={cancel.isPending}
        onConfirm={() =>
          cancel.mutate(undefined, {
            onSuccess: () => {
              setAsking(false);
              toast.success(t.tasks.cancelSent);
            },
            onError: toastFailure,
          })
        }
      >
        {t.tasks.cancelDetail(waiting, task.counts.running ?? 0)}
      </Confirm>
    </PageHeader>
  );
}

function Progress({ task, onStatus }: { task: TaskDetail; onStatus: (status: string) => void }) {
  const waiting = (task.counts.pending ?? 0) + (task.counts.sent ?? 0);
  return (
    <Panel>
      <SegmentedBar label={t.tasks.progress} segments={segments(task.counts)} className="!h-2.5" />
      <div className="mt-3 flex flex-wrap items-center gap-x-5 gap-y-2">
        {statusOrder.filter((status) => (task.counts[status] ?? 0) > 0).map((status) => (
          <button key={status} type="button" title={t.tasks.statusHint[status]} className="inline-flex items-center gap-1.5 rounded hover:underline" onClick={() => onStatus(status)}>
            <TargetStatusBadge status={status} />
            <span className="text-13 font-medium tnum">{count(task.counts[status] ?? 0)}</span>
          </button>
        ))}
        {waiting > 0 && task.status === "running" && <span className="ml-auto text-xs text-faint">{t.tasks.expiresAt} <Moment at={task.expires_at} /></span>}
      </div>
    </Panel>
  );
}
