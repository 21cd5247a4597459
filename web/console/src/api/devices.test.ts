/** When what is known of a device is older than what its charts brought. */
import { describe, expect, it } from "vitest";
import { isBehind } from "./devices";

const minute = (n: number) => 1_700_000_040_000 + n * 60_000;
const at = (ms: number) => new Date(ms).toISOString();
const latest = (ms: number) => ({ latest: [{ name: "load.1", label: "", unit: "load", value: 1, at: at(ms) }] });
const metrics = (...avg: (number | null)[]) => ({ times: avg.map((_, n) => minute(n)), series: [{ name: "load.1", label: "", unit: "load", avg, min: avg, max: avg }] });

describe("isBehind", () => {
  it("is so where the charts have a later step than the newest value", () => {
    expect(isBehind(latest(minute(0)), metrics(1, 2, 3))).toBe(true);
    expect(isBehind({ latest: [] }, metrics(1))).toBe(true);
  });

  it("is not so where the newest value lies in the last step that has one, or nothing was measured", () => {
    expect(isBehind(latest(minute(2) + 30_000), metrics(1, 2, 3))).toBe(false);
    expect(isBehind(latest(minute(1)), metrics(1, 2, null))).toBe(false);
    expect(isBehind({ latest: [] }, metrics(null, null))).toBe(false);
    expect(isBehind({ latest: [] }, { times: [], series: [] })).toBe(false);
  });
});
