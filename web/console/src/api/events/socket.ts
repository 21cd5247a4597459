/**
 * The events socket: one connection a tab, resumed by the id of the last event
 * seen, with exponential back-off and jitter between tries. Knows nothing of
 * React or of what the events mean; its surroundings are injected, so that
 * tests drive time and connections.
 */
import type { LiveEvent } from "../types";

/** What a person is told about the connection. */
export type Connection = "connecting" | "live" | "waiting" | "closed";

/** The parts of a WebSocket that are used. */
export interface Wire {
  onopen: ((event: Event) => void) | null;
  onclose: ((event: CloseEvent) => void) | null;
  onmessage: ((event: MessageEvent) => void) | null;
  send(text: string): void;
  close(): void;
}

/** Injected surroundings. */
export interface Surroundings {
  open(after: string | null): Wire;
  schedule(run: () => void, ms: number): () => void;
  random(): number;
}

/** Who listens. */
export interface Listener {
  onEvent(event: LiveEvent): void;
  onState(state: Connection, retryInMs: number | null): void;
  /** Connected again without an id to resume from: caches may have missed events. */
  onGap(): void;
  /** Connected again and resumed: only events that carry no id were missed. */
  onResume(): void;
}

/** What is asked for beyond the common stream. */
export interface Watch {
  devices: string[];
  tasks: string[];
}

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;

/** How long to wait before try number `attempt` (from 0): half fixed, half random. */
export function backoff(attempt: number, random: number): number {
  const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt, 10));
  return ceiling / 2 + (ceiling / 2) * random;
}

export class EventSocket {
  private wire: Wire | null = null;
  private cancelRetry: (() => void) | null = null;
  private attempts = 0;
  private everOpen = false;
  private isOpen = false;
  private stopped = true;
  private lastId: string | null = null;
  private watch: Watch = { devices: [], tasks: [] };

  constructor(
    private readonly around: Surroundings,
    private readonly listener: Listener,
  ) {}

  /** Connects, and stays connected until `stop`. */
  start(): void {
    if (!this.stopped) return;
    this.stopped = false;
    this.connect();
  }

  /** Closes for good and forgets where it was. */
  stop(): void {
    this.stopped = true;
    this.cancelRetry?.();
    this.cancelRetry = null;
    this.drop();
    this.lastId = null;
    this.everOpen = false;
    this.listener.onState("closed", null);
  }

  /** Tries at once instead of waiting: the network is back, or someone asked. */
  hurry(): void {
    if (this.stopped || this.wire !== null) return;
    this.cancelRetry?.();
    this.connect();
  }

  /** Says which devices' samples and which tasks' output are wanted. */
  setWatch(watch: Watch): void {
    this.watch = watch;
    this.sendWatch();
  }

  private connect(): void {
    this.cancelRetry = null;
    this.listener.onState("connecting", null);
    const wire = this.around.open(this.lastId);
    this.wire = wire;
    wire.onopen = () => {
      this.isOpen = true;
      this.attempts = 0;
      if (this.everOpen && this.lastId === null) this.listener.onGap();
      else if (this.everOpen) this.listener.onResume();
      this.everOpen = true;
      this.listener.onState("live", null);
      this.sendWatch();
    };
    wire.onmessage = (message) => this.receive(message.data);
    wire.onclose = () => {
      if (this.wire !== wire) return;
      this.wire = null;
      this.isOpen = false;
      if (!this.stopped) this.retry();
    };
  }

  private retry(): void {
    const delay = backoff(this.attempts, this.around.random());
    this.attempts += 1;
    this.listener.onState("waiting", delay);
    this.cancelRetry = this.around.schedule(() => this.connect(), delay);
  }

  private drop(): void {
    const wire = this.wire;
    this.wire = null;
    this.isOpen = false;
    wire?.close();
  }

  private receive(data: unknown): void {
    if (typeof data !== "string") return;
    let event: LiveEvent;
    try {
      event = JSON.parse(data) as LiveEvent;
    } catch {
      return;
    }
    if (typeof event.kind !== "string") return;
    if (event.id !== null && event.id !== undefined) this.lastId = String(event.id);
    this.listener.onEvent(event);
  }

  private sendWatch(): void {
    if (this.isOpen) this.wire?.send(JSON.stringify({ watch: this.watch }));
  }
}
