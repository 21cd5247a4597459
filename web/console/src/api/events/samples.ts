/** Live samples of watched devices: the newest value of each metric, and a short tail for charts. */
import type { DeviceSample } from "../types";
import { toMs } from "@/lib/time";

/** One value with its moment. */
export interface LiveValue {
  readonly value: number;
  readonly at: number;
}

/** A device's live samples. */
export interface LiveSamples {
  readonly latest: ReadonlyMap<string, LiveValue>;
  /** Oldest first, at most `MAX_TAIL`. */
  readonly tail: readonly { readonly at: number; readonly values: ReadonlyMap<string, number> }[];
}

/** Twenty minutes at one sample every two seconds. */
export const MAX_TAIL = 600;

/** How a metric is named in the maps. */
export function seriesKey(name: string, label: string): string {
  return label === "" ? name : `${name}{${label}}`;
}

/** Adds a sample; one that is not newer than the last is ignored. */
export function addSample(old: LiveSamples | undefined, sample: DeviceSample): LiveSamples {
  const at = toMs(sample.at) ?? 0;
  const before = old ?? { latest: new Map<string, LiveValue>(), tail: [] };
  const last = before.tail.at(-1);
  if (last && at <= last.at) return before;
  const values = new Map(sample.values.map((each) => [seriesKey(each.name, each.label), each.value]));
  const latest = new Map(before.latest);
  for (const [key, value] of values) latest.set(key, { value, at });
  return { latest, tail: [...before.tail, { at, values }].slice(-MAX_TAIL) };
}
