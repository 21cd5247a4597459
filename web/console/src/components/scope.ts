/** The scope: which organization or site the screens are about. It lives in the URL, so that a link shows a colleague the same. */
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback, useMemo } from "react";
import type { ScopeFilter } from "@/api/keys";
import { remember } from "@/lib/storage";

/** "org:<id>", "site:<id>", or nothing for everything. */
export type ScopeText = string | undefined;

/** The API's filter of a scope. */
export function scopeFilter(scope: ScopeText): ScopeFilter {
  if (scope?.startsWith("org:")) return { organization_id: scope.slice(4) };
  if (scope?.startsWith("site:")) return { site_id: scope.slice(5) };
  if (scope?.startsWith("partner:")) return { partner_id: scope.slice(8) };
  return {};
}

/** The scope as the URL says it. */
export function useScopeText(): ScopeText {
  return useSearch({ strict: false, select: (search: { scope?: string }) => search.scope });
}

/** The scope as the API takes it. */
export function useScope(): ScopeFilter {
  const scope = useScopeText();
  return useMemo(() => scopeFilter(scope), [scope]);
}

/** Changes the scope and stays on the page. */
export function useSetScope(): (scope: ScopeText) => void {
  const navigate = useNavigate();
  return useCallback(
    (scope: ScopeText) => {
      remember("scope", scope ?? null);
      void navigate({ to: ".", search: (before: Record<string, unknown>) => ({ ...before, scope }) } as never);
    },
    [navigate],
  );
}
