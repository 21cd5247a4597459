/** What the API speaks (`/api/v1`): snake_case, times as RFC 3339 text. */

export type ScopeKind = "platform" | "partner" | "organization" | "site";

export interface User {
  id: string;
  email: string;
  name: string;
  role: string;
  scope: { kind: ScopeKind; id: string | null; name: string };
}
export interface Session {
  user: User;
  csrf_token: string;
}
export interface Page<T> {
  items: T[];
  next_cursor: string | null;
  total?: number | null;
}
export interface Partner {
  id: string;
  name: string;
}
export interface Organization {
  id: string;
  name: string;
  partner_id: string;
  partner_name?: string | null;
  created_at?: string | null;
}

export type SiteState = "healthy" | "degraded" | "unreachable" | "no_relay";
export interface Relay {
  id: string;
  hostname: string;
  version: string;
  peer_id: string;
  online: boolean;
  last_contact: string | null;
  connected_since: string | null;
  backlog_records: number | null;
  backlog_bytes: number | null;
  store_bytes: number | null;
  disk_free_bytes: number | null;
  memory_bytes: number | null;
  uptime_s: number | null;
  cache_bytes: number | null;
  cache_served_bytes: number | null;
  cache_fetched_bytes: number | null;
}
export interface SiteConfig {
  collect_every_s: number;
  inventory_every_s: number;
}
export interface Site {
  id: string;
  name: string;
  organization_id: string;
  organization_name: string;
  state: SiteState;
  state_since: string | null;
  relay: Relay | null;
  devices: { total: number; online: number };
  config: SiteConfig;
  created_at: string;
}
export type TokenKind = "relay" | "agent";
export interface InstallToken {
  id: string;
  kind: TokenKind;
  token?: string | null;
  command?: string | null;
  expires_at: string;
  uses: number;
  used: number;
  created_at?: string | null;
  revoked_at?: string | null;
}

export type DeviceState = "online" | "offline" | "unreachable" | "revoked";
export interface Device {
  id: string;
  name: string;
  hostname: string;
  organization_id: string;
  organization_name: string;
  site_id: string;
  site_name: string;
  state: DeviceState;
  state_since: string | null;
  last_seen: string | null;
  os_name: string | null;
  os_family: string | null;
  arch: string | null;
  agent_version: string | null;
  address: string | null;
  tags: string[];
  cpu_pct: number | null;
  memory_pct: number | null;
  disk_pct: number | null;
  metrics_at: string | null;
}
export interface LatestValue {
  name: string;
  label: string;
  unit: string;
  value: number;
  at: string;
}
export interface DeviceDetail extends Device {
  machine: Record<string, string>;
  latest: LatestValue[];
  enrolled_at: string;
}
export interface Facets {
  state: Record<string, number>;
  os: Record<string, number>;
  site: Record<string, number>;
}
export interface MetricSeries {
  name: string;
  label: string;
  unit: string;
  avg: (number | null)[];
  min: (number | null)[];
  max: (number | null)[];
}
export interface MetricGap {
  from: string | number;
  to: string | number;
  reason: string;
}
export interface Metrics {
  from: string | number;
  to: string | number;
  step_s: number;
  times: number[];
  series: MetricSeries[];
  gaps: MetricGap[];
}
export type InventorySection = "system" | "interfaces" | "disks" | "packages" | "services";
export interface Inventory {
  at: string | null;
  entries: Record<string, Record<string, string>>;
}
export interface SoftwareItem {
  manager: string;
  name: string;
  version: string;
  [fact: string]: string | null | undefined;
}
export interface TimelineItem {
  at: string;
  kind: string;
  title: string;
  detail: string;
  actor: string;
  ref: Reference;
}
/** What an entry is about, when it has a page. */
export interface Reference {
  kind: string | null;
  id: string | null;
  name?: string | null;
}

export type Interpreter = "bash" | "sh" | "python" | "pwsh";
export interface ScriptAction {
  kind: "script";
  interpreter: Interpreter;
  body: string;
  args?: string[];
  env?: Record<string, string>;
  timeout_s?: number;
  output_limit?: number;
  user?: string | null;
  folder?: string | null;
}
export type TargetStatus =
  | "pending" | "sent" | "running" | "succeeded" | "failed" | "timed_out"
  | "cancelled" | "expired" | "refused" | "indeterminate";
export type TaskCounts = Record<TargetStatus, number>;
export interface TaskTarget {
  device_id: string;
  device_name: string;
  status: TargetStatus;
  exit_code: number | null;
  reason: string | null;
  output: string | null;
  output_len: number;
  output_cut: number;
  started_at: string | null;
  finished_at: string | null;
}
export interface Task {
  id: string;
  name: string | null;
  status: "running" | "done" | "cancelled";
  action: ScriptAction;
  created_at: string;
  created_by: string | null;
  expires_at: string;
  counts: TaskCounts;
  total: number;
}
export interface TaskDetail extends Task {
  targets: TaskTarget[];
}
export interface TaskGroup {
  status: TargetStatus;
  exit_code: number | null;
  output_sample: string;
  count: number;
  device_ids: string[];
}
/** Exactly one of these says who is meant. */
export interface TaskTargets {
  device_ids?: string[];
  site_ids?: string[];
  organization_ids?: string[];
  tag?: string;
  all?: true;
}
export interface NewTask {
  name?: string;
  targets: TaskTargets;
  action: ScriptAction;
  expires_in_s: number;
}

export interface ApiKey {
  id: string;
  name: string;
  /** The first characters of the key, to tell keys apart. */
  hint: string;
  role: string;
  scope: string;
  created_at: string;
  last_used_at: string | null;
  expires_at: string | null;
  revoked_at: string | null;
  /** The key itself, once, when it is made. */
  key?: string;
}
export interface AuditItem {
  id: string;
  at: string;
  actor: string;
  action: string;
  target: string;
  detail: string;
  request_id: string;
  device_id?: string | null;
}
export interface UserItem {
  id: string;
  email: string;
  name: string;
  role: string;
  scope_kind: ScopeKind;
  scope_id: string | null;
  scope_name: string;
  created_at: string;
  last_login_at: string | null;
  disabled: boolean;
}
export interface AttentionItem {
  severity: string;
  kind: string;
  title: string;
  detail: string;
  since: string;
  ref: Reference;
}
export interface Overview {
  devices: { online: number; offline: number; unreachable: number; total: number };
  sites: Record<SiteState, number> & { total: number };
  attention: AttentionItem[];
  recent: TimelineItem[];
  tasks_running: number;
}

/** A message of the events socket. Samples and output carry no id. */
export interface LiveEvent {
  id?: string | number | null;
  kind: string;
  at?: string;
  data: unknown;
}
export interface DeviceSample {
  device_id: string;
  at: string | number;
  values: { name: string; label: string; unit?: string; value: number }[];
}
export interface TargetEvent {
  task_id: string;
  device_id: string;
  status: TargetStatus;
  exit_code: number | null;
  reason: string | null;
  output_len: number;
}
export interface OutputEvent {
  task_id: string;
  device_id: string;
  offset: number;
  stream: string;
  data_b64: string;
}
