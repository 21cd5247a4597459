/** A site's package cache: what it may fetch and is to have ready, how that fares, what it saved. */
import { queryOptions, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { call, get } from "./http";
import { keys } from "./keys";
import type { CacheSavings, CacheSettings, PackageCache } from "./types";

/** Below the site's key: what changes the site refreshes it. */
const settingsKey = (site: string) => [...keys.site(site), "package-cache"] as const;
const savingsKey = (site: string, days: number) => [...keys.site(site), "package-cache", "savings", days] as const;

const packageCacheQuery = (site: string) => queryOptions({ queryKey: settingsKey(site), queryFn: ({ signal }) => get<PackageCache>(`/sites/${site}/package-cache`, undefined, signal), refetchInterval: 60_000 });
const cacheSavingsQuery = (site: string, days: number) => queryOptions({ queryKey: savingsKey(site, days), queryFn: ({ signal }) => get<CacheSavings>(`/sites/${site}/package-cache/savings`, { days }, signal), refetchInterval: 300_000 });

export const usePackageCache = (site: string) => useQuery(packageCacheQuery(site));
export const useCacheSavings = (site: string, days: number) => useQuery(cacheSavingsQuery(site, days));

export function useSetPackageCache(site: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: CacheSettings) => call<PackageCache>("PUT", `/sites/${site}/package-cache`, { body }),
    onSuccess: (now) => client.setQueryData(settingsKey(site), now),
  });
}
