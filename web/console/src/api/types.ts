/** What the API speaks (`/api/v1`): short names for the generated types, and the little that the document cannot say. */
import type { components } from "./schema.gen";

type Schemas = components["schemas"];

/** One page of a list; `total` where the list counts. */
export interface Page<T> {
  items: T[];
  next_cursor: string | null;
  total?: number;
}

export type ScopeKind = Schemas["ScopeKind"];
export type Role = Schemas["Role"];
/** What a person may do, as the cloud says it. */
export type Capability = Schemas["Can"];
export type User = Schemas["User"];
export type Session = Schemas["SessionBody"];
export type UserItem = Schemas["UserListItem"];
export type ApiKey = Schemas["ApiKeyItem"];
/** A fresh API key, with the key itself: told once. */
export type NewApiKey = Schemas["NewApiKey"];

/** Days for which a partner's data are kept. */
export type Retention = Schemas["Retention"];
export type Partner = Schemas["Partner"];
export type Organization = Schemas["Organization"];
export type SiteState = Schemas["SiteState"];
export type Site = Schemas["Site"];
export type SiteConfig = Schemas["SiteSettings"];
export type Relay = Schemas["RelayBody"];
export type PackageCache = Schemas["PackageCacheBody"];
export type CacheSettings = Schemas["CacheInput"];
export type CacheSavings = Schemas["CacheSavings"];
export type AheadItem = Schemas["AheadItem"];
export type AheadInput = Schemas["AheadInput"];
export type TokenKind = Schemas["TokenKind"];
export type InstallToken = Schemas["InstallTokenItem"];
/** A fresh install token, with its text: told once. */
export type NewInstallToken = Schemas["NewInstallToken"];

export type DeviceState = Schemas["DeviceState"];
export type Device = Schemas["DeviceItem"];
export type DeviceDetail = Schemas["DeviceDetail"];
export type Facets = Schemas["Facets"];
export type MetricGap = Schemas["GapBody"];
export type Metrics = Schemas["MetricsBody"];
/** Sections of the inventory; the path names them, so that the document has only text. */
export type InventorySection = "system" | "interfaces" | "disks" | "packages" | "services";
export type Inventory = Schemas["SectionBody"];
export type SoftwareItem = Schemas["SoftwareItem"];

export type Interpreter = Schemas["InterpreterInput"];
export type ScriptAction = Schemas["ActionInput"];
/** A script as an earlier task tells it. */
export type ScriptTold = Omit<Schemas["ScriptBody"], "kind">;
export type TargetStatus = Schemas["TargetStatus"];
export type TaskCounts = Schemas["TaskCounts"];
export type TaskTarget = Schemas["TargetBody"];
export type Task = Schemas["TaskBody"];
export type TaskDetail = Schemas["TaskDetail"];
export type DeviceTask = Schemas["DeviceTask"];
export type TaskGroup = Schemas["GroupBody"];
export type TaskTargets = Schemas["TargetsInput"];
export type NewTask = Schemas["TaskInput"];

export type AuditItem = Schemas["AuditEntry"];
export type TimelineItem = Schemas["TimelineItem"];
/** What an entry is about, when it has a page. */
export type Reference = Schemas["Reference"];
export type AttentionItem = Schemas["Attention"];
export type Overview = Schemas["Overview"];

/** A message of the events socket. Samples and output carry no id. */
export interface LiveEvent {
  id?: string | number | null;
  kind: string;
  at?: string;
  data: unknown;
}
export type DeviceSample = Schemas["SampleEvent"];
export type TargetEvent = Schemas["TargetEvent"];
export type OutputEvent = Schemas["OutputEvent"];
