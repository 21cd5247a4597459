/** Numbers, sizes and units as the console shows them, by locale. */
import { later } from "./later";

const locale = typeof navigator === "undefined" ? "en" : navigator.language;
const whole = later(() => new Intl.NumberFormat(locale, { maximumFractionDigits: 0 }));
const one = later(() => new Intl.NumberFormat(locale, { maximumFractionDigits: 1, minimumFractionDigits: 0 }));
const two = later(() => new Intl.NumberFormat(locale, { maximumFractionDigits: 2 }));

/** Those that nearly every screen needs. */
export const frequentFormats: readonly (() => unknown)[] = [whole, one];

const BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** A count: "12,345". */
export function count(value: number): string {
  return whole().format(value);
}

/** "1 device", "12 devices". */
export function plural(value: number, singular: string, many: string = `${singular}s`): string {
  return `${count(value)} ${value === 1 ? singular : many}`;
}

/** Bytes in binary units: "1.4 GiB". */
export function bytes(value: number): string {
  let size = Math.abs(value);
  let unit = 0;
  while (size >= 1024 && unit < BINARY.length - 1) {
    size /= 1024;
    unit += 1;
  }
  const text = size >= 100 || unit === 0 ? whole().format(size) : one().format(size);
  return `${value < 0 ? "-" : ""}${text} ${BINARY[unit] ?? "B"}`;
}

/** A percentage that is already one: 12.3 → "12.3 %" below ten, "57 %" above. */
export function percent(value: number): string {
  return `${value < 10 ? one().format(value) : whole().format(value)} %`;
}

/** A metric's value with its unit, as the agent names units. */
export function metric(value: number, unit: string): string {
  switch (unit) {
    case "percent":
      return percent(value);
    case "bytes":
      return bytes(value);
    case "bytes_per_s":
      return `${bytes(value)}/s`;
    case "ops_per_s":
      return `${one().format(value)}/s`;
    case "celsius":
      return `${one().format(value)} °C`;
    case "seconds":
      return `${whole().format(value)} s`;
    case "load":
      return two().format(value);
    case "count":
      return whole().format(value);
    default:
      return unit === "" ? two().format(value) : `${two().format(value)} ${unit}`;
  }
}

/** Decimal text from a device as a number; null when it is none. */
export function parseNumber(text: string | undefined): number | null {
  if (text === undefined || text.trim() === "") return null;
  const value = Number(text);
  return Number.isFinite(value) ? value : null;
}

/** Shortens the middle of an identifier: "12D3KooWAbC…9xYz". */
export function shortId(id: string, head = 8, tail = 4): string {
  return id.length <= head + tail + 1 ? id : `${id.slice(0, head)}…${id.slice(-tail)}`;
}
