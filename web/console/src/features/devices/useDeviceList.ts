/**
 * State of the devices list: filters, order and columns from the address; rows from the API; selection and the active
 * row of this tab. A change is asked of the server at once and written into the address a moment later, so that the
 * router's work is not in the way of the rows.
 */
import { useQueryClient } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { deviceFilters, devicesQuery, useDevices } from "@/api/devices";
import type { DeviceFilters } from "@/api/keys";
import type { Device } from "@/api/types";
import { useScope } from "@/components/scope";
import { useMedia } from "@/lib/media";
import { nothing, type Selection } from "@/lib/selection";
import { parseColumns, TIGHT, type ColumnId } from "./columns";

/** The part of the address that filters. */
export interface ListSearch {
  q?: string;
  state?: string;
  os?: string;
  site?: string;
  tag?: string;
  sort?: string;
  cols?: string;
  peek?: string;
}

/** How long after a change the address follows; several changes in this time are one. */
const WRITE_MS = 120;

/** The address' search and what was changed since, as one; how to change it; and what it would be with a change. */
function useListSearch(): [ListSearch, (patch: Patch, replace: boolean) => void, (patch: Patch) => Patch] {
  const written: ListSearch = useSearch({ from: "/shell/devices" });
  const navigate = useNavigate();
  const [ahead, setAhead] = useState<ListSearch | null>(null);
  const pending = useRef<{ push: boolean; timer: ReturnType<typeof setTimeout> } | null>(null);
  const latest = useRef(written);
  useEffect(() => {
    if (pending.current) return;
    latest.current = written;
    setAhead(null);
  }, [written]);
  useEffect(() => () => clearTimeout(pending.current?.timer), []);
  const change = useCallback(
    (patch: Patch, replace: boolean) => {
      const next = Object.fromEntries(Object.entries({ ...latest.current, ...patch }).filter(([, value]) => value !== undefined)) as ListSearch;
      latest.current = next;
      setAhead(next);
      clearTimeout(pending.current?.timer);
      const push = !replace || (pending.current?.push ?? false);
      const write = () => {
        pending.current = null;
        void navigate({ from: "/devices", to: ".", search: (before) => ({ ...("scope" in before && { scope: before.scope }), ...next }) as typeof before, replace: !push, resetScroll: false });
      };
      pending.current = { push, timer: setTimeout(write, WRITE_MS) };
    },
    [navigate],
  );
  const changed = useCallback((patch: Patch) => ({ ...latest.current, ...patch }), []);
  return [ahead ?? written, change, changed];
}

type Patch = Partial<Record<keyof ListSearch, string | undefined>>;

export interface DeviceList {
  search: ListSearch;
  filters: DeviceFilters;
  rows: readonly Device[];
  total: number;
  visible: ColumnId[];
  query: ReturnType<typeof useDevices>;
  selection: Selection;
  setSelection: (next: Selection | ((before: Selection) => Selection)) => void;
  change: (patch: Patch, replace?: boolean) => void;
  /** Fetches what a change would show, for one that is about to come. */
  foresee: (patch: Patch) => void;
}

export function useDeviceList(): DeviceList {
  const [search, write, changed] = useListSearch();
  const scope = useScope();
  const [selection, setSelection] = useState<Selection>(nothing);
  const { q, state, os, site, tag, sort, cols } = search;
  const filters = useMemo(() => deviceFilters(scope, { q, state, os, site, tag, sort }), [scope, q, state, os, site, tag, sort]);
  const query = useDevices(filters);
  const rows = useMemo(() => query.data?.pages.flatMap((page) => page.items) ?? [], [query.data]);
  const tight = useMedia(TIGHT);
  const visible = useMemo(() => parseColumns(cols, tight), [cols, tight]);
  const client = useQueryClient();
  const foresee = useCallback<DeviceList["foresee"]>(
    (patch) => void client.prefetchInfiniteQuery(devicesQuery(deviceFilters(scope, changed(patch)))),
    [client, scope, changed],
  );
  const change = useCallback<DeviceList["change"]>(
    (patch, replace = false) => {
      const names = Object.keys(patch);
      // Asked before anything is drawn, so that the answer is made meanwhile.
      if (names.some((key) => key !== "peek" && key !== "cols")) foresee(patch);
      if (names.some((key) => key !== "peek" && key !== "cols" && key !== "sort")) setSelection(nothing);
      write(patch, replace);
    },
    [write, foresee],
  );
  const total = query.data?.pages[0]?.total ?? rows.length;
  return { search, filters, rows, total, visible, query, selection, setSelection, change, foresee };
}
