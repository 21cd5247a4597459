/** The one screen: is the internet up, is the site healthy, is anyone needed? Then computers, work, relay and cache. */
import { Band, Bdi, Button, IconButton, Panel, setTheme, Skeleton, toneSoft, toneText, useTheme, type Tone } from "@unifyit/ui";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import clsx from "clsx";
import { CircleAlert, CircleCheckBig, CloudOff, Globe, LogOut, MonitorCheck, Moon, Sun, UserRound, type LucideIcon } from "lucide-react";
import { useEffect, useState, type ReactNode } from "react";
import { api, follow, Refusal, siteNow, type Need, type Overview } from "./api";
import { Devices } from "./Devices";
import mark from "./mark.svg";
import { RelayPanel } from "./RelayPanel";
import { bytes, count, fullTime, howLong, t, when } from "./strings";
import { WorkPanel } from "./WorkPanel";

/** The lists are read again this often, besides on each change of the overview. */
const REFRESH_MS = 30_000;
/** Use of the page is told this often at most. */
const ACTIVITY_MS = 60_000;
const MOST_NEEDS = 12;
/** Longest name within a sentence. */
const MOST_NAME = 64;

/** The present, ticking slowly. */
export function useNow(): number {
  const [now, setNow] = useState(siteNow);
  useEffect(() => {
    const timer = setInterval(() => setNow(siteNow()), 15_000);
    return () => clearInterval(timer);
  }, []);
  return now;
}

function useOverview(onSignedOut: () => void) {
  const client = useQueryClient();
  const [connected, setConnected] = useState(true);
  const query = useQuery({ queryKey: ["overview"], queryFn: api.overview, refetchInterval: connected ? false : REFRESH_MS });
  useEffect(
    () =>
      follow(
        (overview) => {
          client.setQueryData(["overview"], overview);
          void client.invalidateQueries({ queryKey: ["devices"] });
          void client.invalidateQueries({ queryKey: ["work"] });
        },
        (now) => {
          setConnected(now);
          if (!now) void client.invalidateQueries({ queryKey: ["overview"] });
        },
      ),
    [client],
  );
  const ended = query.error instanceof Refusal && query.error.status === 401;
  useEffect(() => {
    if (ended) onSignedOut();
  }, [ended, onSignedOut]);
  return { ...query, connected };
}

/** Tells the relay that somebody uses this page: a session ends an hour after nobody did. */
function useActivity() {
  useEffect(() => {
    let told = siteNow();
    const used = () => {
      if (siteNow() - told < ACTIVITY_MS) return;
      told = siteNow();
      api.session().catch(() => undefined);
    };
    const kinds = ["pointerdown", "keydown"] as const;
    kinds.forEach((kind) => addEventListener(kind, used, { passive: true }));
    return () => kinds.forEach((kind) => removeEventListener(kind, used));
  }, []);
}

export function Screen({ onSignedOut }: { onSignedOut: () => void }) {
  useActivity();
  const { data, error, refetch, connected, dataUpdatedAt } = useOverview(onSignedOut);
  const now = useNow();
  useEffect(() => {
    if (data?.site) document.title = `${data.site} · ${t.product}`;
  }, [data?.site]);
  const lost = !connected && error !== null;
  return (
    <div className="min-h-full bg-bg pb-10">
      <Header overview={data} onSignedOut={onSignedOut} />
      <main className="mx-auto flex max-w-5xl flex-col gap-4 px-4 md:px-6">
        {lost && (
          <Band tone="bad" action={<Button size="sm" onClick={() => void refetch()}>{t.retry}</Button>}>
            {data ? t.relayLostSince(when(dataUpdatedAt, now)) : t.relayLost}
          </Band>
        )}
        {data ? <Answer overview={data} now={now} /> : !lost && <Skeleton className="h-44 !rounded-lg" />}
        <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,3fr)_minmax(0,2fr)]">
          <Devices now={now} refreshMs={REFRESH_MS} />
          <div className="flex min-w-0 flex-col gap-4">
            {data && <Needs needs={data.needs} now={now} />}
            <WorkPanel now={now} refreshMs={REFRESH_MS} />
            {data && <RelayPanel overview={data} now={now} />}
          </div>
        </div>
      </main>
    </div>
  );
}

