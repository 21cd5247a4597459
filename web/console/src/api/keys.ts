/** Query keys. One place, so that live events patch what screens read. */
import type { InventorySection, ScopeKind } from "./types";

/** The part of the hierarchy a screen is about. */
export interface ScopeFilter {
  organization_id?: string;
  site_id?: string;
  partner_id?: string;
}

/** Filters of the devices list, as the API takes them. */
export interface DeviceFilters extends ScopeFilter {
  q?: string;
  state?: string;
  os?: string;
  tag?: string;
  sort?: string;
}

export type { ScopeKind };

export const keys = {
  session: ["session"] as const,
  overview: (scope: ScopeFilter) => ["overview", scope] as const,
  partners: ["partners"] as const,
  organizations: ["organizations"] as const,
  sites: ["sites"] as const,
  site: (id: string) => ["site", id] as const,
  installTokens: (site: string) => ["site", site, "install-tokens"] as const,
  devices: (filters: DeviceFilters) => ["devices", "list", filters] as const,
  facets: (filters: DeviceFilters) => ["devices", "facets", filters] as const,
  device: (id: string) => ["device", id] as const,
  deviceMetrics: (id: string, names: string, from: number, to: number, step: number) => ["device-metrics", id, names, from, to, step] as const,
  inventory: (id: string, section: InventorySection) => ["device-inventory", id, section] as const,
  software: (id: string, q: string) => ["device-software", id, q] as const,
  deviceTasks: (id: string) => ["device-tasks", id] as const,
  timeline: (id: string) => ["device-timeline", id] as const,
  deviceAudit: (id: string) => ["device-audit", id] as const,
  live: (id: string) => ["live", id] as const,
  tasks: (scope: ScopeFilter, q: string, status: string) => ["tasks", scope, q, status] as const,
  task: (id: string) => ["task", id] as const,
  taskGroups: (id: string) => ["task-groups", id] as const,
  taskTargets: (id: string, status: string) => ["task-targets", id, status] as const,
  output: (task: string, device: string) => ["task-output", task, device] as const,
  apiKeys: ["api-keys"] as const,
  audit: (scope: ScopeFilter, q: string, actor: string) => ["audit", scope, q, actor] as const,
  users: ["users"] as const,
  retention: (partner: string) => ["retention", partner] as const,
};
