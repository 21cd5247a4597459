/** Live samples of watched devices: the newest value of each metric, and a short tail for charts. */
import type { DeviceSample } from "../types";
import { toMs } from "@/lib/time";

/** One value with its moment. */
export interface LiveValue {
  readonly value: number;
  readonly at: number;
}

/** What a metric is, apart from its values: enough to draw it before any history is stored. */
export interface LiveSeries {
  readonly name: string;
  readonly label: string;
  readonly unit: string;
}

/** A device's live samples. */
export interface LiveSamples {
  readonly latest: ReadonlyMap<string, LiveValue>;
  /** By the same keys as the values. */
  readonly series: ReadonlyMap<string, LiveSeries>;
  /** Oldest first, at most `MAX_TAIL`. */
  readonly tail: readonly { readonly at: number; readonly values: ReadonlyMap<string, number> }[];
}

/** Twenty minutes at one sample every two seconds. */
export const MAX_TAIL = 600;

/** Nothing heard yet. */
export const noSamples: LiveSamples = { latest: new Map(), series: new Map(), tail: [] };

/** How a metric is named in the maps. */
export function seriesKey(name: string, label: string): string {
  return label === "" ? name : `${name}{${label}}`;
}

/** Adds a sample; one that is not newer than the last is ignored. */
export function addSample(old: LiveSamples | undefined, sample: DeviceSample): LiveSamples {
  const at = toMs(sample.at) ?? 0;
  const before = old ?? noSamples;
  const last = before.tail.at(-1);
  if (last && at <= last.at) return before;
  const values = new Map(sample.values.map((each) => [seriesKey(each.name, each.label), each.value]));
  const latest = new Map(before.latest);
  for (const [key, value] of values) latest.set(key, { value, at });
  return { latest, series: withNew(before.series, sample), tail: [...before.tail, { at, values }].slice(-MAX_TAIL) };
}

/** The series with those that a sample names for the first time; the same map when there are none. */
function withNew(known: LiveSamples["series"], sample: DeviceSample): LiveSamples["series"] {
  const fresh = sample.values.filter((each) => !known.has(seriesKey(each.name, each.label)));
  if (fresh.length === 0) return known;
  const series = new Map(known);
  for (const { name, label, unit } of fresh) series.set(seriesKey(name, label), { name, label, unit: unit ?? "" });
  return series;
}
