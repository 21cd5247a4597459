/** API keys, the audit log, users and the overview. */
import { keepPreviousData, useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { call, get } from "./http";
import { keys, type ScopeFilter } from "./keys";
import { first, next } from "./paging";
import { allSites } from "./tenants";
import type { ApiKey, AuditItem, Facets, Overview, Page, Reference, Site, UserItem } from "./types";

/** How things stand. Inside a narrower scope, counts come from that scope's own devices and sites. */
export const useOverview = (scope: ScopeFilter) =>
  useQuery({ queryKey: keys.overview(scope), queryFn: ({ signal }) => overview(scope, signal), refetchInterval: 60_000 });

async function overview(scope: ScopeFilter, signal: AbortSignal): Promise<Overview> {
  const whole = get<Overview>("/overview", undefined, signal);
  if (!scope.organization_id && !scope.site_id) return whole;
  const [all, facets, sites] = await Promise.all([whole, get<Facets>("/devices/facets", { ...scope }, signal), allSites(signal)]);
  const inside = sites.filter((site) => site.id === scope.site_id || site.organization_id === scope.organization_id);
  const { online = 0, offline = 0, unreachable = 0 } = facets.state;
  const count = (state: Site["state"]) => inside.filter((site) => site.state === state).length;
  const concerns = (ref: Reference) => ref.kind !== "site" || inside.some((site) => site.id === ref.id);
  return {
    ...all,
    devices: { online, offline, unreachable, total: online + offline + unreachable },
    sites: { healthy: count("healthy"), degraded: count("degraded"), unreachable: count("unreachable"), no_relay: count("no_relay"), total: inside.length },
    attention: all.attention.filter((item) => concerns(item.ref)),
    recent: all.recent.filter((item) => concerns(item.ref)),
  };
}

export const useApiKeys = () => useQuery({ queryKey: keys.apiKeys, queryFn: ({ signal }) => get<Page<ApiKey>>("/api-keys", { limit: 500 }, signal) });

export function useCreateApiKey() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: { name: string; expires_in_s?: number }) => call<ApiKey>("POST", "/api-keys", { body }),
    onSuccess: () => client.invalidateQueries({ queryKey: keys.apiKeys }),
  });
}

export function useRevokeApiKey() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => call<void>("DELETE", `/api-keys/${id}`),
    onSuccess: () => client.invalidateQueries({ queryKey: keys.apiKeys }),
  });
}

export const useAudit = (q: string, actor: string) =>
  useInfiniteQuery({
    queryKey: keys.audit(q, actor),
    queryFn: ({ pageParam, signal }) => get<Page<AuditItem>>("/audit", { q, actor, limit: 100, cursor: pageParam }, signal),
    initialPageParam: first,
    getNextPageParam: next,
    placeholderData: keepPreviousData,
  });

export const useUsers = () => useQuery({ queryKey: keys.users, queryFn: ({ signal }) => get<Page<UserItem>>("/users", { limit: 500 }, signal) });
