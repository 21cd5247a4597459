/** Settings of the package cache as lines of text, and back. */
import type { AheadInput, CacheSettings, PackageCache } from "@/api/types";

/** Which line of which field cannot be read. */
export interface Unreadable {
  field: "remaps" | "ahead";
  line: number;
}

export interface Texts {
  hosts: string;
  remaps: string;
  ahead: string;
  /** Whether hours and bandwidth are set here. */
  plan: boolean;
  from: string;
  until: string;
  /** KiB a second. */
  rate: string;
}

export function textsOf(cache: PackageCache): Texts {
  const plan = cache.plan ?? cache.in_force?.plan ?? { from: "21:00", until: "05:00", bytes_per_s: 4_000_000 };
  return {
    hosts: cache.hosts.join("\n"),
    remaps: cache.remaps.map((remap) => `${remap.name}=${remap.url}`).join("\n"),
    ahead: cache.ahead.map((file) => `${file.url} ${file.sha256} ${file.size}`).join("\n"),
    plan: cache.plan !== null,
    from: plan.from,
    until: plan.until,
    rate: String(Math.round(plan.bytes_per_s / 1024)),
  };
}

/** Lines that say something, with their numbers. */
function lines(text: string): [string, number][] {
  return text.split("\n").map((line, at): [string, number] => [line.trim(), at + 1]).filter(([line]) => line !== "");
}

/** What to send, or what cannot be read. `present` keeps the days of files that stay on the list. */
export function settingsOf(texts: Texts, present: PackageCache): CacheSettings | Unreadable {
  const remaps: CacheSettings["remaps"] = [];
  for (const [line, number] of lines(texts.remaps)) {
    const at = line.indexOf("=");
    if (at < 1 || at === line.length - 1) return { field: "remaps", line: number };
    remaps.push({ name: line.slice(0, at).trim(), url: line.slice(at + 1).trim() });
  }
  const kept = new Map(present.ahead.map((file) => [file.sha256, file.keep_until]));
  const ahead: AheadInput[] = [];
  for (const [line, number] of lines(texts.ahead)) {
    const [url = "", hash = "", size = "", ...rest] = line.split(/\s+/);
    if (rest.length > 0 || !/^[0-9a-f]{64}$/i.test(hash) || !/^[1-9]\d{0,12}$/.test(size)) return { field: "ahead", line: number };
    const sha256 = hash.toLowerCase();
    ahead.push({ url, sha256, size: Number(size), keep_until: kept.get(sha256) ?? null });
  }
  const rate = Math.max(0, Math.round(Number(texts.rate) || 0));
  return {
    hosts: lines(texts.hosts).map(([line]) => line),
    remaps,
    plan: texts.plan ? { from: texts.from, until: texts.until, bytes_per_s: rate * 1024 } : null,
    ahead,
  };
}
