import { describe, expect, it } from "vitest";
import type { PackageCache } from "@/api/types";
import { settingsOf, textsOf } from "./text";

const hash = "ab".repeat(32);
const cache: PackageCache = {
  hosts: ["a.org", "*.b.org"],
  remaps: [{ name: "docker", url: "https://d.org/linux?x" }],
  plan: { from: "22:00", until: "05:00", bytes_per_s: 2_048_000 },
  ahead: [{ url: "http://a.org/x.deb", sha256: hash, size: 12, keep_until: "2026-12-24T00:00:00Z", state: "ready", reason: "", state_at: null }],
  in_force: null,
};

describe("settings as text", () => {
  it("come back as they were", () => {
    expect(settingsOf(textsOf(cache), cache)).toEqual({
      hosts: cache.hosts,
      remaps: cache.remaps,
      plan: cache.plan,
      ahead: [{ url: "http://a.org/x.deb", sha256: hash, size: 12, keep_until: "2026-12-24T00:00:00Z" }],
    });
  });

  it("leave hours to the relay unless they are set here", () => {
    const texts = textsOf({ ...cache, plan: null });
    expect(texts.plan).toBe(false);
    expect(settingsOf(texts, cache)).toMatchObject({ plan: null });
  });

  it("name the line that cannot be read, blank lines counted", () => {
    const texts = textsOf(cache);
    expect(settingsOf({ ...texts, ahead: `\n\nhttp://a.org/x ${hash}` }, cache)).toEqual({ field: "ahead", line: 3 });
    expect(settingsOf({ ...texts, ahead: `http://a.org/x nothex 12` }, cache)).toEqual({ field: "ahead", line: 1 });
    expect(settingsOf({ ...texts, remaps: "docker" }, cache)).toEqual({ field: "remaps", line: 1 });
  });

  it("give a file that is named anew the usual days", () => {
    const other = "cd".repeat(32).toUpperCase();
    const read = settingsOf({ ...textsOf(cache), ahead: `/remap/npm/x.tgz\t${other}  7 ` }, cache);
    expect(read).toMatchObject({ ahead: [{ url: "/remap/npm/x.tgz", sha256: "cd".repeat(32), size: 7, keep_until: null }] });
  });
});
