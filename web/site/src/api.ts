/**
 * The relay's local API, as `site-relay/src/ui` serves it under `/api`: sign-in
 * by PIN with a cookie, the one-screen answer, devices, commands under way and
 * what the package cache saved. `/api/events` sends the overview whenever it
 * changed. All of it works without the internet.
 */

export interface Overview {
  organization: string;
  site: string;
  cloud: { up: boolean; since_ms: number };
  devices: { total: number; online: number; healthy: number };
  needs: Need[];
  backlog: { records: number; bytes: number; urgent: number };
  running: number;
  relay: { version: string; started_ms: number };
  cache: { stored_bytes: number; offline_since_ms: number | null } | null;
}
export interface Need {
  device: string | null;
  kind: string;
  name: string;
  value: number | null;
  since_ms: number | null;
}
export interface Device {
  id: string;
  name: string;
  os: string;
  address: string;
  agent_version: string;
  online: boolean;
  since_ms: number;
  sampled_ms: number | null;
  stale: boolean;
  cpu_pct: number | null;
  memory_pct: number | null;
  disk_pct: number | null;
  /** Of its own clock; negative: behind; 0: right. */
  clock_ahead_ms: number;
}
export type Status = "pending" | "sent" | "running" | "succeeded" | "failed" | "timed_out" | "cancelled" | "expired" | "refused" | "indeterminate";
export interface Work {
  id: string;
  received_ms: number;
  expires_ms: number;
  done: boolean;
  counts: Partial<Record<Status, number>>;
}
/** What the package cache did on a day, or for a repository (`name`). */
export interface CacheSum {
  name: string;
  served: number;
  fetched: number;
  hits: number;
  misses: number;
}
export interface CacheAccount {
  days: CacheSum[];
  repositories: CacheSum[];
  ahead: { files: number; ready: number; bytes_left: number; off_hours: boolean; failures: { url: string; times: number; reason: string }[] };
}

/** A refused or failed call. `status` 0: the relay did not answer. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    message: string | null,
  ) {
    super(message ?? "");
  }
}

let aheadMs = 0;

/** The site's time, as the relay told it: this computer's clock may be wrong. */
export const siteNow = () => Date.now() + aheadMs;

async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  let response: Response;
  try {
    response = await fetch(`/api${path}`, {
      method,
      credentials: "same-origin",
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? null : JSON.stringify(body),
    });
  } catch {
    throw new Refusal(0, null);
  }
  const told = Number(response.headers.get("x-site-time"));
  if (told > 0) aheadMs = told - Date.now();
  const text = await response.text();
  const value: unknown = text === "" ? null : parse(text);
  if (response.ok) return value as T;
  const problem = value as { detail?: string; title?: string } | null;
  throw new Refusal(response.status, problem?.detail ?? problem?.title ?? null);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

export const api = {
  session: () => call<unknown>("GET", "/session"),
  signIn: (pin: string) => call<unknown>("POST", "/sign-in", { pin }),
  signOut: () => call<unknown>("POST", "/sign-out"),
  overview: () => call<Overview>("GET", "/overview"),
  devices: () => call<Device[]>("GET", "/devices"),
  work: () => call<Work[]>("GET", "/work"),
  cache: () => call<CacheAccount>("GET", "/cache"),
};

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 15_000;

/** Follows the overview until stopped; connects again by itself. */
export function follow(onOverview: (overview: Overview) => void, onConnected: (connected: boolean) => void): () => void {
  let stopped = false;
  let attempts = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let socket: WebSocket | null = null;
  const connect = () => {
    const opened = new WebSocket(`${location.origin.replace(/^http/, "ws")}/api/events`);
    socket = opened;
    opened.onopen = () => {
      attempts = 0;
      onConnected(true);
    };
    opened.onmessage = (message: MessageEvent<unknown>) => {
      const value = typeof message.data === "string" ? parse(message.data) : null;
      if (value !== null) onOverview(value as Overview);
    };
    opened.onclose = () => {
      if (stopped) return;
      onConnected(false);
      const delay = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempts);
      attempts += 1;
      timer = setTimeout(connect, delay / 2 + (delay / 2) * Math.random());
    };
  };
  connect();
  return () => {
    stopped = true;
    clearTimeout(timer);
    socket?.close();
  };
}
