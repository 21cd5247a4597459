/** Bars: a small meter for a percentage, and the segmented bar of a run. */
import clsx from "clsx";
import { toneSolid, type Tone } from "./tone";

/** The tone of a load: plain until it matters. */
export function loadTone(percent: number): Tone {
  if (percent >= 95) return "bad";
  return percent >= 85 ? "warn" : "info";
}

export function Meter({ value, label, className, stale = false }: { value: number; label: string; className?: string; stale?: boolean }) {
  const size = Math.min(100, Math.max(0, value));
  // One element, and nothing clipped: lists draw hundreds of these at once.
  return (
    <span
      role="meter"
      aria-label={label}
      aria-valuenow={Math.round(size)}
      aria-valuemin={0}
      aria-valuemax={100}
      className={clsx("meter block h-1 rounded-full bg-off-soft", className)}
      style={{ color: `var(--${stale ? "off" : loadTone(size)}-solid)`, backgroundSize: `${size}% 100%` }}
    />
  );
}

export interface Segment {
  key: string;
  label: string;
  count: number;
  /** The count as a person reads it, where it is no plain number. */
  text?: string;
  tone: Tone;
  /** Work that is still to come is hatched rather than filled. */
  waiting?: boolean;
}

export function SegmentedBar({ segments, label, className }: { segments: readonly Segment[]; label: string; className?: string }) {
  const total = segments.reduce((sum, segment) => sum + segment.count, 0);
  const words = segments.filter((segment) => segment.count > 0).map((segment) => `${segment.label} ${segment.text ?? segment.count}`).join(", ");
  return (
    <div role="img" aria-label={`${label}: ${words || "–"}`} className={clsx("flex h-2 gap-px overflow-hidden rounded-full bg-off-soft", className)}>
      {segments.filter((segment) => segment.count > 0).map((segment) => (
        <span
          key={segment.key}
          title={`${segment.label}: ${segment.text ?? segment.count}`}
          className={clsx("h-full min-w-1", segment.waiting ? "hatched" : toneSolid[segment.tone])}
          style={{ flexGrow: segment.count / Math.max(1, total), flexBasis: 0 }}
        />
      ))}
    </div>
  );
}
