/**
 * Time as the console shows it: relative words that age, absolute moments by
 * locale, and what counts as stale. All functions are pure; the ticking clock
 * is in `clock.ts`.
 */
import { later } from "./later";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Values older than this without a known interval are shown as stale. */
export const DEFAULT_STALE_MS = 3 * MINUTE;

const locale = typeof navigator === "undefined" ? "en" : navigator.language;
const relative = later(() => new Intl.RelativeTimeFormat("en", { numeric: "always", style: "short" }));
const absolute = later(() => new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" }));
const clock = later(() => new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" }));
const clockSeconds = later(() => new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit" }));
const dayAndClock = later(() => new Intl.DateTimeFormat(locale, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" }));
const monthDay = later(() => new Intl.DateTimeFormat(locale, { month: "short", day: "numeric" }));
const day = later(() => new Intl.DateTimeFormat(locale, { dateStyle: "medium" }));

/** Those that nearly every screen needs. */
export const frequentTimes: readonly (() => unknown)[] = [relative, absolute];

/** A moment from the API (RFC 3339) or milliseconds, as milliseconds; null when it is none. */
export function toMs(at: string | number | null | undefined): number | null {
  if (at === null || at === undefined) return null;
  const ms = typeof at === "number" ? at : Date.parse(at);
  return Number.isFinite(ms) ? ms : null;
}

/** "just now", "12 sec. ago", "3 hr. ago", "in 5 min.". */
export function ago(at: number, now: number): string {
  const difference = at - now;
  const size = Math.abs(difference);
  if (size < 5 * SECOND) return "just now";
  const [value, unit] = scale(size);
  return relative().format(difference < 0 ? -value : value, unit);
}

function scale(size: number): [number, Intl.RelativeTimeFormatUnit] {
  if (size < MINUTE) return [Math.floor(size / SECOND), "second"];
  if (size < HOUR) return [Math.floor(size / MINUTE), "minute"];
  if (size < 2 * DAY) return [Math.floor(size / HOUR), "hour"];
  if (size < 60 * DAY) return [Math.floor(size / DAY), "day"];
  return [Math.floor(size / (30 * DAY)), "month"];
}

/** How long, in two units at most: "4 d 3 h", "12 min", "8 s". */
export function duration(ms: number): string {
  const size = Math.max(0, ms);
  if (size < SECOND) return `${Math.round(size)} ms`;
  if (size < MINUTE) return `${Math.floor(size / SECOND)} s`;
  if (size < HOUR) return two(size, MINUTE, "min", SECOND, "s");
  if (size < DAY) return two(size, HOUR, "h", MINUTE, "min");
  return two(size, DAY, "d", HOUR, "h");
}

function two(size: number, big: number, bigName: string, small: number, smallName: string): string {
  const whole = Math.floor(size / big);
  const rest = Math.floor((size % big) / small);
  return rest === 0 ? `${whole} ${bigName}` : `${whole} ${bigName} ${rest} ${smallName}`;
}

/** How far a clock is off: "2 h 3 min ahead", "15 min behind"; null when it is right. */
export function clockWords(aheadMs: number | null | undefined): string | null {
  if (!aheadMs) return null;
  return `${duration(Math.abs(aheadMs))} ${aheadMs > 0 ? "ahead" : "behind"}`;
}

/** The whole moment, for tooltips and accessible names. */
export function fullTime(at: number): string {
  return absolute().format(at);
}

/** The time of day today, with the date on other days: "10:14", "20 Nov, 10:14". */
export function shortTime(at: number, now: number): string {
  const sameDay = new Date(at).toDateString() === new Date(now).toDateString();
  return sameDay ? clock().format(at) : dayAndClock().format(at);
}

/** The time of day with seconds. */
export function timeOfDay(at: number): string {
  return clockSeconds().format(at);
}

/** The time of day without seconds. */
export function clockOnly(at: number): string {
  return clock().format(at);
}

/** The day of the month: "20 Nov". */
export function dayOnly(at: number): string {
  return monthDay().format(at);
}

/** The date. */
export function date(at: number): string {
  return day().format(at);
}

/** Whether a value taken at `at` must be shown as old. */
export function isStale(at: number | null, now: number, staleAfterMs: number = DEFAULT_STALE_MS): boolean {
  return at === null || now - at > staleAfterMs;
}

/** How often a relative time of this age must be drawn again. */
export function tickFor(age: number): number {
  if (age < MINUTE) return SECOND;
  return age < HOUR ? 15 * SECOND : MINUTE;
}
