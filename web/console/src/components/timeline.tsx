/** What happened, newest first, as a quiet list. */
import { Bdi, Skeleton } from "@unifyit/ui";
import { Link } from "@tanstack/react-router";
import { Activity, CircleDot, Monitor, Network, Play, Server, ShieldCheck, SquareTerminal, type LucideIcon } from "lucide-react";
import type { ReactNode } from "react";
import type { Reference, TimelineItem } from "@/api/types";
import { Age } from "./age";

const icons: readonly (readonly [RegExp, LucideIcon])[] = [
  [/task|command|script/, Play],
  [/terminal/, SquareTerminal],
  [/relay|site/, Server],
  [/online|offline|connect|presence/, Network],
  [/enrol/, ShieldCheck],
  [/device/, Monitor],
  [/metric|gap/, Activity],
];

function iconOf(kind: string): LucideIcon {
  return icons.find(([pattern]) => pattern.test(kind))?.[1] ?? CircleDot;
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
        const Icon = iconOf(item.kind);
        return (
          <li key={`${item.at}-${item.title}-${index}`} className="flex items-start gap-3 px-4 py-1.5">
            <Icon className="mt-0.5 size-4 shrink-0 text-faint" aria-hidden />
            <div className="min-w-0 flex-1">
              <RefLink reference={item.ref} className="clip block text-13">{named && item.ref.name && <><Bdi className="font-medium">{item.ref.name.slice(0, 120)}</Bdi> </>}<Bdi className={named && item.ref.name ? "text-muted" : undefined}>{item.title}</Bdi></RefLink>
              {(item.detail || item.actor) && (
                <p className="clip text-xs text-faint">
                  {item.actor && <Bdi>{item.actor}</Bdi>}
                  {item.actor && item.detail && " · "}
                  {item.detail && <Bdi>{item.detail.slice(0, 300)}</Bdi>}
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
