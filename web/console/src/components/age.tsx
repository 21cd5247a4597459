/** Time that tells the truth: relative words with the absolute moment in the tooltip and for screen readers, and values that say when they are old. */
import clsx from "clsx";
import type { ReactNode } from "react";
import { useNow } from "@/lib/clock";
import { ago, DEFAULT_STALE_MS, duration, fullTime, isStale, shortTime, tickFor, toMs } from "@/lib/time";
import { t } from "@/strings";

type Moment = string | number | null | undefined;

/** "3 min. ago", with the whole moment behind it. */
export function Age({ at, className, none = t.never }: { at: Moment; className?: string; none?: string }) {
  const ms = toMs(at);
  const coarse = useNow(tickFor(ms === null ? Number.POSITIVE_INFINITY : Math.abs(Date.now() - ms)));
  if (ms === null) return <span className={clsx("text-faint", className)}>{none}</span>;
  const words = ago(ms, Math.max(coarse, Math.min(ms, coarse + 1000)));
  const full = fullTime(ms);
  return (
    <time dateTime={new Date(ms).toISOString()} title={full} aria-label={t.age.stale(words, full)} className={clsx("whitespace-nowrap tnum", className)}>
      {words}
    </time>
  );
}

/** The moment itself, short; the whole moment in the tooltip. */
export function Moment({ at, className }: { at: Moment; className?: string }) {
  const now = useNow(60_000);
  const ms = toMs(at);
  if (ms === null) return <span className="text-faint">–</span>;
  const full = fullTime(ms);
  return <time dateTime={new Date(ms).toISOString()} title={full} aria-label={full} className={clsx("whitespace-nowrap tnum", className)}>{shortTime(ms, now)}</time>;
}

/** How long a state has held, ticking. */
export function Since({ at }: { at: Moment }) {
  const ms = toMs(at);
  const now = useNow(ms === null ? 60_000 : tickFor(Date.now() - ms));
  if (ms === null) return null;
  return <time dateTime={new Date(ms).toISOString()} title={fullTime(ms)} className="whitespace-nowrap tnum">{duration(now - ms)}</time>;
}

/** A live value: plain while fresh, dimmed with "as of 10:14" when old. */
export function Fresh({ at, staleAfterMs = DEFAULT_STALE_MS, children, inline = false, silent = false }: { at: Moment; staleAfterMs?: number; children: ReactNode; inline?: boolean; silent?: boolean }) {
  const now = useNow(15_000);
  const ms = toMs(at);
  const stale = isStale(ms, now, staleAfterMs);
  if (!stale || ms === null) return <span className="tnum">{children}</span>;
  const words = t.age.asOf(shortTime(ms, now));
  return (
    <span className={clsx("tnum opacity-60", inline && "whitespace-nowrap")} title={fullTime(ms)}>
      {children}
      {silent ? <span className="sr-only"> {words}</span> : <span className={clsx("text-xs", inline ? "ml-1.5" : "block")}>{words}</span>}
    </span>
  );
}

/** Whether a moment is old, ticking. */
export function useStale(at: Moment, staleAfterMs = DEFAULT_STALE_MS): boolean {
  return isStale(toMs(at), useNow(15_000), staleAfterMs);
}

/** "as of 10:14" for a moment that is old, null while it is fresh; ticking. For values that share one moment. */
export function useAsOf(at: Moment, staleAfterMs = DEFAULT_STALE_MS): string | null {
  const now = useNow(15_000);
  const ms = toMs(at);
  return ms !== null && isStale(ms, now, staleAfterMs) ? t.age.asOf(shortTime(ms, now)) : null;
}
