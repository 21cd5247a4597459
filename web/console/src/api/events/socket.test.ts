import { describe, expect, it } from "vitest";
import type { LiveEvent } from "../types";
import { backoff, EventSocket, type Connection, type Wire } from "./socket";

class FakeWire implements Wire {
  onopen: Wire["onopen"] = null;
  onclose: Wire["onclose"] = null;
  onmessage: Wire["onmessage"] = null;
  sent: string[] = [];
  closed = false;
  send(text: string) {
    this.sent.push(text);
  }
  close() {
    this.closed = true;
  }
  opens() {
    this.onopen?.(new Event("open"));
  }
  breaks() {
    this.onclose?.({} as CloseEvent);
  }
  says(event: unknown) {
    this.onmessage?.({ data: typeof event === "string" ? event : JSON.stringify(event) } as MessageEvent);
  }
}

function setUp() {
  const wires: { wire: FakeWire; after: string | null }[] = [];
  const delays: number[] = [];
  const due: (() => void)[] = [];
  const events: LiveEvent[] = [];
  const states: Connection[] = [];
  let gaps = 0;
  let resumes = 0;
  const socket = new EventSocket(
    {
      open: (after) => {
        const wire = new FakeWire();
        wires.push({ wire, after });
        return wire;
      },
      schedule: (run, ms) => {
        delays.push(ms);
        due.push(run);
        return () => due.splice(due.indexOf(run), 1);
      },
      random: () => 1,
    },
    { onEvent: (event) => events.push(event), onState: (state) => states.push(state), onGap: () => (gaps += 1), onResume: () => (resumes += 1) },
  );
  const last = () => {
    const entry = wires.at(-1);
    if (!entry) throw new Error("no connection");
    return entry;
  };
  return { socket, wires, delays, due, events, states, last, gaps: () => gaps, resumes: () => resumes };
}

describe("EventSocket", () => {
  it("resumes by the id of the last event after a break", () => {
    const t = setUp();
    t.socket.start();
    expect(t.last().after).toBeNull();
    t.last().wire.opens();
    t.last().wire.says({ id: 41, kind: "device.changed", data: {} });
    t.last().wire.says({ kind: "device.sample", data: {} });
    t.last().wire.breaks();
    t.due.shift()?.();
    expect(t.last().after).toBe("41");
    t.last().wire.opens();
    expect(t.gaps()).toBe(0);
    expect(t.resumes()).toBe(1);
    expect(t.states).toEqual(["connecting", "live", "waiting", "connecting", "live"]);
  });

  it("reports a gap when it comes back with nothing to resume from", () => {
    const t = setUp();
    t.socket.start();
    t.last().wire.opens();
    t.last().wire.breaks();
    t.due.shift()?.();
    t.last().wire.opens();
    expect(t.gaps()).toBe(1);
    expect(t.resumes()).toBe(0);
  });

  it("waits longer after each failed try, up to a bound, and starts over after a success", () => {
    const t = setUp();
    t.socket.start();
    for (let round = 0; round < 9; round += 1) {
      t.last().wire.breaks();
      t.due.shift()?.();
    }
    expect(t.delays.slice(0, 4)).toEqual([500, 1000, 2000, 4000]);
    expect(Math.max(...t.delays)).toBe(30_000);
    t.last().wire.opens();
    t.last().wire.breaks();
    expect(t.delays.at(-1)).toBe(500);
  });

  it("tells the server again what is watched after each connection", () => {
    const t = setUp();
    t.socket.start();
    t.socket.setWatch({ devices: ["d1"], tasks: [] });
    expect(t.last().wire.sent).toEqual([]);
    t.last().wire.opens();
    expect(JSON.parse(t.last().wire.sent[0] ?? "")).toEqual({ watch: { devices: ["d1"], tasks: [] } });
    t.last().wire.breaks();
    t.due.shift()?.();
    t.last().wire.opens();
    expect(t.last().wire.sent).toHaveLength(1);
  });

  it("drops messages that are no events", () => {
    const t = setUp();
    t.socket.start();
    t.last().wire.opens();
    t.last().wire.says("{");
    t.last().wire.says({ data: 1 });
    expect(t.events).toEqual([]);
  });

  it("does not connect again after it was stopped", () => {
    const t = setUp();
    t.socket.start();
    const { wire } = t.last();
    t.socket.stop();
    expect(wire.closed).toBe(true);
    wire.breaks();
    t.socket.hurry();
    expect(t.wires).toHaveLength(1);
  });

  it("spreads tries of many tabs", () => {
    expect(backoff(3, 0)).toBe(2000);
    expect(backoff(3, 1)).toBe(4000);
  });
});
