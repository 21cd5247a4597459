/** Who a new task is meant for, resolved from the address: named devices, a stored selection, or all that match a filter. */
import { useQueries } from "@tanstack/react-query";
import { useMemo } from "react";
import { allDevices, deviceQuery, useDevices } from "@/api/devices";
import type { Device } from "@/api/types";
import { readDraft, readMatch } from "@/lib/draft";

/** Devices looked up one by one only up to this number; beyond it they are counted, not named. */
const MOST_NAMED = 40;

export interface Targets {
  /** How many devices; null while unknown. */
  count: number | null;
  /** Named devices, when they are few. */
  named: readonly Pick<Device, "id" | "name" | "state" | "site_name">[];
  kind: "devices" | "match" | "gone";
  /** Of the named devices, how many are not online. */
  notOnline: number;
  /** The ids to send; collects pages when all that match are meant. */
  collect: (onProgress: (loaded: number) => void) => Promise<string[]>;
}

export interface TargetSearch {
  devices?: string;
  draft?: string;
  match?: string;
}

export function useTargets(search: TargetSearch): Targets {
  const match = useMemo(() => (search.match ? readMatch(search.match) : null), [search.match]);
  const ids = useMemo(() => {
    if (search.draft) return readDraft(search.draft);
    return search.devices ? [...new Set(search.devices.split(",").filter(Boolean))] : [];
  }, [search.draft, search.devices]);
  const matched = useDevices(match?.filters ?? { q: "\u0000" }, match !== null);
  const looked = useQueries({ queries: (ids ?? []).slice(0, MOST_NAMED).map((id) => ({ ...deviceQuery(id), staleTime: 30_000 })) });
  if (match) {
    const total = matched.data?.pages[0]?.total;
    return {
      kind: "match",
      count: total == null ? null : Math.max(0, total - match.except.length),
      named: [],
      notOnline: 0,
      collect: async (onProgress) => {
        const except = new Set(match.except);
        return (await allDevices(match.filters, onProgress)).map((device) => device.id).filter((id) => !except.has(id));
      },
    };
  }
  if (!ids) return { kind: "gone", count: 0, named: [], notOnline: 0, collect: () => Promise.resolve([]) };
  const named = ids.length > MOST_NAMED ? [] : ids.map((id, index) => looked[index]?.data ?? { id, name: id, state: "online" as const, site_name: "" });
  return { kind: "devices", count: ids.length, named, notOnline: named.filter((device) => device.state !== "online").length, collect: () => Promise.resolve(ids) };
}
