/** A terminal's socket: bytes both ways, and why it ended. */
import { socketAddress } from "./http";

/** What the terminal's owner is told. */
export interface TerminalListener {
  onOpen(): void;
  onData(bytes: Uint8Array): void;
  /** `reason` is a sentence; null when the connection broke without one. */
  onClosed(reason: string | null): void;
}

/** An open terminal. */
export interface TerminalLink {
  send(bytes: Uint8Array<ArrayBuffer>): void;
  resize(cols: number, rows: number): void;
  close(): void;
}

/** Opens a terminal on a device. Calls `onClosed` exactly once. */
export function openTerminal(device: string, cols: number, rows: number, listener: TerminalListener): TerminalLink {
  const socket = new WebSocket(socketAddress(`/devices/${device}/terminal`, { cols, rows }));
  socket.binaryType = "arraybuffer";
  let ended = false;
  const end = (reason: string | null) => {
    if (ended) return;
    ended = true;
    listener.onClosed(reason);
  };
  socket.onmessage = (message: MessageEvent<unknown>) => {
    if (message.data instanceof ArrayBuffer) {
      listener.onData(new Uint8Array(message.data));
      return;
    }
    if (typeof message.data !== "string") return;
    const control = parse(message.data);
    if (control?.type === "open") listener.onOpen();
    if (control?.type === "closed") end(control.reason ?? null);
  };
  socket.onclose = (event) => end(event.reason === "" ? null : event.reason);
  const send = (data: string | Uint8Array<ArrayBuffer>) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(data);
  };
  return {
    send: (bytes) => pieces(bytes).forEach(send),
    resize: (newCols, newRows) => send(JSON.stringify({ type: "resize", cols: newCols, rows: newRows })),
    close: () => {
      ended = true;
      socket.close();
    },
  };
}

/** A large paste travels in pieces: the cloud takes messages up to 1 MiB. */
const PIECE = 64 * 1024;

export function pieces(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>[] {
  const all = [];
  for (let at = 0; at < bytes.length; at += PIECE) all.push(bytes.subarray(at, at + PIECE));
  return all;
}

function parse(text: string): { type?: string; reason?: string } | null {
  try {
    return JSON.parse(text) as { type?: string; reason?: string };
  } catch {
    return null;
  }
}
