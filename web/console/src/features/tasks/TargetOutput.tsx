/** One device's output: stored part and live pieces as one text. */
import { Bdi, Band, IconButton, Panel } from "@unifyit/ui";
import { Link } from "@tanstack/react-router";
import { X } from "lucide-react";
import { useEffect, useMemo, useRef } from "react";
import { asText } from "@/api/events/output";
import { useOutput, useTaskTargets } from "@/api/tasks";
import type { TaskDetail, TaskTarget } from "@/api/types";
import { Moment } from "@/components/age";
import { Failure } from "@/components/failure";
import { OutputView } from "@/components/OutputView";
import { isOpen, TargetStatusBadge } from "@/components/states";
import { save } from "@/lib/csv";
import { bytes } from "@/lib/format";
import { t } from "@/strings";

export function TargetOutput({ task, deviceId, onClose }: { task: TaskDetail; deviceId: string; onClose?: () => void }) {
  const known = task.targets.find((each) => each.device_id === deviceId);
  const more = useTaskTargets(task.id, "", !known);
  const target = known ?? more.data?.pages.flatMap((page) => page.items).find((each) => each.device_id === deviceId);
  const final = target ? !isOpen(target.status) : false;
  const output = useOutput(task.id, deviceId);
  const text = useMemo(() => (output.data ? asText(output.data.bytes) : ""), [output.data]);
  const behind = final && output.data !== undefined && target !== undefined && output.data.bytes.length < target.output_len;
  const { refetch } = output;
  useEffect(() => {
    if (behind) void refetch();
  }, [behind, refetch]);
  const name = target?.device_name ?? deviceId;
  // Opened from a list of results that may be longer than the window.
  const frame = useRef<HTMLDivElement>(null);
  const picked = onClose !== undefined;
  useEffect(() => {
    if (picked) frame.current?.scrollIntoView({ block: "nearest" });
  }, [picked]);
  return (
    <div ref={frame} className="scroll-my-4">
      <Panel
        title={
          <span className="flex items-center gap-3">
            <Link to="/devices/$deviceId" params={{ deviceId }} className="clip hover:underline"><Bdi>{name}</Bdi></Link>
            {target && <TargetStatusBadge status={target.status} />}
            {target?.exit_code != null && <span className="text-xs font-normal text-faint">{t.tasks.exitCode(target.exit_code)}</span>}
          </span>
        }
        actions={onClose && <IconButton size="sm" label={t.close} onClick={onClose}><X className="size-4" aria-hidden /></IconButton>}
      >
        {target?.reason && <Band tone="warn" className="mb-3"><Bdi>{target.reason}</Bdi></Band>}
        {target?.output_lost && <Band tone="warn" className="mb-3">{t.tasks.output.lost} <Bdi>{target.output_lost}</Bdi></Band>}
        {target?.status === "pending" && <Band tone="off" className="mb-3">{t.tasks.queuedUntil("")}<Moment at={task.expires_at} /></Band>}
        {output.isError && !output.data ? (
          <Failure error={output.error} onRetry={() => void refetch()} compact />
        ) : (
          <OutputView
            className="h-96"
            text={text}
            label={t.tasks.output.title(name)}
            empty={emptyWords(task, target, final)}
            live={!final}
            onDownload={() => output.data && save(`${name.replace(/[^\w.-]+/g, "_").slice(0, 60)}-output.txt`, output.data.bytes, "application/octet-stream")}
            note={target && target.output_cut > 0 ? t.tasks.output.cut(bytes(target.output_cut)) : undefined}
          />
        )}
      </Panel>
    </div>
  );
}

/** Why there is nothing to see. */
function emptyWords(task: TaskDetail, target: TaskTarget | undefined, final: boolean): string {
  if (target?.output_lost) return t.tasks.output.lost;
  if (!final) return t.tasks.waitingOutput;
  if (!target || target.output_len === 0) return t.tasks.noOutput;
  return task.output_removed_at ? t.tasks.output.removed(bytes(target.output_len)) : t.tasks.output.coming;
}
