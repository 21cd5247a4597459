/**
 * The one ticking clock. Components subscribe to a coarse tick instead of each
 * holding a timer. The offset between this computer and the server is taken
 * from answers' `Date` headers, so that ages are right on a computer whose
 * clock is wrong.
 */
import { useSyncExternalStore } from "react";

/** Differences below this are transit time and whole-second rounding. */
const TOLERANCE_MS = 2500;

let offset = 0;
let current = Date.now();
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

/** The moment by the server's clock, milliseconds. */
export function now(): number {
  return Date.now() + offset;
}

/** Learns the server's clock from an answer's `Date` header. */
export function learnServerTime(header: string | null): void {
  const server = header === null ? Number.NaN : Date.parse(header);
  if (!Number.isFinite(server)) return;
  const difference = server - Date.now();
  offset = Math.abs(difference) > TOLERANCE_MS ? difference : 0;
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    current = now();
    for (const each of listeners) each();
  }, 1000);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

/**
 * The present, rounded down to `step` milliseconds, so that a component draws
 * again only when what it shows may have changed.
 */
export function useNow(step = 1000): number {
  return useSyncExternalStore(subscribe, () => {
    if (timer === undefined) current = now();
    return Math.floor(current / step) * step;
  });
}
