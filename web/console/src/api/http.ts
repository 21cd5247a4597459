/**
 * The one place that calls `fetch`. Adds the CSRF token and idempotency keys,
 * turns RFC 9457 problems into `ApiError`s with a sentence and a request id,
 * and tells the session when the server no longer knows us.
 */
import { learnServerTime } from "@/lib/clock";

const PREFIX = "/api/v1";

/** What went wrong, as a person may read it. `status` 0: no answer at all. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string | null,
    readonly requestId: string | null,
  ) {
    super(detail ?? title);
    this.name = "ApiError";
  }
}

/** Values of a query string; empty ones are left out. */
export type Query = Record<string, string | number | boolean | null | undefined>;

interface Options {
  query?: Query;
  body?: unknown;
  signal?: AbortSignal;
  idempotencyKey?: string;
}

let csrfToken: string | null = null;
let onSignedOut: () => void = () => undefined;

/** Sets the token that unsafe calls carry. */
export function setCsrf(token: string | null): void {
  csrfToken = token;
}

/** Registers what happens when the session ended. */
export function whenSignedOut(listener: () => void): void {
  onSignedOut = listener;
}

/** A path below `/api/v1` with its query string. */
export function address(path: string, query: Query = {}): string {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") parameters.set(key, String(value));
  }
  const text = parameters.toString();
  return `${PREFIX}${path}${text === "" ? "" : `?${text}`}`;
}

/** A WebSocket address on this server. */
export function socketAddress(path: string, query: Query = {}): string {
  const origin = location.origin.replace(/^http/, "ws");
  return origin + address(path, query);
}

async function send(method: string, path: string, options: Options): Promise<Response> {
  const headers = new Headers({ Accept: "application/json" });
  if (options.body !== undefined) headers.set("Content-Type", "application/json");
  if (method !== "GET" && csrfToken !== null) headers.set("X-CSRF-Token", csrfToken);
  if (options.idempotencyKey !== undefined) headers.set("Idempotency-Key", options.idempotencyKey);
  let response: Response;
  try {
    response = await fetch(address(path, options.query), {
      method,
      headers,
      credentials: "same-origin",
      body: options.body === undefined ? null : JSON.stringify(options.body),
      signal: options.signal ?? null,
    });
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
    throw new ApiError(0, "The server cannot be reached", "Check this computer's network connection; the page tries again by itself.", null);
  }
  learnServerTime(response.headers.get("Date"));
  if (!response.ok) throw await problem(response, path);
  return response;
}

async function problem(response: Response, path: string): Promise<ApiError> {
  let body: { title?: string; detail?: string | null; request_id?: string | null } = {};
  try {
    body = (await response.json()) as typeof body;
  } catch {
    /* A proxy's page, or nothing: the status alone is told. */
  }
  if (response.status === 401 && !path.startsWith("/auth/login") && !path.startsWith("/auth/password")) onSignedOut();
  const title = typeof body.title === "string" ? body.title : `The server answered ${response.status}`;
  const requestId = body.request_id ?? response.headers.get("X-Request-Id");
  return new ApiError(response.status, title, body.detail ?? null, requestId ?? null);
}

/** Calls the API and reads JSON (or nothing, for 204). */
export async function call<T>(method: string, path: string, options: Options = {}): Promise<T> {
  const response = await send(method, path, options);
  if (response.status === 204) return undefined as T;
  const text = await response.text();
  return (text === "" ? undefined : JSON.parse(text)) as T;
}

/** Reads raw bytes, such as a task's whole output. */
export async function callBytes(path: string, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
  const response = await send("GET", path, signal ? { signal } : {});
  return new Uint8Array(await response.arrayBuffer());
}

/** Shorthand for reads. */
export function get<T>(path: string, query?: Query, signal?: AbortSignal): Promise<T> {
  return call<T>("GET", path, { ...(query && { query }), ...(signal && { signal }) });
}
