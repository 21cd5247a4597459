/** Charts. */
export const metrics = {
  range: "Range",
  ranges: { "15m": "15 min", "1h": "1 h", "6h": "6 h", "24h": "24 h", "7d": "7 d", "30d": "30 d", "1y": "1 y" },
  custom: (from: string, to: string) => `${from} – ${to}`,
  back: "Back to live",
  zoomHint: "Drag across a chart to zoom.",
  noneInRange: "No values in this range",
  noneInRangeDetail: "A device that has just joined sends its first values within a minute. Otherwise choose a longer range, or an earlier one.",
  noData: "no data",
  moreLines: (number: number) => `${number} quieter ${number === 1 ? "one" : "ones"} not drawn`,
  leftOut: (number: number) => `${number} more measured things have no room in this range. Choose a shorter one to see them.`,
  chartLabel: (title: string, latest: string) => `Chart of ${title}. Latest: ${latest}`,
  reasons: {
    quota: "dropped: the relay's disk quota was reached",
    offline: "the device was offline",
    unreachable: "the site was unreachable",
    agent_stopped: "the agent was not running",
    clock: "the device's clock was wrong",
  } as Record<string, string>,
  charts: {
    cpu: "CPU", cpuSplit: "CPU by kind", load: "Load", memory: "Memory in use", memoryBytes: "Memory", swap: "Swap",
    disk: "Disk space in use", diskBytes: "Disk throughput", diskOps: "Disk operations", network: "Network", networkErrors: "Network errors",
    processes: "Processes", temperature: "Temperature",
  },
  names: {
    "cpu.busy": "busy", "cpu.user": "user", "cpu.system": "system", "cpu.iowait": "waiting for disk", "cpu.steal": "stolen",
    "load.1": "1 min", "load.5": "5 min", "load.15": "15 min",
    "memory.used_pct": "in use", "memory.used": "used", "memory.cached": "cached", "memory.available": "available",
    "swap.used": "used", "disk.used_pct": "in use", "disk.read": "read", "disk.write": "write", "disk.read_ops": "read", "disk.write_ops": "write",
    "net.rx": "in", "net.tx": "out", "net.rx_errors": "in", "net.tx_errors": "out",
    "process.count": "all", "process.running": "running", temperature: "",
  } as Record<string, string>,
} as const;
