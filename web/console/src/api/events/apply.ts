/**
 * What each live event does to the query cache. Rows that are shown are
 * patched in place; what cannot be derived from the event (counts, order,
 * membership of a list) is marked for one refetch through a throttle, so that
 * a storm of events never becomes a storm of requests.
 */
import type { InfiniteData, QueryClient, QueryKey } from "@tanstack/react-query";
import { keys } from "../keys";
import type { AuditItem, Device, DeviceDetail, DeviceSample, LiveEvent, OutputEvent, Overview, Page, Site, TargetEvent, Task, TaskDetail, TimelineItem } from "../types";
import { decodeBase64, foundHole, MAX_OUTPUT, type Output, takePiece } from "./output";
import { addSample, type LiveSamples } from "./samples";

/** Marks queries stale, at most once in a while for each key. */
export type Refresh = (key: QueryKey) => void;

type Pages<T> = InfiniteData<Page<T>>;

/** Replaces an item in every loaded page of lists below `prefix`. */
function patchLists<T extends object>(client: QueryClient, prefix: QueryKey, matches: (item: T) => boolean, change: (item: T) => T): boolean {
  let found = false;
  client.setQueriesData<Pages<T>>({ queryKey: prefix }, (data) => {
    if (!data || !Array.isArray(data.pages)) return data;
    let touched = false;
    const pages = data.pages.map((page) => {
      const index = page.items.findIndex(matches);
      const item = page.items[index];
      if (item === undefined) return page;
      touched = true;
      const items = page.items.slice();
      items[index] = change(item);
      return { ...page, items };
    });
    found ||= touched;
    return touched ? { ...data, pages } : data;
  });
  return found;
}

/** Puts an item before the first page's items. */
function prepend<T>(client: QueryClient, key: QueryKey, item: T, same: (other: T) => boolean): void {
  client.setQueriesData<Pages<T>>({ queryKey: key }, (data) => {
    const first = data?.pages?.[0];
    if (!data || !first || first.items.some(same)) return data;
    return { ...data, pages: [{ ...first, items: [item, ...first.items] }, ...data.pages.slice(1)] };
  });
}

function deviceChanged(client: QueryClient, device: Device, refresh: Refresh): void {
  let stateChanged = false;
  const shown = patchLists<Device>(client, ["devices", "list"], (item) => item.id === device.id, (item) => {
    stateChanged ||= item.state !== device.state;
    return { ...item, ...device };
  });
  client.setQueryData<DeviceDetail>(keys.device(device.id), (old) => {
    if (!old) return old;
    stateChanged ||= old.state !== device.state;
    return { ...old, ...device };
  });
  if (stateChanged || !shown) {
    refresh(["devices", "facets"]);
    refresh(["overview"]);
  }
}

function sample(client: QueryClient, data: DeviceSample): void {
  client.setQueryData<LiveSamples>(keys.live(data.device_id), (old) => addSample(old, data));
}

function taskChanged(client: QueryClient, task: Task, refresh: Refresh): void {
  const shown = patchLists<Task>(client, ["tasks"], (item) => item.id === task.id, (item) => ({ ...item, ...task }));
  client.setQueryData<TaskDetail>(keys.task(task.id), (old) => (old ? { ...old, ...task, targets: old.targets } : old));
  if (!shown) {
    refresh(["tasks"]);
    refresh(["device-tasks"]);
  }
  if (!shown || task.status !== "running") refresh(["overview"]);
  refresh(keys.taskGroups(task.id));
}

function targetChanged(client: QueryClient, event: TargetEvent, refresh: Refresh): void {
  const change = <T extends { device_id: string }>(target: T) =>
    ({ ...target, status: event.status, exit_code: event.exit_code, reason: event.reason, output_len: event.output_len });
  client.setQueryData<TaskDetail>(keys.task(event.task_id), (old) => {
    if (!old) return old;
    const index = old.targets.findIndex((target) => target.device_id === event.device_id);
    const target = old.targets[index];
    if (target === undefined) return old;
    const targets = old.targets.slice();
    targets[index] = change(target);
    return { ...old, targets };
  });
  patchLists<TaskDetail["targets"][number]>(client, ["task-targets", event.task_id], (item) => item.device_id === event.device_id, change);
  refresh(["task-targets", event.task_id]);
  refresh(keys.taskGroups(event.task_id));
  // Live pieces sent before this tab watched the task are only in what is stored.
  const have = client.getQueryData<Output>(keys.output(event.task_id, event.device_id))?.bytes.length ?? 0;
  if (Math.min(event.output_len ?? 0, MAX_OUTPUT) > have) refresh(keys.output(event.task_id, event.device_id));
}

