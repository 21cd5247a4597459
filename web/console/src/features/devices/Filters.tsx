/** Search and filter chips, made of the values that exist, with their counts. */
import { Bdi, Button, Input, Popover, toneText, type Tone } from "@unifyit/ui";
import clsx from "clsx";
import { Command } from "cmdk";
import { Check, ChevronDown, Search, X } from "lucide-react";
import { useEffect, useRef, useState, type Ref } from "react";
import { useFacets } from "@/api/devices";
import { useSites } from "@/api/tenants";
import type { DeviceState } from "@/api/types";
import { intent } from "@/lib/intent";
import { useKeys } from "@/lib/keys";
import { count } from "@/lib/format";
import { several, toggled } from "@/lib/several";
import { t } from "@/strings";
import type { DeviceList } from "./useDeviceList";

/** What is typed goes to the server at once, then at most this often. */
const EVERY_MS = 50;

const chip = "inline-flex h-7 max-w-56 items-center gap-1.5 rounded-full border px-2.5 text-xs transition-colors duration-100";
const chipOff = "border-line-strong bg-surface text-muted hover:bg-hover hover:text-text";
const chipOn = "border-accent bg-accent-soft text-accent font-medium";

const stateTones: readonly (readonly [DeviceState, Tone])[] = [["online", "ok"], ["offline", "off"], ["unreachable", "warn"], ["revoked", "bad"]];

/** Made once: the list's frame is drawn again with every key that is typed. */
const searchIcon = <Search className="pointer-events-none absolute top-2 left-2.5 size-4 text-faint" aria-hidden />;
const more = <ChevronDown className="size-3.5 shrink-0" aria-hidden />;

