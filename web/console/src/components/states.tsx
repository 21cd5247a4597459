/** States of devices, sites and task targets: one icon, one word, one tone each, everywhere the same. */
import { CircleDashed, StateBadge, type Segment, type Tone } from "@unifyit/ui";
import {
  Ban, CircleCheck, CircleDot, CircleHelp, CirclePause, CircleX, CloudOff, LoaderCircle, Plug, Send, ShieldX, TimerOff, TriangleAlert, Unplug, Clock, type LucideIcon,
} from "lucide-react";
import type { DeviceState, SiteState, Task, TargetStatus, TaskCounts } from "@/api/types";
import { t } from "@/strings";

interface Look {
  tone: Tone;
  icon: LucideIcon;
}

const unknown: Look = { tone: "off", icon: CircleHelp };

const deviceLooks: Record<DeviceState, Look> = {
  online: { tone: "ok", icon: CircleCheck },
  offline: { tone: "off", icon: CircleDashed },
  unreachable: { tone: "warn", icon: CloudOff },
  revoked: { tone: "bad", icon: Ban },
};

export function DeviceStateBadge({ state, soft }: { state: DeviceState; soft?: boolean }) {
  const look = deviceLooks[state] ?? unknown;
  return <StateBadge {...look} label={t.devices.states[state] ?? state} {...(soft && { soft })} />;
}

const siteLooks: Record<SiteState, Look> = {
  healthy: { tone: "ok", icon: CircleCheck },
  degraded: { tone: "warn", icon: TriangleAlert },
  unreachable: { tone: "bad", icon: Unplug },
  no_relay: { tone: "off", icon: Plug },
};

export function SiteStateBadge({ state, soft }: { state: SiteState; soft?: boolean }) {
  const look = siteLooks[state] ?? unknown;
  return <StateBadge {...look} label={t.sites.states[state] ?? state} {...(soft && { soft })} />;
}

/** Target states in the order they are shown. */
export const statusOrder: readonly TargetStatus[] = ["succeeded", "failed", "timed_out", "refused", "indeterminate", "expired", "cancelled", "running", "sent", "pending"];

const statusLooks: Record<TargetStatus, Look> = {
  pending: { tone: "off", icon: Clock },
  sent: { tone: "off", icon: Send },
  running: { tone: "info", icon: LoaderCircle },
  succeeded: { tone: "ok", icon: CircleCheck },
  failed: { tone: "bad", icon: CircleX },
  timed_out: { tone: "bad", icon: TimerOff },
  cancelled: { tone: "off", icon: Ban },
  expired: { tone: "warn", icon: CirclePause },
  refused: { tone: "bad", icon: ShieldX },
  indeterminate: { tone: "warn", icon: CircleHelp },
};

export function TargetStatusBadge({ status, soft }: { status: TargetStatus; soft?: boolean }) {
  const look = statusLooks[status] ?? unknown;
  return <StateBadge {...look} label={t.tasks.statuses[status] ?? status} {...(soft && { soft })} />;
}

/** Whether something still follows. */
export function isOpen(status: TargetStatus): boolean {
  return status === "pending" || status === "sent" || status === "running";
}

export function TaskStatusBadge({ task }: { task: Pick<Task, "status" | "counts"> }) {
  const bad = (task.counts.failed ?? 0) + (task.counts.timed_out ?? 0) + (task.counts.refused ?? 0);
  if (task.status === "running") return <StateBadge tone="info" icon={CircleDot} label={t.tasks.running} />;
  if (task.status === "cancelled") return <StateBadge tone="off" icon={Ban} label={t.tasks.cancelled} />;
  return bad > 0 ? <StateBadge tone="bad" icon={CircleX} label={t.tasks.doneWithFailures(bad)} /> : <StateBadge tone="ok" icon={CircleCheck} label={t.tasks.done} />;
}

/** A run's counts as segments of one bar. */
export function segments(counts: Partial<TaskCounts>): Segment[] {
  return statusOrder.map((status) => ({
    key: status,
    label: t.tasks.statuses[status],
    count: counts[status] ?? 0,
    tone: statusLooks[status].tone,
    waiting: status === "pending" || status === "sent",
  }));
}
