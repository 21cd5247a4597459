/** Which charts there are and what each draws. */
import { t } from "@/strings";

export interface ChartSpec {
  id: string;
  title: string;
  names: readonly string[];
  max?: number;
}

const c = t.metrics.charts;

export const charts: readonly ChartSpec[] = [
  { id: "cpu", title: c.cpu, names: ["cpu.busy"], max: 100 },
  { id: "memory", title: c.memory, names: ["memory.used_pct"], max: 100 },
  { id: "disk", title: c.disk, names: ["disk.used_pct"], max: 100 },
  { id: "network", title: c.network, names: ["net.rx", "net.tx"] },
  { id: "cpu-split", title: c.cpuSplit, names: ["cpu.user", "cpu.system", "cpu.iowait", "cpu.steal"] },
  { id: "load", title: c.load, names: ["load.1", "load.5", "load.15"] },
  { id: "memory-bytes", title: c.memoryBytes, names: ["memory.used", "memory.cached", "memory.available"] },
  { id: "swap", title: c.swap, names: ["swap.used"] },
  { id: "disk-bytes", title: c.diskBytes, names: ["disk.read", "disk.write"] },
  { id: "disk-ops", title: c.diskOps, names: ["disk.read_ops", "disk.write_ops"] },
  { id: "network-errors", title: c.networkErrors, names: ["net.rx_errors", "net.tx_errors"] },
  { id: "processes", title: c.processes, names: ["process.count", "process.running"] },
  { id: "temperature", title: c.temperature, names: ["temperature"] },
];

/** The charts of a device's overview. */
export const keyCharts = charts.slice(0, 4);

/** Ranges by their name in the address, milliseconds. */
export const ranges = { "15m": 15 * 60_000, "1h": 3_600_000, "6h": 6 * 3_600_000, "24h": 24 * 3_600_000, "7d": 7 * 24 * 3_600_000, "30d": 30 * 24 * 3_600_000, "1y": 365 * 24 * 3_600_000 } as const;
export type Range = keyof typeof ranges;

export function parseRange(text: string | undefined): Range {
  return text !== undefined && text in ranges ? (text as Range) : "15m";
}
