/**
 * Who a run is meant for, handed from a list to the run screen. A few devices
 * travel in the address; many are kept in this tab's session storage; "all
 * that match" travels as the filter itself, so that a link means the same to
 * a colleague.
 */
import type { DeviceFilters } from "@/api/keys";

const MOST_IN_ADDRESS = 40;
const PREFIX = "unifyit.draft.";

/** The query string of the run screen for these devices. */
export function draftForDevices(ids: readonly string[]): { devices?: string; draft?: string } {
  if (ids.length <= MOST_IN_ADDRESS) return { devices: ids.join(",") };
  const draft = crypto.randomUUID();
  try {
    sessionStorage.setItem(PREFIX + draft, JSON.stringify(ids));
  } catch {
    return { devices: ids.join(",") };
  }
  return { draft };
}

/** The devices of a draft; null when this tab does not know it. */
export function readDraft(draft: string): string[] | null {
  try {
    const text = sessionStorage.getItem(PREFIX + draft);
    return text === null ? null : (JSON.parse(text) as string[]);
  } catch {
    return null;
  }
}

/** All devices that match a filter, but for the exceptions. */
export interface Match {
  filters: DeviceFilters;
  except: string[];
}

export function writeMatch(match: Match): string {
  return JSON.stringify(match);
}

export function readMatch(text: string): Match | null {
  try {
    const raw = JSON.parse(text) as Partial<Match>;
    if (typeof raw.filters !== "object" || raw.filters === null) return null;
    const filters = Object.fromEntries(Object.entries(raw.filters).filter(([, value]) => typeof value === "string"));
    return { filters, except: Array.isArray(raw.except) ? raw.except.filter((id) => typeof id === "string") : [] };
  } catch {
    return null;
  }
}