function output(client: QueryClient, event: OutputEvent, refresh: Refresh): void {
  const key = keys.output(event.task_id, event.device_id);
  let missing = false;
  client.setQueryData<Output>(key, (old) => {
    if (!old) return old;
    const next = takePiece(old, { offset: event.offset, data: decodeBase64(event.data_b64) });
    missing = foundHole(old, next);
    return next;
  });
  if (missing) refresh(key);
}

function siteChanged(client: QueryClient, site: Site, refresh: Refresh): void {
  let known = false;
  client.setQueryData<Site[]>(keys.sites, (old) => {
    if (!old) return old;
    known = old.some((item) => item.id === site.id);
    return old.map((item) => (item.id === site.id ? { ...item, ...site } : item));
  });
  client.setQueryData<Site>(keys.site(site.id), (old) => (old ? { ...old, ...site } : old));
  if (!known) refresh(keys.sites);
  refresh(["overview"]);
}

/** Whether a screen shows one of these within a narrower scope: what an event adds there, only the server knows. */
function narrowed(client: QueryClient, queryKey: QueryKey): boolean {
  return client.getQueryCache().findAll({ queryKey, type: "active" }).some((query) => Object.keys(query.queryKey[1] as object).length > 0);
}

function timelineAdded(client: QueryClient, item: TimelineItem, refresh: Refresh): void {
  const same = (other: TimelineItem) => other.at === item.at && other.title === item.title && other.ref.id === item.ref.id;
  // Computers that come, go or join together are one item there, which only the server can make.
  const together = item.ref.kind === "device" && (item.kind === "connection" || item.title === "device.enroll");
  if (!together) client.setQueryData<Overview>(keys.overview({}), (old) => (old && !old.recent.some(same) ? { ...old, recent: [item, ...old.recent].slice(0, 20) } : old));
  if (together || narrowed(client, ["overview"])) refresh(["overview"]);
  if (item.ref.kind === "device" && item.ref.id) prepend(client, keys.timeline(item.ref.id), item, same);
  else refresh(["device-timeline"]);
}

/**
 * After a break that was resumed by id: what carries no id was told to nobody meanwhile, so what is made of it is read
 * again, by the screens that show it.
 */
export function refreshPassing(refresh: Refresh): void {
  for (const key of [["task"], ["task-targets"], ["task-groups"], ["task-output"], ["devices"], ["device"], ["device-metrics"], ["device-timeline"], ["overview"]]) refresh(key);
}

/** Applies one event. Unknown kinds are of a later server and are left alone. */
export function applyEvent(client: QueryClient, event: LiveEvent, refresh: Refresh): void {
  switch (event.kind) {
    case "device.changed":
      deviceChanged(client, event.data as Device, refresh);
      break;
    case "device.enrolled":
      refresh(["devices"]);
      refresh(["overview"]);
      refresh(keys.sites);
      refresh(["site"]);
      break;
    case "device.sample":
      sample(client, event.data as DeviceSample);
      break;
    case "relay.changed":
      refresh(keys.sites);
      refresh(["site"]);
      refresh(["overview"]);
      break;
    case "site.changed":
      siteChanged(client, event.data as Site, refresh);
      break;
    case "task.changed":
      taskChanged(client, event.data as Task, refresh);
      break;
    case "task.target":
      targetChanged(client, event.data as TargetEvent, refresh);
      break;
    case "task.output":
      output(client, event.data as OutputEvent, refresh);
      break;
    case "audit.added": {
      const item = event.data as AuditItem;
      prepend(client, keys.audit({}, "", ""), item, (other) => other.id === item.id);
      if (narrowed(client, ["audit"])) refresh(["audit"]);
      if (item.device_id !== null) refresh(keys.deviceAudit(item.device_id));
      break;
    }
    case "timeline.added":
      timelineAdded(client, event.data as TimelineItem, refresh);
      break;
    case "reset":
      void client.invalidateQueries();
      break;
  }
}