function SearchBox({ value, onChange, ref }: { value: string; onChange: (text: string) => void; ref: Ref<HTMLInputElement> }) {
  const [text, setText] = useState(value);
  const sent = useRef(value);
  const sentAt = useRef(-EVERY_MS);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => {
    if (value !== sent.current) setText(value);
    sent.current = value;
  }, [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const send = (next: string) => {
    sent.current = next;
    sentAt.current = performance.now();
    onChange(next);
  };
  const type = (next: string) => {
    setText(next);
    clearTimeout(timer.current);
    const wait = sentAt.current + EVERY_MS - performance.now();
    if (wait <= 0) send(next);
    else timer.current = setTimeout(() => send(next), wait);
  };
  return (
    <div className="relative w-full sm:w-64">
      {searchIcon}
      <Input
        ref={ref}
        type="search"
        aria-label={t.devices.search}
        placeholder={t.devices.searchHint}
        className="pl-8"
        value={text}
        onChange={(event) => type(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape" || event.key === "Enter") event.currentTarget.blur();
        }}
      />
    </div>
  );
}

function FacetMenu({ label, values, value, nameOf, onChange }: { label: string; values: Record<string, number>; value: string | undefined; nameOf: (key: string) => string; onChange: (value: string | undefined) => void }) {
  const [open, setOpen] = useState(false);
  const chosen = several(value);
  // Chosen values stay in the list, also when nothing matches them any more.
  const entries = [...chosen.filter((each) => !(each in values)).map((each) => [each, 0] as const), ...Object.entries(values).sort((a, b) => b[1] - a[1])];
  if (entries.length < 2 && chosen.length === 0) return null;
  const [first = ""] = chosen;
  const named = chosen.length > 1 ? t.devices.chosen(nameOf(first), chosen.length - 1) : nameOf(first);
  return (
    <span className="inline-flex items-center">
      <Popover
        open={open}
        onOpenChange={setOpen}
        className="w-64 !p-0"
        trigger={
          <button type="button" className={clsx(chip, chosen.length > 0 ? chipOn : chipOff)}>
            <Bdi className="clip">{chosen.length > 0 ? `${label}: ${named}` : label}</Bdi>
            {more}
          </button>
        }
      >
        <Command label={label} loop>
          {entries.length > 8 && <Command.Input autoFocus placeholder={t.search} className="h-9 w-full border-b border-line bg-transparent px-3 text-13 outline-none placeholder:text-faint" />}
          <Command.List className="max-h-72 overflow-y-auto p-1">
            <Command.Empty className="py-4 text-center text-13 text-faint">{t.palette.nothing}</Command.Empty>
            {chosen.length > 0 && <Command.Item value="clear" onSelect={() => (onChange(undefined), setOpen(false))} className="flex h-8 items-center gap-2 rounded px-2 text-13 text-muted data-[selected=true]:bg-hover"><X className="size-4" aria-hidden />{t.clear}</Command.Item>}
            {entries.map(([key, number]) => (
              <Command.Item key={key} value={`${nameOf(key)} ${key}`} onSelect={() => onChange(toggled(value, key))} className="flex h-8 items-center gap-2 rounded px-2 text-13 data-[selected=true]:bg-hover">
                <span className={clsx("flex size-4 shrink-0 items-center justify-center rounded border", chosen.includes(key) ? "border-accent-solid bg-accent-solid text-white" : "border-line-strong")} aria-hidden>{chosen.includes(key) && <Check className="size-3" />}</span>
                <Bdi className="clip flex-1">{nameOf(key)}</Bdi>
                {chosen.includes(key) && <span className="sr-only">{t.devices.isChosen}</span>}
                <span className="text-xs text-faint tnum">{count(number)}</span>
              </Command.Item>
            ))}
          </Command.List>
        </Command>
      </Popover>
    </span>
  );
}

export function Filters({ list }: { list: DeviceList }) {
  const { search, change, foresee } = list;
  const input = useRef<HTMLInputElement>(null);
  // The counts come after the rows, so that they are not in each other's way.
  const facets = useFacets(list.filters, !list.query.isPlaceholderData);
  const sites = useSites();
  useKeys({
    "/": (event) => {
      event.preventDefault();
      input.current?.focus();
      input.current?.select();
    },
  });
  const setText = useRef((text: string) => change({ q: text || undefined, peek: undefined }, true)).current;
  const siteName = (id: string) => sites.data?.find((site) => site.id === id)?.name ?? id;
  const filtered = Boolean(search.q ?? search.state ?? search.os ?? search.site ?? search.tag);
  const states = facets.data?.state ?? {};
  const chosenStates = several(search.state);
  return (
    <div className="flex w-full flex-wrap items-center gap-2 sm:w-auto" role="search">
      <SearchBox ref={input} value={search.q ?? ""} onChange={setText} />
      {stateTones.filter(([state]) => (states[state] ?? 0) > 0 || chosenStates.includes(state)).map(([state, tone]) => (
        <button key={state} type="button" aria-pressed={chosenStates.includes(state)} title={t.devices.stateHint[state]} className={clsx(chip, chosenStates.includes(state) ? chipOn : chipOff)} onClick={() => change({ state: toggled(search.state, state) })} {...intent(() => foresee({ state: toggled(search.state, state) }))}>
          <span className={clsx("size-1.5 rounded-full bg-current", toneText[tone])} aria-hidden />
          {t.devices.states[state]}
          <span className="tnum">{count(states[state] ?? 0)}</span>
        </button>
      ))}
      <FacetMenu label={t.devices.filterOs} values={facets.data?.os ?? {}} value={search.os} nameOf={(key) => key} onChange={(os) => change({ os })} />
      <FacetMenu label={t.devices.filterSite} values={facets.data?.site ?? {}} value={search.site} nameOf={siteName} onChange={(site) => change({ site })} />
      {search.tag && (
        <button type="button" className={clsx(chip, chipOn)} onClick={() => change({ tag: undefined })}>
          <Bdi className="clip">{`${t.devices.filterTag}: ${search.tag}`}</Bdi>
          <X className="size-3.5 shrink-0" aria-hidden />
        </button>
      )}
      {filtered && <Button variant="ghost" size="sm" onClick={() => change({ q: undefined, state: undefined, os: undefined, site: undefined, tag: undefined })}>{t.devices.clearFilters}</Button>}
    </div>
  );
}
