import { describe, expect, it } from "vitest";
import type { Metrics } from "@/api/types";
import { addSample } from "@/api/events/samples";
import { chartData, latest, stepFor, window, foremost, type Line } from "./series";

const minute = 60_000;
const iso = (ms: number) => new Date(ms).toISOString();
const metrics = (times: number[], values: (number | null)[]): Metrics => ({
  from: iso(0), to: iso(10 * minute), step_s: 60, times, left_out: 0,
  series: [{ name: "cpu.busy", label: "", unit: "percent", avg: values, min: values, max: values }],
  gaps: [{ from: iso(5 * minute), to: iso(6 * minute), reason: "quota" }, { from: iso(9), to: iso(9), reason: "moment" }],
});

describe("chartData", () => {
  it("draws a hole in time as a gap", () => {
    const data = chartData(metrics([0, minute, 5 * minute], [1, 2, 3]), ["cpu.busy"]);
    expect(data.times).toEqual([0, 60, 120, 300]);
    expect(data.lines[0]?.avg).toEqual([1, 2, null, 3]);
  });
  it("keeps a little jitter from looking like a gap", () => {
    expect(chartData(metrics([0, minute * 1.5], [1, 2]), ["cpu.busy"]).lines[0]?.avg).toEqual([1, 2]);
  });
  it("shows dropped data with its reason, also of a single moment", () => {
    expect(chartData(metrics([0], [1]), ["cpu.busy"]).gaps).toEqual([{ from: 300, to: 360, reason: "quota" }, { from: 0.009, to: 0.009, reason: "moment" }]);
  });
  it("appends live samples that are newer than what was stored", () => {
    let live = addSample(undefined, { device_id: "d", at: iso(minute / 2), values: [{ name: "cpu.busy", label: "", unit: "percent", value: 50 }] });
    live = addSample(live, { device_id: "d", at: iso(minute + 5000), values: [{ name: "cpu.busy", label: "", unit: "percent", value: 60 }] });
    const data = chartData(metrics([0, minute], [1, 2]), ["cpu.busy"], live);
    expect(data.times).toEqual([0, 60, 65]);
    expect(data.lines[0]?.avg).toEqual([1, 2, 60]);
  });
  it("puts live samples where the newest steps are still empty", () => {
    const live = addSample(undefined, { device_id: "d", at: iso(minute + 5000), values: [{ name: "cpu.busy", label: "", unit: "percent", value: 60 }] });
    const data = chartData(metrics([0, minute, 2 * minute], [1, 2, null]), ["cpu.busy"], live);
    expect(data.times).toEqual([0, 60, 65]);
    expect(data.lines[0]?.avg).toEqual([1, 2, 60]);
  });
  it("leaves a gap between old history and the live tail", () => {
    const live = addSample(undefined, { device_id: "d", at: iso(30 * minute), values: [{ name: "cpu.busy", label: "", unit: "percent", value: 60 }] });
    expect(chartData(metrics([0, minute], [1, 2]), ["cpu.busy"], live).lines[0]?.avg).toEqual([1, 2, null, 60]);
  });
  it("draws live samples of a device that has no history yet", () => {
    const nothing: Metrics = { ...metrics([], []), series: [], gaps: [] };
    let live = addSample(undefined, { device_id: "d", at: iso(minute), values: [{ name: "cpu.busy", label: "", unit: "percent", value: 50 }, { name: "net.rx", label: "eth0", unit: "bytes_per_s", value: 7 }] });
    live = addSample(live, { device_id: "d", at: iso(minute + 10_000), values: [{ name: "cpu.busy", label: "", unit: "percent", value: 60 }] });
    const data = chartData(nothing, ["cpu.busy"], live);
    expect(data.times).toEqual([60, 70]);
    expect(data.lines).toMatchObject([{ name: "cpu.busy", unit: "percent", avg: [50, 60] }]);
    expect(chartData(nothing, ["net.rx", "net.tx"], live).lines).toMatchObject([{ key: "net.rx{eth0}", label: "eth0", unit: "bytes_per_s", avg: [7] }]);
  });
  it("draws live samples alone when every stored step is still empty", () => {
    const live = addSample(undefined, { device_id: "d", at: iso(minute + 5000), values: [{ name: "cpu.busy", label: "", unit: "percent", value: 60 }] });
    expect(chartData(metrics([0, minute], [null, null]), ["cpu.busy"], live)).toMatchObject({ times: [65], lines: [{ avg: [60] }] });
  });
  it("adds a series that appeared after the newest stored step", () => {
    const live = addSample(undefined, { device_id: "d", at: iso(minute + 5000), values: [{ name: "disk.used_pct", label: "/mnt", unit: "percent", value: 9 }] });
    const disk: Metrics = { ...metrics([0, minute], [1, 2]), series: [{ name: "disk.used_pct", label: "/", unit: "percent", avg: [1, 2], min: [1, 2], max: [1, 2] }] };
    expect(chartData(disk, ["disk.used_pct"], live).lines).toMatchObject([{ label: "/", avg: [1, 2, null] }, { label: "/mnt", avg: [null, null, 9] }]);
  });
  it("draws no gap while the newest step is only on its way", () => {
    const live = addSample(undefined, { device_id: "d", at: iso(minute + 135_000), values: [{ name: "cpu.busy", label: "", unit: "percent", value: 60 }] });
    expect(chartData(metrics([0, minute], [1, 2]), ["cpu.busy"], live).lines[0]?.avg).toEqual([1, 2, 60]);
  });
  it("leaves a gap where the page was not listening", () => {
    let live = addSample(undefined, { device_id: "d", at: iso(2 * minute), values: [{ name: "cpu.busy", label: "", unit: "percent", value: 1 }] });
    live = addSample(live, { device_id: "d", at: iso(9 * minute), values: [{ name: "cpu.busy", label: "", unit: "percent", value: 2 }] });
    expect(chartData(metrics([0, minute], [1, 2]), ["cpu.busy"], live).lines[0]?.avg).toEqual([1, 2, 1, null, 2]);
  });
  it("leaves out series that the chart does not draw", () => {
    expect(chartData(metrics([0], [1]), ["load.1"]).lines).toEqual([]);
  });
});

describe("windows", () => {
  it("aligns to steps and asks for a few hundred points", () => {
    const hour = window(60 * minute, 1_000_000_123);
    expect(hour.step).toBe(60);
    expect(hour.to % (hour.step * 1000)).toBe(0);
    expect(hour.to).toBeGreaterThanOrEqual(1_000_000_123);
    expect(stepFor(30 * 24 * 3_600_000)).toBe(7200);
  });
  it("finds the newest value behind nulls", () => {
    expect(latest([1, 2, null])).toBe(2);
    expect(latest([null])).toBeNull();
  });
});

describe("lines of a crowded chart", () => {
  const line = (key: string, peak: number): Line => ({ key, name: "net.rx", label: key, unit: "bytes_per_s", avg: [0, peak / 2], min: [0, 0], max: [null, peak] });
  const lines = [line("a", 5), line("b", 90), line("c", 0), line("d", 40)];

  it("are those that reach highest, in their order", () => {
    expect(foremost(lines, 2).map(({ key }) => key)).toEqual(["b", "d"]);
  });

  it("are all of them where there is room", () => {
    expect(foremost(lines, 4)).toBe(lines);
  });
});
