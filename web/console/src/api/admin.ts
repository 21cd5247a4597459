/** API keys, the audit log, users, retention and the overview. */
import { keepPreviousData, queryOptions, useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { call, get } from "./http";
import { keys, type ScopeFilter } from "./keys";
import { first, next } from "./paging";
import type { ApiKey, AuditItem, NewApiKey, Overview, Page, Retention, UserItem } from "./types";

/** How things stand in a scope. Events keep it current; the slow refetch is for what no event tells, such as tasks that expired. */
export const overviewQuery = (scope: ScopeFilter) =>
  queryOptions({ queryKey: keys.overview(scope), queryFn: ({ signal }) => get<Overview>("/overview", { ...scope }, signal) });

export const useOverview = (scope: ScopeFilter) => useQuery({ ...overviewQuery(scope), refetchInterval: 60_000 });

export const useApiKeys = () => useQuery({ queryKey: keys.apiKeys, queryFn: ({ signal }) => get<Page<ApiKey>>("/api-keys", { limit: 500 }, signal) });

export function useCreateApiKey() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: { name: string; expires_in_s?: number }) => call<NewApiKey>("POST", "/api-keys", { body }),
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

export const useAudit = (scope: ScopeFilter, q: string, actor: string) =>
  useInfiniteQuery({
    queryKey: keys.audit(scope, q, actor),
    queryFn: ({ pageParam, signal }) => get<Page<AuditItem>>("/audit", { ...scope, q, actor, limit: 100, cursor: pageParam }, signal),
    initialPageParam: first,
    getNextPageParam: next,
    placeholderData: keepPreviousData,
  });

export const useRetention = (partner: string) =>
  useQuery({ queryKey: keys.retention(partner), queryFn: ({ signal }) => get<Retention>(`/partners/${partner}/retention`, undefined, signal) });

export function useSetRetention(partner: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: Retention) => call<Retention>("PUT", `/partners/${partner}/retention`, { body }),
    onSuccess: (kept) => client.setQueryData(keys.retention(partner), kept),
  });
}

export const useUsers = () => useQuery({ queryKey: keys.users, queryFn: ({ signal }) => get<Page<UserItem>>("/users", { limit: 500 }, signal) });
