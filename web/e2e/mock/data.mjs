/** Made-up data of the API's shapes, for looking at screens without the stack. Includes hostile names on purpose. */
import { randomUUID } from "node:crypto";

export const iso = (ms) => new Date(ms).toISOString();
const pick = (list, index) => list[index % list.length];
/** A repeatable number in [0, 1) for an index. */
const noise = (seed) => {
  const value = Math.sin(seed * 12.9898) * 43758.5453;
  return value - Math.floor(value);
};

const osNames = ["Debian GNU/Linux 12 (bookworm)", "Ubuntu 24.04.1 LTS", "Rocky Linux 9.4", "Windows Server 2022", "macOS 15.1"];
const families = ["linux", "linux", "linux", "windows", "macos"];
const roles = ["web", "db", "mail", "till", "desk", "print", "cam", "nas"];
const hostile = ["<img src=x onerror=alert(1)>", "مرحبا-جهاز-المكتب", "\u202egnp.exe", "a".repeat(300), "${jndi:ldap://x}", "=cmd|'/C calc'!A0"];

export function makeWorld(count, now = Date.now()) {
  const organizations = [{ id: randomUUID(), name: "Northwind Clinics" }, { id: randomUUID(), name: "Harbour Logistics" }].map((each) => ({ ...each, partner_id: "p1", created_at: iso(now - 9e9) }));
  const names = ["Main office", "Warehouse", "Clinic east", "Clinic west", "Depot"];
  const states = ["healthy", "healthy", "degraded", "unreachable", "no_relay"];
  const sites = names.map((name, index) => {
    const organization = pick(organizations, index);
    const state = states[index];
    return {
      id: randomUUID(), name, organization_id: organization.id, organization_name: organization.name, state, state_since: iso(now - (index + 1) * 4_100_000),
      relay: state === "no_relay" ? null : {
        id: randomUUID(), hostname: `relay-${index + 1}`, version: "0.1.0", peer_id: `12D3KooW${"AbCdEfGh".repeat(5)}${index}`, online: state !== "unreachable",
        last_contact: iso(now - (state === "unreachable" ? 4 * 4_100_000 : 4000)), connected_since: state === "unreachable" ? null : iso(now - 86_400_000 * 3), backlog_records: index === 2 ? 48_211 : 0, backlog_bytes: index === 2 ? 9_400_000 : 0,
        store_bytes: 214_000_000, disk_free_bytes: 41_000_000_000, memory_bytes: 31_000_000, uptime_s: 3 * 86_400, cache_bytes: 2_100_000_000, cache_served_bytes: 9_800_000_000, cache_fetched_bytes: 2_100_000_000, cache_hits: 18_240, cache_misses: 2_310, cache_ahead_files: 12, clock_ahead_ms: 0,
      },
      devices: { total: 0, online: 0 }, config: { collect_every_s: 10, inventory_every_s: 3600 }, created_at: iso(now - 8e9),
    };
  });
  const withRelay = sites.filter((site) => site.relay);
  const devices = Array.from({ length: count }, (_, index) => {
    const site = pick(withRelay, index);
    const state = site.state === "unreachable" ? "unreachable" : index % 17 === 5 ? "offline" : "online";
    const seen = state === "online" ? now - noise(index) * 9000 : now - 3_600_000 * (1 + noise(index) * 90);
    const name = index < hostile.length ? hostile[index] : `${pick(roles, index)}-${String(index).padStart(4, "0")}`;
    site.devices.total += 1;
    if (state === "online") site.devices.online += 1;
    return {
      id: randomUUID(), name, hostname: `${pick(roles, index)}-${index}.lan`, organization_id: site.organization_id, organization_name: site.organization_name, site_id: site.id, site_name: site.name,
      state, state_since: iso(seen), last_seen: iso(seen), os_name: pick(osNames, index * 7), os_family: pick(families, index * 7), arch: index % 9 ? "x86_64" : "aarch64", agent_version: "0.1.0",
      address: `10.${index % 5}.${(index >> 8) & 255}.${index & 255}`, tags: index % 3 ? [] : [pick(["prod", "kiosk", "lab"], index)], cpu_pct: noise(index + 1) ** 3 * 100, memory_pct: 20 + noise(index + 2) * 75, disk_pct: 10 + noise(index + 3) * 88, metrics_at: iso(seen), clock_ahead_ms: 0,
    };
  });
  return { organizations, sites, devices, tasks: [], keys: [{ id: randomUUID(), name: "Backup job", hint: "uak_Ab3dE6", role: "admin", scope: "platform", created_by: "ada@example.com", parent_id: null, revoked_at: null, created_at: iso(now - 5e9), last_used_at: iso(now - 7e6), expires_at: null }], tokens: new Map(), users: [{ id: "u1", email: "ada@example.com", name: "Ada Byron", role: "admin", scope_kind: "platform", scope_id: null, scope_name: "", created_at: iso(now - 9e9), last_login_at: iso(now - 60_000), disabled: false }] };
}

const specs = [
  ["cpu.busy", [""], "percent", 30, 25], ["cpu.user", [""], "percent", 20, 15], ["cpu.system", [""], "percent", 8, 5], ["cpu.iowait", [""], "percent", 2, 2],
  ["load.1", [""], "load", 1.2, 0.8], ["load.5", [""], "load", 1.1, 0.5], ["load.15", [""], "load", 1, 0.3], ["memory.used_pct", [""], "percent", 61, 6],
  ["memory.used", [""], "bytes", 9e9, 1e9], ["memory.cached", [""], "bytes", 4e9, 3e8], ["memory.available", [""], "bytes", 6e9, 1e9], ["disk.used_pct", ["/", "/var", "/srv/data"], "percent", 55, 1],
  ["disk.read", ["sda"], "bytes_per_s", 2e6, 2e6], ["disk.write", ["sda"], "bytes_per_s", 5e6, 4e6], ["net.rx", ["eth0"], "bytes_per_s", 8e5, 7e5], ["net.tx", ["eth0"], "bytes_per_s", 3e5, 3e5],
  ["process.count", [""], "count", 212, 12], ["process.running", [""], "count", 3, 2], ["temperature", ["cpu", "nvme0"], "celsius", 52, 8],
];

export function metrics(names, from, to, step) {
  const times = [];
  const end = Math.min(to, Date.now());
  const gapFrom = from + (end - from) * 0.35;
  const gapTo = from + (end - from) * 0.42;
  for (let at = Math.ceil(from / 1000 / step) * step * 1000; at <= end; at += step * 1000) if (at < gapFrom || at > gapTo) times.push(at);
  const series = specs.filter(([name]) => names.length === 0 || names.includes(name)).flatMap(([name, labels, unit, mean, spread], which) =>
    labels.map((label, nth) => {
      const avg = times.map((at) => Math.max(0, mean + nth * 8 + spread * (Math.sin(at / 900_000 + which) * 0.6 + (noise(at / 60_000 + which * 31 + nth) - 0.5) * 0.8)));
      return { name, label, unit, avg, min: avg.map((value) => Math.max(0, value - spread * 0.3)), max: avg.map((value) => value + spread * 0.35) };
    }));
  return { from: iso(from), to: iso(to), step_s: step, times, series, gaps: [{ from: iso(gapFrom), to: iso(gapTo), reason: "quota" }] };
}

export function sampleValues() {
  const at = Date.now();
  return specs.flatMap(([name, labels, , mean, spread], which) => labels.map((label, nth) => ({ name, label, value: Math.max(0, mean + nth * 8 + spread * Math.sin(at / 30_000 + which)) }))).concat([{ name: "system.uptime", label: "", value: 356_000 }]);
}
