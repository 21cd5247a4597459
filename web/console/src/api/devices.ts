/** Devices: lists, facets, one device with everything known of it, metrics and live samples. */
import { infiniteQueryOptions, keepPreviousData, queryOptions, useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { call, get } from "./http";
import { useWatch } from "./events/live";
import { noSamples, type LiveSamples } from "./events/samples";
import { keys, type DeviceFilters } from "./keys";
import { first, next } from "./paging";
import type { AuditItem, Device, DeviceDetail, Facets, Inventory, InventorySection, Metrics, Page, SoftwareItem, TimelineItem } from "./types";

/** Rows fetched at once. */
const PAGE = 200;
/** The first rows of a list: what a screen shows and a little more, so that they are there soon. */
const FIRST_PAGE = 100;

/** What a list of devices is asked, by its part of the hierarchy and its address' search. */
export function deviceFilters(scope: DeviceFilters, { q, state, os, site, tag, sort = "name" }: Partial<Record<"q" | "state" | "os" | "site" | "tag" | "sort", string | undefined>>): DeviceFilters {
  return { ...scope, ...(site && { site_id: site }), ...(q && { q }), ...(state && { state }), ...(os && { os }), ...(tag && { tag }), sort };
}

export const devicesQuery = (filters: DeviceFilters) =>
  infiniteQueryOptions({
    queryKey: keys.devices(filters),
    queryFn: ({ pageParam, signal }) => get<Page<Device>>("/devices", { ...filters, limit: pageParam === null ? FIRST_PAGE : PAGE, cursor: pageParam }, signal),
    initialPageParam: first,
    getNextPageParam: next,
    placeholderData: keepPreviousData,
  });

export const useDevices = (filters: DeviceFilters, enabled = true) => useInfiniteQuery({ ...devicesQuery(filters), enabled });

/** How many devices there are by each value of a filter. The order of a list does not count. */
export const facetsQuery = ({ sort: _, ...filters }: DeviceFilters) =>
  queryOptions({
    queryKey: keys.facets(filters),
    queryFn: ({ signal }) => get<Facets>("/devices/facets", { ...filters }, signal),
    placeholderData: keepPreviousData,
  });

export const useFacets = (filters: DeviceFilters, enabled: boolean) => useQuery({ ...facetsQuery(filters), enabled });

/** Every device that matches, for an export or a run on all of them. */
export async function allDevices(filters: DeviceFilters, onProgress?: (loaded: number) => void): Promise<Device[]> {
  const items: Device[] = [];
  let cursor: string | null = null;
  do {
    const page: Page<Device> = await get<Page<Device>>("/devices", { ...filters, limit: 500, cursor });
    items.push(...page.items);
    onProgress?.(items.length);
    cursor = page.next_cursor;
  } while (cursor !== null);
  return items;
}

/** A few devices by text, for pickers and the palette. */
export const useDeviceSearch = (q: string, filters: DeviceFilters = {}, enabled = true) =>
  useQuery({
    queryKey: ["devices", "search", q, filters],
    queryFn: ({ signal }) => get<Page<Device>>("/devices", { ...filters, q, limit: 12 }, signal),
    enabled,
    placeholderData: keepPreviousData,
    staleTime: 10_000,
  });

export const deviceQuery = (id: string) =>
  queryOptions({ queryKey: keys.device(id), queryFn: ({ signal }) => get<DeviceDetail>(`/devices/${id}`, undefined, signal) });

export const useDevice = (id: string, enabled = true) => useQuery({ ...deviceQuery(id), enabled });

/** Live samples of a device, watched while the component is mounted. */
export function useLiveSamples(id: string): LiveSamples | undefined {
  useWatch("devices", id);
  return useQuery<LiveSamples>({ queryKey: keys.live(id), queryFn: () => noSamples, staleTime: Number.POSITIVE_INFINITY }).data;
}

/** Whether a stretch of metrics has steps that begin after the newest values that are known of the device. */
export function isBehind({ latest }: Pick<DeviceDetail, "latest">, { times, series }: Pick<Metrics, "times" | "series">): boolean {
  const known = latest.reduce((newest, { at }) => Math.max(newest, Date.parse(at)), 0);
  const filled = times.findLastIndex((_, step) => series.some(({ avg }) => avg[step] != null));
  return filled >= 0 && (times[filled] ?? 0) > known;
}

/**
 * A stretch of a device's metrics. `refetchMs` keeps an open end current, never faster than every 30 s.
 * Asking may bring in what the site still held, so that the device itself is asked for again where it is behind.
 */
export function useMetrics(id: string, names: string, from: number, to: number, step: number, refetchMs: number | false) {
  const client = useQueryClient();
  return useQuery({
    queryKey: keys.deviceMetrics(id, names, from, to, step),
    queryFn: async ({ signal }) => {
      const metrics = await get<Metrics>(`/devices/${id}/metrics`, { names, from, to, step }, signal);
      const device = client.getQueryData<DeviceDetail>(keys.device(id));
      // Never waited for: it is not what was asked.
      if (device && isBehind(device, metrics)) void client.invalidateQueries({ queryKey: keys.device(id) });
      return metrics;
    },
    placeholderData: keepPreviousData,
    staleTime: refetchMs === false ? 300_000 : 25_000,
  });
}

export const useInventory = (id: string, section: InventorySection) =>
  useQuery({
    queryKey: keys.inventory(id, section),
    queryFn: ({ signal }) => get<Inventory>(`/devices/${id}/inventory/${section}`, undefined, signal),
    staleTime: 60_000,
  });

export const useSoftware = (id: string, q: string) =>
  useInfiniteQuery({
    queryKey: keys.software(id, q),
    queryFn: ({ pageParam, signal }) => get<Page<SoftwareItem>>(`/devices/${id}/software`, { q, limit: PAGE, cursor: pageParam }, signal),
    initialPageParam: first,
    getNextPageParam: next,
    placeholderData: keepPreviousData,
    staleTime: 60_000,
  });

export const timelineQuery = (id: string) =>
  infiniteQueryOptions({
    queryKey: keys.timeline(id),
    queryFn: ({ pageParam, signal }) => get<Page<TimelineItem>>(`/devices/${id}/timeline`, { limit: 100, cursor: pageParam }, signal),
    initialPageParam: first,
    getNextPageParam: next,
  });

export const useTimeline = (id: string) => useInfiniteQuery(timelineQuery(id));

export const useDeviceAudit = (id: string) =>
  useInfiniteQuery({
    queryKey: keys.deviceAudit(id),
    queryFn: ({ pageParam, signal }) => get<Page<AuditItem>>(`/devices/${id}/audit`, { limit: 100, cursor: pageParam }, signal),
    initialPageParam: first,
    getNextPageParam: next,
  });

export function useUpdateDevice(id: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: { name?: string; tags?: string[] }) => call<unknown>("PATCH", `/devices/${id}`, { body }),
    onSuccess: () => Promise.all([client.invalidateQueries({ queryKey: keys.device(id) }), client.invalidateQueries({ queryKey: ["devices"] })]),
  });
}

/** Gives one of the computers that share a device's identity its own. */
export function useSeparateIdentity(id: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (computer: string) => call<void>("POST", `/devices/${id}/separate-identity`, { body: { computer } }),
    onSuccess: () => client.invalidateQueries({ queryKey: keys.device(id) }),
  });
}

/** Waits no longer for one of the computers that share a device's identity. */
export function useForgetComputer(id: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (computer: string) => call<void>("DELETE", `/devices/${id}/computers/${computer}`),
    onSuccess: () => client.invalidateQueries({ queryKey: keys.device(id) }),
  });
}

/** Lets a device's computer enrol again and keep its identity, for an hour. */
export function useAllowReenrolment(id: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () => call<{ until: string }>("POST", `/devices/${id}/allow-reenrolment`),
    onSuccess: () => client.invalidateQueries({ queryKey: keys.device(id) }),
  });
}

export function useRevokeDevice() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => call<void>("DELETE", `/devices/${id}`),
    onSuccess: (_, id) => Promise.all([client.invalidateQueries({ queryKey: keys.device(id) }), client.invalidateQueries({ queryKey: ["devices"] })]),
  });
}
