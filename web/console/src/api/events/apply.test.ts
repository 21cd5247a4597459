import { QueryClient, type InfiniteData, type QueryKey } from "@tanstack/react-query";
import { beforeEach, describe, expect, it } from "vitest";
import { keys } from "../keys";
import type { Device, Overview, Page, Site, Task, TaskDetail, TimelineItem } from "../types";
import { applyEvent, refreshPassing } from "./apply";
import { longer, type Output } from "./output";
import { seriesKey, type LiveSamples } from "./samples";

const device = (id: string, patch: Partial<Device> = {}) => ({ id, name: id, state: "online", ...patch }) as Device;
const list = <T>(...pages: T[][]): InfiniteData<Page<T>> => ({ pages: pages.map((items) => ({ items, next_cursor: null })), pageParams: pages.map(() => null) });
const base64 = (text: string) => btoa(text);

let client: QueryClient;
let refreshed: QueryKey[];
const apply = (kind: string, data: unknown) => applyEvent(client, { id: 1, kind, data }, (key) => refreshed.push(key));

beforeEach(() => {
  client = new QueryClient();
  refreshed = [];
});

describe("device.changed", () => {
  const key = keys.devices({ sort: "name" });
  it("patches the row on whichever page it is, and leaves other pages' identity alone", () => {
    client.setQueryData(key, list([device("a")], [device("b"), device("c")]));
    const before = client.getQueryData<InfiniteData<Page<Device>>>(key);
    apply("device.changed", device("c", { cpu_pct: 97 }));
    const after = client.getQueryData<InfiniteData<Page<Device>>>(key);
    expect(after?.pages[1]?.items[1]?.cpu_pct).toBe(97);
    expect(after?.pages[0]).toBe(before?.pages[0]);
    expect(after?.pages[1]?.items[0]).toBe(before?.pages[1]?.items[0]);
    expect(refreshed).toEqual([]);
  });
  it("refreshes the counts when the state changed", () => {
    client.setQueryData(key, list([device("a")]));
    apply("device.changed", device("a", { state: "offline" }));
    expect(refreshed).toContainEqual(["devices", "facets"]);
    expect(refreshed).toContainEqual(["overview"]);
  });
  it("keeps what only the detail knows", () => {
    client.setQueryData(keys.device("a"), { ...device("a"), machine: { cpu: "x" }, latest: [], enrolled_at: "t" });
    apply("device.changed", device("a", { name: "renamed" }));
    expect(client.getQueryData(keys.device("a"))).toMatchObject({ name: "renamed", machine: { cpu: "x" } });
  });
  it("does not touch facets stored beside the lists", () => {
    client.setQueryData(keys.facets({}), { state: { online: 1 }, os: {}, site: {} });
    apply("device.changed", device("a"));
    expect(client.getQueryData(keys.facets({}))).toEqual({ state: { online: 1 }, os: {}, site: {} });
  });
});

describe("device.sample", () => {
  it("keeps the newest values and a tail, and ignores samples that come late", () => {
    apply("device.sample", { device_id: "a", at: 1000, values: [{ name: "cpu.busy", label: "", value: 5 }, { name: "net.rx", label: "eth0", value: 9 }] });
    apply("device.sample", { device_id: "a", at: 3000, values: [{ name: "cpu.busy", label: "", value: 7 }] });
    apply("device.sample", { device_id: "a", at: 2000, values: [{ name: "cpu.busy", label: "", value: 99 }] });
    const live = client.getQueryData<LiveSamples>(keys.live("a"));
    expect(live?.latest.get("cpu.busy")).toEqual({ value: 7, at: 3000 });
    expect(live?.latest.get(seriesKey("net.rx", "eth0"))).toEqual({ value: 9, at: 1000 });
    expect(live?.tail.map((sample) => sample.at)).toEqual([1000, 3000]);
  });
});

