/** State of the devices list: filters, order and columns from the address; rows from the API; selection and the active row of this tab. */
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback, useMemo, useState } from "react";
import { useDevices } from "@/api/devices";
import type { DeviceFilters } from "@/api/keys";
import type { Device } from "@/api/types";
import { useScope } from "@/components/scope";
import { nothing, type Selection } from "@/lib/selection";
import { parseColumns, type ColumnId } from "./columns";

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

export interface DeviceList {
  search: ListSearch;
  filters: DeviceFilters;
  rows: readonly Device[];
  total: number;
  visible: ColumnId[];
  query: ReturnType<typeof useDevices>;
  selection: Selection;
  setSelection: (next: Selection | ((before: Selection) => Selection)) => void;
  change: (patch: Partial<Record<keyof ListSearch, string | undefined>>, replace?: boolean) => void;
}

export function useDeviceList(): DeviceList {
  const search: ListSearch = useSearch({ from: "/shell/devices" });
  const scope = useScope();
  const navigate = useNavigate();
  const [selection, setSelection] = useState<Selection>(nothing);
  const { q, state, os, site, tag, sort = "name", cols } = search;
  const filters = useMemo<DeviceFilters>(
    () => ({ ...scope, ...(site && { site_id: site }), ...(q && { q }), ...(state && { state }), ...(os && { os }), ...(tag && { tag }), sort }),
    [scope, q, state, os, site, tag, sort],
  );
  const query = useDevices(filters);
  const rows = useMemo(() => query.data?.pages.flatMap((page) => page.items) ?? [], [query.data]);
  const visible = useMemo(() => parseColumns(cols), [cols]);
  const change = useCallback<DeviceList["change"]>(
    (patch, replace = false) => {
      const filtering = Object.keys(patch).some((key) => key !== "peek" && key !== "cols" && key !== "sort");
      if (filtering) setSelection(nothing);
      void navigate({
        from: "/devices",
        to: ".",
        search: (before) => ({ ...before, ...patch }) as typeof before,
        replace,
        resetScroll: false,
      });
    },
    [navigate],
  );
  const total = query.data?.pages[0]?.total ?? rows.length;
  return { search, filters, rows, total, visible, query, selection, setSelection, change };
}