function Header({ overview, onSignedOut }: { overview: Overview | undefined; onSignedOut: () => void }) {
  const { resolved } = useTheme();
  const next = resolved === "dark" ? "light" : "dark";
  return (
    <header className="mx-auto flex max-w-5xl items-center gap-3 px-4 py-4 md:px-6">
      <img src={mark} alt="" className="size-7" />
      <div className="min-w-0 flex-1">
        <h1 className="clip text-base font-semibold tracking-tight"><Bdi>{overview?.site || t.signIn.title}</Bdi></h1>
        {overview?.organization && <p className="clip text-xs text-faint"><Bdi>{overview.organization}</Bdi></p>}
      </div>
      <IconButton label={`${t.theme}: ${next === "dark" ? t.dark : t.light}`} onClick={() => setTheme(next)}>{next === "dark" ? <Moon className="size-4" aria-hidden /> : <Sun className="size-4" aria-hidden />}</IconButton>
      <IconButton label={t.signOut} onClick={() => void api.signOut().finally(onSignedOut)}><LogOut className="size-4" aria-hidden /></IconButton>
    </header>
  );
}

function Fact({ icon: Icon, tone, children }: { icon: LucideIcon; tone: Tone; children: ReactNode }) {
  return (
    <li className="flex items-start gap-3">
      <span className={clsx("flex size-8 shrink-0 items-center justify-center rounded-full", toneSoft[tone], toneText[tone])}><Icon className="size-4.5" aria-hidden /></span>
      <p className="pt-1 text-base leading-6">{children}</p>
    </li>
  );
}

/** The three sentences. */
function Answer({ overview, now }: { overview: Overview; now: number }) {
  const { cloud, devices, needs, backlog } = overview;
  const since = <time dateTime={new Date(cloud.since_ms).toISOString()} title={fullTime(cloud.since_ms)}>{when(cloud.since_ms, now)}</time>;
  const [before, after] = (cloud.up ? t.answer.internetUp : t.answer.internetDown)("\u0000").split("\u0000");
  const troubled = devices.total - devices.healthy;
  return (
    <section aria-live="polite" className="rounded-lg border border-line bg-surface p-5">
      <ul className="flex flex-col gap-4">
        <Fact icon={cloud.up ? Globe : CloudOff} tone={cloud.up ? "ok" : "warn"}>
          {before}{since}{after}
          {!cloud.up && <> <strong className="font-semibold">{t.answer.kept}</strong>{backlog.records > 0 && <> {t.answer.waiting(backlog.records, bytes(backlog.bytes))}</>}</>}
        </Fact>
        <Fact icon={MonitorCheck} tone={troubled === 0 ? "ok" : "warn"}>{devices.total === 0 ? t.answer.noComputers : t.answer.healthy(devices.healthy, devices.total)}</Fact>
        <Fact icon={needs.length === 0 ? CircleCheckBig : UserRound} tone={needs.length === 0 ? "ok" : "warn"}>{needs.length === 0 ? t.answer.nobody : t.answer.somebody(needs.length)}</Fact>
      </ul>
    </section>
  );
}

function sentenceOf(need: Need): string {
  const name = need.name.length > MOST_NAME ? `${need.name.slice(0, MOST_NAME)}…` : need.name;
  if (need.kind === "disk_full") return t.need.disk_full(name, need.value ?? 0);
  if (need.kind === "offline") return t.need.offline(name);
  if (need.kind === "clock_wrong") return t.need.clock_wrong(name, need.value ?? 0);
  if (need.kind === "relay_clock") return t.need.relay_clock(need.value ?? 0);
  if (need.kind === "relay_read_only") return t.need.relay_read_only();
  return need.kind === "relay_disk" ? t.need.relay_disk() : t.need.other(name, need.kind);
}

function Needs({ needs, now }: { needs: readonly Need[]; now: number }) {
  return (
    <Panel flush title={t.needs}>
      {needs.length === 0 ? (
        <p className="px-4 py-6 text-center text-13 text-faint">{t.noNeeds}</p>
      ) : (
        <ul className="py-1">
          {needs.slice(0, MOST_NEEDS).map((need, index) => (
            <li key={`${need.kind}-${need.device ?? index}`} className="flex items-start gap-2.5 px-4 py-2">
              <CircleAlert className="mt-0.5 size-4 shrink-0 text-warn" aria-hidden />
              <span className="min-w-0 flex-1 text-13 break-words"><Bdi>{sentenceOf(need).slice(0, 300)}</Bdi></span>
              {need.since_ms !== null && <time className="shrink-0 text-xs text-faint" dateTime={new Date(need.since_ms).toISOString()} title={fullTime(need.since_ms)}>{t.need.since(howLong(now - need.since_ms))}</time>}
            </li>
          ))}
          {needs.length > MOST_NEEDS && <li className="px-4 py-2 text-xs text-faint">+{count(needs.length - MOST_NEEDS)}</li>}
        </ul>
      )}
    </Panel>
  );
}
