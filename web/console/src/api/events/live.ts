/**
 * Joins the events socket to the query cache and to React: connection state
 * for the header, and reference-counted watches for the screens that want
 * samples or output.
 */
import type { QueryClient, QueryKey } from "@tanstack/react-query";
import { useEffect, useSyncExternalStore } from "react";
import { socketAddress } from "../http";
import { applyEvent, refreshPassing } from "./apply";
import { EventSocket, type Connection } from "./socket";

/** Shortest time between two refetches that events cause for one key. */
const THROTTLE_MS = 2000;
const MAX_DEVICES = 64;
const MAX_TASKS = 8;

/** What the header shows. */
export interface ConnectionInfo {
  readonly state: Connection;
  /** When the next try is due, by this computer's clock. */
  readonly retryAt: number | null;
}

let info: ConnectionInfo = { state: "closed", retryAt: null };
const observers = new Set<() => void>();
const watched = { devices: new Map<string, number>(), tasks: new Map<string, number>() };
let socket: EventSocket | null = null;

/** A function that invalidates a key at once and then at most every `THROTTLE_MS`. */
export function throttledRefresh(client: QueryClient, schedule: (run: () => void, ms: number) => void = setTimeout): (key: QueryKey) => void {
  const waiting = new Map<string, boolean>();
  const refresh = (key: QueryKey) => {
    const name = JSON.stringify(key);
    if (waiting.has(name)) {
      waiting.set(name, true);
      return;
    }
    waiting.set(name, false);
    void client.invalidateQueries({ queryKey: key });
    schedule(() => {
      const again = waiting.get(name);
      waiting.delete(name);
      if (again) refresh(key);
    }, THROTTLE_MS);
  };
  return refresh;
}

/** Starts the live connection of this tab; returns how to stop it. */
export function startLive(client: QueryClient): () => void {
  const refresh = throttledRefresh(client);
  const live = new EventSocket(
    {
      open: (after) => new WebSocket(socketAddress("/events", { after })),
      schedule: (run, ms) => {
        const timer = setTimeout(run, ms);
        return () => clearTimeout(timer);
      },
      random: Math.random,
    },
    {
      onEvent: (event) => applyEvent(client, event, refresh),
      onGap: () => void client.invalidateQueries(),
      onResume: () => refreshPassing(refresh),
      onState: (state, retryInMs) => {
        info = { state, retryAt: retryInMs === null ? null : Date.now() + retryInMs };
        for (const observer of observers) observer();
      },
    },
  );
  socket = live;
  const hurry = () => live.hurry();
  window.addEventListener("online", hurry);
  live.start();
  sendWatch();
  return () => {
    window.removeEventListener("online", hurry);
    socket = null;
    live.stop();
  };
}

/** Tries to connect at once. */
export function reconnectNow(): void {
  socket?.hurry();
}

/** The live connection's state. */
export function useConnection(): ConnectionInfo {
  return useSyncExternalStore(
    (observer) => {
      observers.add(observer);
      return () => observers.delete(observer);
    },
    () => info,
  );
}

function sendWatch(): void {
  socket?.setWatch({
    devices: [...watched.devices.keys()].slice(-MAX_DEVICES),
    tasks: [...watched.tasks.keys()].slice(-MAX_TASKS),
  });
}

/** Asks for live samples of a device, or live output of a task, while mounted. */
export function useWatch(kind: "devices" | "tasks", id: string | null): void {
  useEffect(() => {
    if (id === null) return;
    const map = watched[kind];
    map.set(id, (map.get(id) ?? 0) + 1);
    sendWatch();
    return () => {
      const left = (map.get(id) ?? 1) - 1;
      if (left > 0) map.set(id, left);
      else map.delete(id);
      sendWatch();
    };
  }, [kind, id]);
}
