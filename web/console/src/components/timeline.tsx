/** What happened, newest first, as a quiet list. */
import { Bdi, Skeleton } from "@unifyit/ui";
import { Link } from "@tanstack/react-router";
import { Activity, CircleDot, Monitor, Network, Play, Server, ShieldCheck, SquareTerminal, type LucideIcon } from "lucide-react";
import type { ReactNode } from "react";
import type { Reference, TimelineItem } from "@/api/types";
import { duration } from "@/lib/time";
import { t } from "@/strings";
import { Age } from "./age";

const icons: readonly (readonly [RegExp, LucideIcon])[] = [
  [/task|command|script/, Play],
  [/terminal/, SquareTerminal],
  [/relay|site/, Server],
  [/online|offline|connect|presence/, Network],
  [/enrol/, ShieldCheck],
  [/device/, Monitor],
  [/metric|gap|data\.lost/, Activity],
];

function iconOf(kind: string): LucideIcon {
  return icons.find(([pattern]) => pattern.test(kind))?.[1] ?? CircleDot;
}

/** Audit details begin with what was acted on; that is not said twice. */
function withoutTarget(detail: string, target: string | null | undefined): string {
  if (!target || !detail.startsWith(target)) return detail;
  return detail.slice(target.length).replace(/^:\s*/, "");
}

/** Ids say nothing to a reader, and seconds little; the audit page tells them as they are. */
export function readable(detail: string): string {
  return detail
    .replace(/\b(relay|agent) token [0-9a-f-]{36}\b/g, "$1 install line")
    .replace(/\bwith install token [0-9a-f-]{36}\b/g, "with an install line")
    .replace(/\bfor (\d+) s\b/g, (_, seconds: string) => `for ${duration(Number(seconds) * 1000)}`);
}

/** A link to what an entry is about, or plain text when it has no page. */
export function RefLink({ reference, children, className }: { reference: Reference | null | undefined; children: ReactNode; className?: string }) {
  const style = `${className ?? ""} hover:underline`;
  if (reference?.kind === "device" && reference.id) return <Link to="/devices/$deviceId" params={{ deviceId: reference.id }} className={style}>{children}</Link>;
  if (reference?.kind === "site" && reference.id) return <Link to="/sites/$siteId" params={{ siteId: reference.id }} className={style}>{children}</Link>;
  if (reference?.kind === "task" && reference.id) return <Link to="/tasks/$taskId" params={{ taskId: reference.id }} className={style}>{children}</Link>;
  return <span className={className}>{children}</span>;
}

export function Timeline({ items, empty, named = false }: { items: readonly TimelineItem[] | undefined; empty: string; named?: boolean }) {
  if (!items) {
    return <div className="flex flex-col gap-3 p-4" aria-hidden>{[0, 1, 2, 3].map((row) => <Skeleton key={row} className="h-6" />)}</div>;
  }
  if (items.length === 0) return <p className="px-4 py-6 text-center text-13 text-faint">{empty}</p>;
  return (
    <ol className="py-1">
      {items.map((item, index) => {
        const audited = item.kind === "audit";
        const Icon = iconOf(audited ? item.title : item.kind);
        // A task's entry is called as the task: once is enough.
        const name = named && item.ref?.name !== item.title ? item.ref?.name : null;
        const detail = audited ? readable(withoutTarget(item.detail, named ? item.ref?.name : null)) : item.detail;
        return (
          <li key={`${item.at}-${item.title}-${index}`} className="flex items-start gap-3 px-4 py-1.5">
            <Icon className="mt-0.5 size-4 shrink-0 text-faint" aria-hidden />
            <div className="min-w-0 flex-1">
              <RefLink reference={item.ref} className="clip block text-13">
                {name && !audited && <><Bdi className="font-medium">{name.slice(0, 120)}</Bdi> </>}
                <Bdi className={name && !audited ? "text-muted" : undefined}>{t.actionWords(item.title)}</Bdi>
                {name && audited && <>: <Bdi className="text-muted">{name.slice(0, 120)}</Bdi></>}
              </RefLink>
              {(detail || item.actor) && (
                <p className="clip text-xs text-faint">
                  {item.actor && <Bdi>{item.actor}</Bdi>}
                  {item.actor && detail && " · "}
                  {detail && <Bdi>{detail.slice(0, 300)}</Bdi>}
                </p>
              )}
            </div>
            <Age at={item.at} className="text-xs text-faint" />
          </li>
        );
      })}
    </ol>
  );
}
