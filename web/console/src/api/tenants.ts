/** Partners, organizations and sites, with relays and install lines. */
import { queryOptions, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { call, get } from "./http";
import { keys } from "./keys";
import type { InstallToken, NewInstallToken, Organization, Page, Partner, Site, SiteConfig, TokenKind } from "./types";

/** Everything of a short list, page by page. */
async function all<T>(path: string, signal: AbortSignal): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | null = null;
  do {
    const page: Page<T> = await get<Page<T>>(path, { limit: 500, cursor }, signal);
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor !== null && items.length < 20_000);
  return items;
}

export const partnersQuery = queryOptions({ queryKey: keys.partners, queryFn: ({ signal }) => all<Partner>("/partners", signal), staleTime: 60_000 });
export const organizationsQuery = queryOptions({ queryKey: keys.organizations, queryFn: ({ signal }) => all<Organization>("/organizations", signal), staleTime: 60_000 });
/** Every site the person may see. */
export const allSites = (signal: AbortSignal) => all<Site>("/sites", signal);
export const sitesQuery = queryOptions({ queryKey: keys.sites, queryFn: ({ signal }) => allSites(signal), staleTime: 30_000 });
export const siteQuery = (id: string) => queryOptions({ queryKey: keys.site(id), queryFn: ({ signal }) => get<Site>(`/sites/${id}`, undefined, signal) });
export const installTokensQuery = (site: string) =>
  queryOptions({ queryKey: keys.installTokens(site), queryFn: ({ signal }) => all<InstallToken>(`/sites/${site}/install-tokens`, signal) });

export const useOrganizations = () => useQuery(organizationsQuery);
export const useSites = () => useQuery(sitesQuery);
export const useSite = (id: string) => useQuery(siteQuery(id));
export const usePartners = (enabled: boolean) => useQuery({ ...partnersQuery, enabled });
export const useInstallTokens = (site: string) => useQuery(installTokensQuery(site));

export function useCreateOrganization() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: { name: string; partner_id?: string }) => call<Organization>("POST", "/organizations", { body }),
    onSuccess: () => client.invalidateQueries({ queryKey: keys.organizations }),
  });
}

export function useCreateSite() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: { organization_id: string; name: string }) => call<Site>("POST", "/sites", { body }),
    onSuccess: () => client.invalidateQueries({ queryKey: keys.sites }),
  });
}

export function useRenameSite(id: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (name: string) => call<Site>("PATCH", `/sites/${id}`, { body: { name } }),
    onSuccess: () => Promise.all([client.invalidateQueries({ queryKey: keys.site(id) }), client.invalidateQueries({ queryKey: keys.sites })]),
  });
}

export function useDeleteSite(id: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () => call<void>("DELETE", `/sites/${id}`),
    onSuccess: () => client.invalidateQueries({ queryKey: keys.sites }),
  });
}

export function useSetSiteConfig(id: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (config: SiteConfig) => call<unknown>("PUT", `/sites/${id}/config`, { body: config }),
    onSuccess: () => client.invalidateQueries({ queryKey: keys.site(id) }),
  });
}

export function useSetUiPin(id: string) {
  return useMutation({ mutationFn: (pin: string) => call<void>("PUT", `/sites/${id}/ui-pin`, { body: { pin } }) });
}

export function useCreateInstallToken(site: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: { kind: TokenKind; expires_in_s: number; uses: number }) =>
      call<NewInstallToken>("POST", `/sites/${site}/install-tokens`, { body, idempotencyKey: crypto.randomUUID() }),
    onSuccess: () => client.invalidateQueries({ queryKey: keys.installTokens(site) }),
  });
}

export function useRevokeInstallToken(site: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => call<void>("DELETE", `/install-tokens/${id}`),
    onSuccess: () => client.invalidateQueries({ queryKey: keys.installTokens(site) }),
  });
}

export function useRevokeRelay(site: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (relay: string) => call<void>("DELETE", `/relays/${relay}`),
    onSuccess: () => Promise.all([client.invalidateQueries({ queryKey: keys.site(site) }), client.invalidateQueries({ queryKey: keys.sites })]),
  });
}
