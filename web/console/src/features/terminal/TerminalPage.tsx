/** Terminals in tabs, with search, copy, paste, text size and reconnect. */
import "@xterm/xterm/css/xterm.css";
import { Bdi, Button, buttonClass, CircleDashed, EmptyState, IconButton, Input, Popover, tame, toast } from "@unifyit/ui";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import clsx from "clsx";
import { Command } from "cmdk";
import { AArrowDown, AArrowUp, ChevronDown, ChevronUp, CircleCheck, CircleX, ClipboardPaste, Copy, Plus, RotateCw, Search, SquareTerminal, X, type LucideIcon } from "lucide-react";
import { useDeferredValue, useEffect, useRef, useState, useSyncExternalStore, type ReactElement } from "react";
import { useDevice, useDeviceSearch } from "@/api/devices";
import { useScope } from "@/components/scope";
import { useTitle } from "@/lib/title";
import { t } from "@/strings";
import * as sessions from "./sessions";
import type { SessionInfo, SessionState } from "./sessions";

const icons: Record<SessionState, LucideIcon> = { connecting: CircleDashed, connected: CircleCheck, closed: CircleX };
const tones: Record<SessionState, string> = { connecting: "text-info", connected: "text-ok", closed: "text-off" };

export function TerminalPage(): ReactElement {
  useTitle(t.terminal.title);
  const open = useSyncExternalStore(sessions.subscribe, sessions.list);
  const [current, setCurrent] = useState<string | null>(open.at(-1)?.id ?? null);
  const shown = open.find((session) => session.id === current) ?? open.at(-1);
  return (
    <div className="flex h-full flex-col">
      <h1 className="sr-only">{t.terminal.title}</h1>
      <OpenFromAddress open={open} onOpened={setCurrent} />
      <div className="flex items-center gap-1 border-b border-line bg-surface px-2 py-1">
        <div role="group" aria-label={t.terminal.title} className="flex min-w-0 flex-1 gap-1 overflow-x-auto">
          {open.map((session) => <Tab key={session.id} session={session} active={session === shown} onChoose={() => setCurrent(session.id)} />)}
        </div>
        <NewTerminal onOpened={setCurrent} />
      </div>
      {shown ? (
        <Screen key={shown.id} session={shown} />
      ) : (
        <EmptyState icon={SquareTerminal} title={t.terminal.none} action={<Link to="/devices" search={{ state: "online" }} className={buttonClass("primary")}>{t.terminal.findDevice}</Link>}>{t.terminal.noneDetail}</EmptyState>
      )}
    </div>
  );
}

/** `?device=…` opens a terminal there once, or shows the one that is open. */
function OpenFromAddress({ open, onOpened }: { open: readonly SessionInfo[]; onOpened: (id: string) => void }) {
  const { device } = useSearch({ from: "/shell/terminal" });
  return device ? <OpenOn deviceId={device} open={open} onOpened={onOpened} /> : null;
}

function OpenOn({ deviceId, open, onOpened }: { deviceId: string; open: readonly SessionInfo[]; onOpened: (id: string) => void }) {
  const navigate = useNavigate();
  const { data } = useDevice(deviceId);
  const done = useRef(false);
  useEffect(() => {
    if (!data || done.current) return;
    done.current = true;
    const existing = open.find((session) => session.deviceId === deviceId && session.state !== "closed");
    onOpened(existing?.id ?? sessions.start(deviceId, data.name));
    void navigate({ to: "/terminal", search: {}, replace: true });
  }, [data, deviceId, navigate, onOpened, open]);
  return null;
}

function Tab({ session, active, onChoose }: { session: SessionInfo; active: boolean; onChoose: () => void }) {
  const Icon = icons[session.state];
  return (
    <span className={clsx("flex h-8 max-w-56 shrink-0 items-center rounded-md", active ? "bg-accent-soft" : "hover:bg-hover")}>
      <button type="button" aria-current={active || undefined} aria-label={tame(t.terminal.tab(session.name, t.terminal[session.state]))} className="flex min-w-0 items-center gap-2 pl-2.5 text-13" onClick={onChoose}>
        <Icon className={clsx("size-3.5 shrink-0", tones[session.state])} aria-hidden />
        <Bdi className="clip">{session.name}</Bdi>
      </button>
      <IconButton size="sm" label={t.terminal.closeTab(session.name)} onClick={() => sessions.stop(session.id)}><X className="size-3.5" aria-hidden /></IconButton>
    </span>
  );
}

