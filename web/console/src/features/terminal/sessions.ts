/**
 * Open terminals of this tab. They live outside of React, so that leaving the
 * page does not end a shell; the page attaches a session's element and detaches
 * it again. What the device sends is only ever drawn: links, titles and
 * clipboard writes by escape sequence are not obeyed.
 */
import { FitAddon } from "@xterm/addon-fit";
import { SearchAddon } from "@xterm/addon-search";
import { Terminal, type ITheme } from "@xterm/xterm";
import { openTerminal, type TerminalLink } from "@/api/terminal";
import { recall, remember } from "@/lib/storage";
import { keepForReload, keptForReload } from "./reload";
import { t } from "@/strings";

export type SessionState = "connecting" | "connected" | "closed";

/** What a tab shows. */
export interface SessionInfo {
  readonly id: string;
  readonly deviceId: string;
  readonly name: string;
  readonly state: SessionState;
  readonly reason: string | null;
}

const SMALLEST = 9;
const LARGEST = 24;
const SCROLLBACK = 10_000;

const theme: ITheme = {
  background: "#14161a", foreground: "#d7dae0", cursor: "#d7dae0", cursorAccent: "#14161a", selectionBackground: "#3d4f74",
  black: "#3a3f4b", red: "#e06c75", green: "#98c379", yellow: "#e5c07b", blue: "#61afef", magenta: "#c678dd", cyan: "#56b6c2", white: "#d7dae0",
  brightBlack: "#7f848e", brightRed: "#ff8f97", brightGreen: "#b5e08f", brightYellow: "#ffd98f", brightBlue: "#8cc8ff", brightMagenta: "#e0a3f0", brightCyan: "#7fd8e3", brightWhite: "#ffffff",
};

class Session {
  readonly id = crypto.randomUUID();
  readonly term: Terminal;
  readonly search = new SearchAddon();
  private readonly fit = new FitAddon();
  private readonly element = document.createElement("div");
  private link: TerminalLink | null = null;
  private opened = false;
  state: SessionState = "connecting";
  reason: string | null = null;

  /** `ended` says why a terminal of before the page was loaded again is not connected by itself. */
  constructor(readonly deviceId: string, public name: string, ended: string | null = null) {
    if (ended !== null) [this.state, this.reason] = ["closed", ended];
    this.element.className = "h-full w-full";
    this.term = new Terminal({ fontFamily: "'JetBrains Mono Variable', ui-monospace, monospace", fontSize: fontSize(), theme, scrollback: SCROLLBACK, cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches, allowProposedApi: true, linkHandler: null, screenReaderMode: false });
    this.term.loadAddon(this.fit);
    this.term.loadAddon(this.search);
    this.term.attachCustomKeyEventHandler((event) => this.onKey(event));
    const encoder = new TextEncoder();
    this.term.onData((text) => this.link?.send(encoder.encode(text)));
    this.term.onBinary((text) => this.link?.send(Uint8Array.from(text, (character) => character.charCodeAt(0) & 255)));
    this.term.onResize(({ cols, rows }) => this.link?.resize(cols, rows));
  }

  /** Ctrl+Shift+C copies; Ctrl+Shift+V is the browser's own paste; Ctrl+K stays the palette's. */
  private onKey(event: KeyboardEvent): boolean {
    if (event.type === "keydown" && event.ctrlKey && event.shiftKey && event.code === "KeyC") {
      event.preventDefault();
      void navigator.clipboard?.writeText(this.term.getSelection());
      return false;
    }
    return !(event.ctrlKey && event.shiftKey && event.code === "KeyV");
  }

  attach(host: HTMLElement): () => void {
    host.append(this.element);
    if (!this.opened) {
      this.opened = true;
      this.term.open(this.element);
      this.fit.fit();
      if (this.state === "closed") this.term.write(`\x1b[0;33m${t.terminal.closedWhy(this.reason ?? "")}\x1b[0m\r\n`);
      else this.connect();
    }
    const observer = new ResizeObserver(() => this.refit());
    observer.observe(host);
    this.refit();
    this.term.focus();
    return () => {
      observer.disconnect();
      this.element.remove();
    };
  }

  refit(): void {
    if (this.element.isConnected && this.element.clientWidth > 0) this.fit.fit();
  }

  connect(): void {
    this.link?.close();
    this.set("connecting", null);
    this.link = openTerminal(this.deviceId, this.term.cols, this.term.rows, {
      onOpen: () => this.set("connected", null),
      onData: (bytes) => {
        if (this.state === "connecting") this.set("connected", null);
        this.term.write(bytes);
      },
      onClosed: (reason) => {
        this.link = null;
        const words = reason ?? t.terminal.lost;
        this.term.write(`\r\n\x1b[0;33m${t.terminal.closedWhy(plain(words))}\x1b[0m\r\n`);
        this.set("closed", words);
      },
    });
  }

  paste(text: string): void {
    this.term.paste(text);
    this.term.focus();
  }

  end(): void {
    this.link?.close();
    this.term.dispose();
    this.element.remove();
  }

  private set(state: SessionState, reason: string | null): void {
    this.state = state;
    this.reason = reason;
    changed();
  }
}

/** A reason without control characters, so that it cannot steer the terminal. */
function plain(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what is removed here
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, " ").slice(0, 300);
}

const sessions: Session[] = [];
const listeners = new Set<() => void>();
let snapshot: readonly SessionInfo[] = [];

function changed(): void {
  snapshot = sessions.map(({ id, deviceId, name, state, reason }) => ({ id, deviceId, name, state, reason }));
  keepForReload(snapshot);
  for (const listener of listeners) listener();
}

function fontSize(): number {
  const size = recall("terminal.font", 13);
  return typeof size === "number" ? Math.min(LARGEST, Math.max(SMALLEST, size)) : 13;
}

export function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export const list = (): readonly SessionInfo[] => snapshot;

export function find(id: string): Session | undefined {
  return sessions.find((session) => session.id === id);
}

/** Opens one more terminal on a device. */
export function start(deviceId: string, name: string): string {
  const session = new Session(deviceId, name);
  sessions.push(session);
  changed();
  return session.id;
}

/** Brings back the tabs of before the page was loaded again. Their shells ended with the page, and are opened anew on request only. */
export function restore(): void {
  for (const { deviceId, name } of keptForReload()) sessions.push(new Session(deviceId, name, t.terminal.reloaded));
  if (sessions.length > 0) changed();
}

/** Ends a terminal and its tab. */
export function stop(id: string): void {
  const index = sessions.findIndex((session) => session.id === id);
  sessions.splice(index, 1)[0]?.end();
  changed();
}

/** Changes the text size of all terminals. */
export function zoom(by: number): void {
  const size = Math.min(LARGEST, Math.max(SMALLEST, fontSize() + by));
  remember("terminal.font", size);
  for (const session of sessions) {
    session.term.options.fontSize = size;
    session.refit();
  }
}

restore();

window.addEventListener("beforeunload", (event) => {
  if (sessions.some((session) => session.state === "connected")) event.preventDefault();
});
