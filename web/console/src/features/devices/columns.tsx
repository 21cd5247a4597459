/** Columns of the devices list: what they show, how wide they are, what the server can sort by. */
import { Bdi, Badge, DeviceText, Meter } from "@unifyit/ui";
import type { ReactNode } from "react";
import type { Device } from "@/api/types";
import { Age } from "@/components/age";
import { DeviceStateBadge } from "@/components/states";
import { percent } from "@/lib/format";
import { t } from "@/strings";

export type ColumnId = Exclude<keyof typeof t.devices.columns, never>;

export interface Column {
  id: ColumnId;
  /** A grid track. */
  width: string;
  /** What the API sorts by, when it can. */
  sort?: string;
  /** `asOf` says since when the measured values are old; null while they are fresh. */
  cell: (device: Device, asOf: string | null) => ReactNode;
  /** The cell in an exported file. */
  text: (device: Device) => string | number | null;
}

/** A load in a row: one clock for the whole row, and a colour instead of a veil when old, since a list draws hundreds of them at once. */
function Level({ value, asOf, label }: { value: number | null; asOf: string | null; label: string }) {
  if (value === null) return <span className="text-faint">–</span>;
  const old = asOf !== null;
  return (
    <span className="flex items-center gap-2">
      <span className={old ? "w-12 shrink-0 text-right text-faint tnum" : "w-12 shrink-0 text-right tnum"}>{percent(value)}</span>
      <Meter value={value} label={old ? `${label} ${asOf}` : label} stale={old} className="w-10" />
    </span>
  );
}

const pct = (value: number | null) => (value === null ? null : percent(value));

export const columns: readonly Column[] = [
  { id: "name", width: "minmax(11rem,2fr)", sort: "name", cell: (d) => <DeviceText className="font-medium">{d.name}</DeviceText>, text: (d) => d.name },
  { id: "state", width: "8rem", sort: "state", cell: (d) => <DeviceStateBadge state={d.state} />, text: (d) => t.devices.states[d.state] ?? d.state },
  { id: "os", width: "minmax(9rem,1.3fr)", sort: "os_name", cell: (d) => <DeviceText>{d.os_name}</DeviceText>, text: (d) => d.os_name },
  { id: "site", width: "minmax(8rem,1fr)", sort: "site_name", cell: (d) => <DeviceText>{d.site_name}</DeviceText>, text: (d) => d.site_name },
  { id: "organization", width: "minmax(8rem,1fr)", sort: "organization_name", cell: (d) => <DeviceText>{d.organization_name}</DeviceText>, text: (d) => d.organization_name },
  { id: "hostname", width: "minmax(8rem,1fr)", sort: "hostname", cell: (d) => <DeviceText mono>{d.hostname}</DeviceText>, text: (d) => d.hostname },
  { id: "address", width: "8.5rem", sort: "address", cell: (d) => <DeviceText mono>{d.address}</DeviceText>, text: (d) => d.address },
  { id: "cpu", width: "7.5rem", sort: "cpu_pct", cell: (d, asOf) => <Level value={d.cpu_pct} asOf={asOf} label={t.devices.columns.cpu} />, text: (d) => pct(d.cpu_pct) },
  { id: "memory", width: "7.5rem", sort: "memory_pct", cell: (d, asOf) => <Level value={d.memory_pct} asOf={asOf} label={t.devices.columns.memory} />, text: (d) => pct(d.memory_pct) },
  { id: "disk", width: "7.5rem", sort: "disk_pct", cell: (d, asOf) => <Level value={d.disk_pct} asOf={asOf} label={t.devices.columns.disk} />, text: (d) => pct(d.disk_pct) },
  { id: "last_seen", width: "7.5rem", sort: "last_seen", cell: (d) => <Age at={d.last_seen} className="text-muted" none={t.devices.neverSeen} />, text: (d) => d.last_seen },
  { id: "agent", width: "6rem", sort: "agent_version", cell: (d) => <DeviceText mono>{d.agent_version}</DeviceText>, text: (d) => d.agent_version },
  { id: "arch", width: "6.5rem", sort: "arch", cell: (d) => <DeviceText mono>{d.arch}</DeviceText>, text: (d) => d.arch },
  { id: "tags", width: "minmax(8rem,1fr)", cell: (d) => <Tags tags={d.tags} />, text: (d) => d.tags.join(" ") },
];

/** Shown until a person chooses otherwise. */
export const defaultColumns: readonly ColumnId[] = ["name", "state", "os", "site", "cpu", "memory", "disk", "last_seen"];

/** The same in a window that is too narrow for all of them. */
const fewColumns: readonly ColumnId[] = ["name", "state", "site", "cpu", "last_seen"];

/** Whether the window has no room for the usual columns beside the navigation. */
export const TIGHT = "(max-width: 1311px)";

/** Columns named in an address, in that order; unknown names are skipped, the name column is always there. Without any, those that the window has room for. */
export function parseColumns(text: string | undefined, tight: boolean): ColumnId[] {
  if (!text) return [...(tight ? fewColumns : defaultColumns)];
  const known = text.split(",").filter((id): id is ColumnId => columns.some((column) => column.id === id));
  const unique = [...new Set(known)];
  return unique.includes("name") ? unique : ["name", ...unique];
}

export function columnOf(id: string): Column | undefined {
  return columns.find((column) => column.id === id);
}

export function Tags({ tags }: { tags: readonly string[] }) {
  if (tags.length === 0) return <span className="text-faint">–</span>;
  return <span className="flex gap-1 overflow-hidden">{tags.slice(0, 6).map((tag) => <Badge key={tag}><Bdi className="clip">{tag}</Bdi></Badge>)}</span>;
}
