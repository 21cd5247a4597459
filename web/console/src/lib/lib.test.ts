import { describe, expect, it } from "vitest";
import { cell, toCsv } from "./csv";
import { readDraft, readMatch, writeMatch } from "./draft";
import { bytes, metric, parseNumber, percent, plural, shortId } from "./format";
import { everything, extend, isSelected, nothing, selectedCount, toggle } from "./selection";
import { several, toggled } from "./several";
import { ago, duration, isStale, tickFor, toMs } from "./time";
import { later } from "./later";

describe("csv", () => {
  it("quotes what needs quoting", () => {
    expect(toCsv(["a", "b"], [["x,y", 'say "hi"'], ["line\nbreak", null]])).toBe('a,b\r\n"x,y","say ""hi"""\r\n"line\nbreak",\r\n');
  });
  it("defuses text that a spreadsheet would run", () => {
    expect(cell("=cmd|'/C calc'!A0")).toBe("'=cmd|'/C calc'!A0");
    expect(cell("@sum")).toBe("'@sum");
    expect(cell(-4)).toBe("-4");
  });
});

describe("several values of a filter", () => {
  it("adds and takes out single values, and ends as no filter", () => {
    expect(toggled(undefined, "online")).toBe("online");
    expect(toggled("online", "offline")).toBe("online,offline");
    expect(toggled("online,offline", "online")).toBe("offline");
    expect(toggled("offline", "offline")).toBeUndefined();
    expect(several("a,,b")).toEqual(["a", "b"]);
  });
});

describe("selection", () => {
  const order = ["a", "b", "c", "d", "e"];
  it("turns single rows over", () => {
    const one = toggle(nothing, "b");
    expect(isSelected(one, "b")).toBe(true);
    expect(selectedCount(toggle(one, "b"), 5)).toBe(0);
  });
  it("extends a range in either direction from the anchor", () => {
    expect([...extend(toggle(nothing, "d"), "b", order).ids].sort()).toEqual(["b", "c", "d"]);
    expect([...extend(toggle(nothing, "b"), "d", order).ids].sort()).toEqual(["b", "c", "d"]);
  });
  it("falls back to one row when the anchor is not shown any more", () => {
    expect([...extend({ ...nothing, anchor: "gone" }, "c", order).ids]).toEqual(["c"]);
  });
  it("counts rows that are not loaded when all that match are meant", () => {
    const all = everything();
    expect(selectedCount(all, 100_000)).toBe(100_000);
    const less = toggle(all, "b");
    expect(isSelected(less, "b")).toBe(false);
    expect(selectedCount(less, 100_000)).toBe(99_999);
    expect(selectedCount(extend(less, "c", order), 100_000)).toBe(100_000);
  });
});

describe("time", () => {
  const now = Date.parse("2026-11-21T12:00:00Z");
  it("says ages in words that fit their size", () => {
    expect(ago(now - 2000, now)).toBe("just now");
    expect(ago(now - 42_000, now)).toBe("42 sec. ago");
    expect(ago(now - 3 * 3_600_000, now)).toBe("3 hr. ago");
    expect(ago(now - 3 * 86_400_000, now)).toBe("3 days ago");
    expect(ago(now + 300_000, now)).toBe("in 5 min.");
  });
  it("says durations in two units at most", () => {
    expect(duration(350)).toBe("350 ms");
    expect(duration(61_000)).toBe("1 min 1 s");
    expect(duration(4 * 86_400_000 + 3 * 3_600_000)).toBe("4 d 3 h");
    expect(duration(-5)).toBe("0 ms");
  });
  it("calls old and unknown values stale", () => {
    expect(isStale(now - 60_000, now, 90_000)).toBe(false);
    expect(isStale(now - 91_000, now, 90_000)).toBe(true);
    expect(isStale(null, now)).toBe(true);
  });
  it("reads moments of the API and nothing else", () => {
    expect(toMs("2026-11-21T12:00:00Z")).toBe(now);
    expect(toMs("soon")).toBeNull();
    expect(toMs(null)).toBeNull();
  });
  it("ticks only as often as the words change", () => {
    expect(tickFor(5_000)).toBe(1000);
    expect(tickFor(10 * 60_000)).toBe(15_000);
    expect(tickFor(10 * 3_600_000)).toBe(60_000);
  });
});

describe("format", () => {
  it("writes sizes, shares and metrics with their units", () => {
    expect(bytes(0)).toBe("0 B");
    expect(bytes(1536)).toBe("1.5 KiB");
    expect(bytes(68_719_476_736)).toBe("64 GiB");
    expect(percent(9.26)).toBe("9.3 %");
    expect(percent(57.4)).toBe("57 %");
    expect(metric(2048, "bytes_per_s")).toBe("2 KiB/s");
    expect(metric(1.234, "load")).toBe("1.23");
    expect(plural(1, "device")).toBe("1 device");
    expect(plural(12_345, "device")).toBe("12,345 devices");
  });
  it("does not take hostile text for a number", () => {
    expect(parseNumber("1e3")).toBe(1000);
    expect(parseNumber("12 MB")).toBeNull();
    expect(parseNumber("")).toBeNull();
    expect(parseNumber("Infinity")).toBeNull();
  });
  it("shortens identifiers in the middle", () => {
    expect(shortId("abcdefghijklmnop", 4, 2)).toBe("abcd…op");
    expect(shortId("short")).toBe("short");
  });
});

describe("draft", () => {
  it("carries a filter through an address and drops what is malformed", () => {
    const match = { filters: { q: "db", state: "online" }, except: ["x"] };
    expect(readMatch(writeMatch(match))).toEqual(match);
    expect(readMatch("{")).toBeNull();
    expect(readMatch('{"filters":{"q":["x"],"os":"y"},"except":[1,"z"]}')).toEqual({ filters: { os: "y" }, except: ["z"] });
    expect(readDraft("unknown")).toBeNull();
  });
});

describe("later", () => {
  it("makes a value when it is first asked for, and once", () => {
    let made = 0;
    const value = later(() => (made += 1));
    expect(made).toBe(0);
    expect([value(), value()]).toEqual([1, 1]);
  });
});