describe("tasks", () => {
  const task = { id: "t", status: "running", total: 2, counts: { pending: 2 } } as unknown as Task;
  const detail = { ...task, targets: [{ device_id: "a", status: "pending" }, { device_id: "b", status: "pending" }] } as unknown as TaskDetail;
  it("patches counts without losing the targets", () => {
    client.setQueryData(keys.task("t"), detail);
    apply("task.changed", { ...task, counts: { succeeded: 1, pending: 1 } });
    expect(client.getQueryData<TaskDetail>(keys.task("t"))).toMatchObject({ counts: { succeeded: 1 }, targets: [{ device_id: "a" }, { device_id: "b" }] });
  });
  it("patches one target", () => {
    client.setQueryData(keys.task("t"), detail);
    apply("task.target", { task_id: "t", device_id: "b", status: "failed", exit_code: 3, reason: null, output_len: 12 });
    const targets = client.getQueryData<TaskDetail>(keys.task("t"))?.targets;
    expect(targets?.[0]).toBe(detail.targets[0]);
    expect(targets?.[1]).toMatchObject({ status: "failed", exit_code: 3, output_len: 12 });
    expect(refreshed).toContainEqual(keys.taskGroups("t"));
  });
  it("joins output by offsets, drops repeats, and fetches again when a piece is missing", () => {
    const key = keys.output("t", "a");
    client.setQueryData<Output>(key, { bytes: new TextEncoder().encode("hello ") as Uint8Array<ArrayBuffer> });
    const chunk = (offset: number, text: string) => apply("task.output", { task_id: "t", device_id: "a", offset, stream: "stdout", data_b64: base64(text) });
    chunk(6, "wor");
    chunk(6, "wor");
    chunk(8, "rld");
    expect(new TextDecoder().decode(client.getQueryData<Output>(key)?.bytes)).toBe("hello world");
    expect(refreshed).toEqual([]);
    chunk(20, "late");
    expect(refreshed).toEqual([key]);
    chunk(24, "r");
    expect(refreshed).toEqual([key]);
    chunk(24, "r");
    // What came early is kept, and joined when what is before it has been read.
    const late = client.getQueryData<Output>(key);
    const stored = new TextEncoder().encode("hello world, and so") as Uint8Array<ArrayBuffer>;
    expect(new TextDecoder().decode(longer(late, { bytes: stored }).bytes)).toBe("hello world, and so");
    const more = new TextEncoder().encode("hello world, and so ") as Uint8Array<ArrayBuffer>;
    expect(new TextDecoder().decode(longer(late, { bytes: more }).bytes)).toBe("hello world, and so later");
    chunk(11, "%%%not base64");
    expect(client.getQueryData<Output>(key)?.bytes.length).toBeGreaterThanOrEqual(11);
  });
});

describe("output that was sent before the page watched", () => {
  const key = keys.output("t", "a");
  const target = (length: number) => apply("task.target", { task_id: "t", device_id: "a", status: "running", exit_code: null, reason: null, output_len: length });
  it("is read once it is stored, and not when the live pieces had it already", () => {
    client.setQueryData<Output>(key, { bytes: new TextEncoder().encode("hello") as Uint8Array<ArrayBuffer> });
    target(5);
    expect(refreshed).not.toContainEqual(key);
    target(9);
    expect(refreshed).toContainEqual(key);
  });
  it("is read again after a break, since live pieces cannot be resumed", () => {
    refreshPassing((each) => refreshed.push(each));
    expect(refreshed).toContainEqual(["task-output"]);
    expect(refreshed).toContainEqual(["task"]);
  });
});

describe("sites, timelines and resets", () => {
  it("patches a known site and asks for the list when it is new", () => {
    client.setQueryData<Site[]>(keys.sites, [{ id: "s", name: "old" } as Site]);
    apply("site.changed", { id: "s", name: "new" });
    expect(client.getQueryData<Site[]>(keys.sites)?.[0]?.name).toBe("new");
    expect(refreshed).not.toContainEqual(keys.sites);
    apply("site.changed", { id: "other" });
    expect(refreshed).toContainEqual(keys.sites);
  });
  it("puts what happened on top, once", () => {
    const item = { at: "2026-11-21T12:00:00Z", kind: "connection", title: "went offline", detail: "", actor: "", ref: { kind: "device", id: "a", name: null } } satisfies TimelineItem;
    client.setQueryData(keys.overview({}), { recent: [] } as unknown as Overview);
    client.setQueryData(keys.timeline("a"), list<TimelineItem>([]));
    apply("timeline.added", item);
    apply("timeline.added", item);
    expect(client.getQueryData<InfiniteData<Page<TimelineItem>>>(keys.timeline("a"))?.pages[0]?.items).toHaveLength(1);
    // The server tells computers that come, go or join together as one.
    expect(client.getQueryData<Overview>(keys.overview({}))?.recent).toEqual([]);
    expect(refreshed).toContainEqual(["overview"]);
    const relay = { ...item, ref: { kind: "site", id: "s", name: "Depot" } };
    apply("timeline.added", relay);
    apply("timeline.added", relay);
    expect(client.getQueryData<Overview>(keys.overview({}))?.recent).toEqual([relay]);
  });
  it("marks everything stale when the server cannot resume", () => {
    client.setQueryData(keys.sites, []);
    apply("reset", null);
    expect(client.getQueryState(keys.sites)?.isInvalidated).toBe(true);
  });
  it("leaves unknown kinds alone", () => {
    expect(() => apply("something.later", {})).not.toThrow();
  });
});