function NewTerminal({ onOpened }: { onOpened: (id: string) => void }) {
  const [open, setOpen] = useState(false);
  const [query, setQuery] = useState("");
  const found = useDeviceSearch(useDeferredValue(query.trim()), { ...useScope(), state: "online" }, open);
  return (
    <Popover open={open} onOpenChange={setOpen} align="end" className="w-80 !p-0" trigger={<Button size="sm" variant="ghost" icon={<Plus className="size-4" aria-hidden />}>{t.terminal.open}</Button>}>
      <Command shouldFilter={false} label={t.terminal.open} loop>
        <Command.Input autoFocus value={query} onValueChange={setQuery} placeholder={t.devices.searchHint} className="h-10 w-full border-b border-line bg-transparent px-3 text-13 outline-none placeholder:text-faint" />
        <Command.List className="max-h-72 overflow-y-auto p-1">
          <Command.Empty className="py-6 text-center text-13 text-faint">{found.isPending ? t.loading : t.palette.nothing}</Command.Empty>
          {found.data?.items.map((device) => (
            <Command.Item
              key={device.id}
              value={device.id}
              onSelect={() => {
                onOpened(sessions.start(device.id, device.name));
                setOpen(false);
              }}
              className="flex h-9 items-center gap-2 rounded px-2 text-13 data-[selected=true]:bg-hover"
            >
              <Bdi className="clip flex-1">{device.name}</Bdi>
              <Bdi className="clip max-w-28 text-xs text-faint">{device.site_name}</Bdi>
            </Command.Item>
          ))}
        </Command.List>
        <p className="border-t border-line px-3 py-2 text-xs text-faint">{t.terminal.deviceNotOnline}</p>
      </Command>
    </Popover>
  );
}

function Screen({ session }: { session: SessionInfo }) {
  const host = useRef<HTMLDivElement>(null);
  const live = sessions.find(session.id);
  const [searching, setSearching] = useState(false);
  useEffect(() => {
    const element = host.current;
    return element && live ? live.attach(element) : undefined;
  }, [live]);
  if (!live) return null;
  const paste = () => {
    const read = navigator.clipboard?.readText();
    if (!read) {
      toast.error(t.terminal.pasteForbidden);
      return;
    }
    read.then((text) => live.paste(text)).catch(() => toast.error(t.terminal.pasteForbidden));
  };
  const copy = () => {
    const text = live.term.getSelection();
    if (text === "") toast.message(t.terminal.nothingSelected);
    else void navigator.clipboard?.writeText(text).then(() => toast.success(t.copied));
  };
  return (
    <div role="region" aria-label={tame(t.terminal.screen(session.name))} className="flex min-h-0 flex-1 flex-col bg-[#14161a]">
      <div className="flex flex-wrap items-center gap-1 border-b border-line bg-surface px-2 py-1">
        <span role="status" className={clsx("clip flex-1 px-1 text-13", session.state === "closed" ? "text-warn" : "text-muted")}>
          {session.state === "closed" && session.reason ? <Bdi>{t.terminal.closedWhy(session.reason.slice(0, 300))}</Bdi> : t.terminal[session.state]}
        </span>
        {session.state === "closed" && <Button size="sm" icon={<RotateCw className="size-4" aria-hidden />} onClick={() => live.connect()}>{t.terminal.reconnect}</Button>}
        {searching && <SearchBar onSearch={(text, back) => (back ? live.search.findPrevious(text) : live.search.findNext(text))} onClose={() => setSearching(false)} />}
        <IconButton size="sm" label={t.terminal.search} pressed={searching} onClick={() => setSearching(!searching)}><Search className="size-4" aria-hidden /></IconButton>
        <IconButton size="sm" label={t.terminal.copy} onClick={copy}><Copy className="size-4" aria-hidden /></IconButton>
        <IconButton size="sm" label={t.terminal.paste} onClick={paste}><ClipboardPaste className="size-4" aria-hidden /></IconButton>
        <IconButton size="sm" label={t.terminal.smaller} onClick={() => sessions.zoom(-1)}><AArrowDown className="size-4" aria-hidden /></IconButton>
        <IconButton size="sm" label={t.terminal.bigger} onClick={() => sessions.zoom(1)}><AArrowUp className="size-4" aria-hidden /></IconButton>
      </div>
      <div className="min-h-0 flex-1 p-2"><div ref={host} className="h-full w-full overflow-hidden" /></div>
    </div>
  );
}

function SearchBar({ onSearch, onClose }: { onSearch: (text: string, back: boolean) => void; onClose: () => void }) {
  const [text, setText] = useState("");
  return (
    <span className="flex items-center gap-1">
      <Input
        autoFocus
        type="search"
        aria-label={t.terminal.searchIn}
        placeholder={t.terminal.searchIn}
        className="!h-7 !w-44"
        value={text}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === "Enter" && text) onSearch(text, event.shiftKey);
          if (event.key === "Escape") onClose();
        }}
      />
      <IconButton size="sm" label={t.terminal.previous} onClick={() => text && onSearch(text, true)}><ChevronUp className="size-4" aria-hidden /></IconButton>
      <IconButton size="sm" label={t.terminal.next} onClick={() => text && onSearch(text, false)}><ChevronDown className="size-4" aria-hidden /></IconButton>
    </span>
  );
}
