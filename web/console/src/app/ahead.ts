/**
 * What the screens that are opened most will ask first, asked together with their code instead of after it. Only an
 * advance: a screen asks the same by itself, and finds the answer on its way. Nothing here waits.
 */
import type { QueryClient } from "@tanstack/react-query";
import { overviewQuery } from "@/api/admin";
import { deviceFilters, deviceQuery, devicesQuery, facetsQuery, timelineQuery } from "@/api/devices";
import { scopeFilter } from "@/components/scope";

/** For loaders that run when a screen is entered, and not again. */
export const once = { shouldReload: false, staleTime: Number.POSITIVE_INFINITY } as const;

type Search = Partial<Record<string, unknown>>;

const text = (value: unknown) => (typeof value === "string" && value !== "" ? value : undefined);
const scopeOf = (search: Search) => scopeFilter(text(search.scope));

export function overview(client: QueryClient, search: Search): void {
  void client.prefetchQuery(overviewQuery(scopeOf(search)));
}

export function devices(client: QueryClient, search: Search): void {
  const [q, state, os, site, tag, sort] = [search.q, search.state, search.os, search.site, search.tag, search.sort].map(text);
  const filters = deviceFilters(scopeOf(search), { q, state, os, site, tag, sort });
  void client.prefetchInfiniteQuery(devicesQuery(filters));
  void client.prefetchQuery(facetsQuery(filters));
}

export function device(client: QueryClient, id: string, search: Search): void {
  void client.prefetchQuery(deviceQuery(id));
  if (search.tab === undefined) void client.prefetchInfiniteQuery(timelineQuery(id));
}
