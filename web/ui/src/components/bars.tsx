/** Bars: a small meter for a percentage, and the segmented bar of a run. */
import clsx from "clsx";
import { toneSolid, type Tone } from "./tone";

/** The tone of a load: plain until it matters. */
export function loadTone(percent: number): Tone {
  if (percent >= 95) return "bad";
  return percent >= 85 ? "warn" : "info";
}

export function Meter({ value, label, className }: { value: number; label: string; className?: string }) {
  const size = Math.min(100, Math.max(0, value));
  return (
    <span role="meter" aria-label={label} aria-valuenow={Math.round(size)} aria-valuemin={0} aria-valuemax={100} className={clsx("block h-1 overflow-hidden rounded-full bg-off-soft", className)}>
      <span className={clsx("block h-full rounded-full", toneSolid[loadTone(size)])} style={{ width: `${size}%` }} />
    </span>
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
