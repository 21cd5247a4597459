/** Overview: sites and devices by state, what needs attention, what happened, what can be done. */
import { Bdi, Button, buttonClass, EmptyState, PageHeader, Panel, SegmentedBar, Skeleton, toneText, type Segment, type Tone } from "@unifyit/ui";
import { Link } from "@tanstack/react-router";
import clsx from "clsx";
import { CircleAlert, CircleCheckBig, Info, Play, Plus, Rocket, SearchX, TriangleAlert, type LucideIcon } from "lucide-react";
import { useDeferredValue, type ReactElement } from "react";
import { useOverview } from "@/api/admin";
import { ApiError } from "@/api/http";
import type { AttentionItem, Overview } from "@/api/types";
import { Age } from "@/components/age";
import { Failure } from "@/components/failure";
import { useScope, useSetScope } from "@/components/scope";
import { RefLink, Timeline } from "@/components/timeline";
import { May } from "@/components/may";
import { count } from "@/lib/format";
import { useTitle } from "@/lib/title";
import { t } from "@/strings";

const words = t.overview;

export function OverviewPage(): ReactElement {
  useTitle(words.title);
  const scope = useScope();
  const { data: latest, error, refetch } = useOverview(scope);
  // Drawn in slices, between which the browser answers to a person.
  const data = useDeferredValue(latest, undefined);
  // A remembered scope may have been deleted, or taken from the person, since.
  const gone = error instanceof ApiError && error.status === 404 && Object.keys(scope).length > 0;
  const fresh = data !== undefined && data.sites.total === 0;
  return (
    <div className="pb-8">
      <PageHeader
        title={words.title}
        actions={
          <>
            <May what="run_tasks"><Link to="/tasks/new" className={buttonClass()}><Play className="size-4" aria-hidden />{words.runScript}</Link></May>
            <May what="manage_sites"><Link to="/sites/setup" className={buttonClass()}><Plus className="size-4" aria-hidden />{words.addSite}</Link></May>
          </>
        }
      />
      {gone ? <ScopeGone /> : error && !data ? <Failure error={error} onRetry={() => void refetch()} /> : fresh ? <Welcome /> : <Body data={data} />}
    </div>
  );
}

function ScopeGone() {
  const setScope = useSetScope();
  return (
    <div className="mx-4 rounded-lg border border-line bg-surface md:mx-6">
      <EmptyState icon={SearchX} title={words.scopeGone} action={<Button variant="primary" onClick={() => setScope(undefined)}>{words.everything}</Button>}>{words.scopeGoneDetail}</EmptyState>
    </div>
  );
}

function Welcome() {
  return (
    <div className="mx-4 rounded-lg border border-line bg-surface md:mx-6">
      <EmptyState icon={Rocket} title={words.welcome} action={<May what="manage_sites"><Link to="/sites/setup" className={buttonClass("primary", "lg")}>{words.start}</Link></May>}>{words.welcomeDetail}</EmptyState>
    </div>
  );
}

function Body({ data }: { data: Overview | undefined }) {
  return (
    <div className="grid items-start gap-4 px-4 md:px-6 lg:grid-cols-2">
      <DevicesPanel data={data} />
      <SitesPanel data={data} />
      <Panel flush title={words.attention}><Attention items={data?.attention} /></Panel>
      <Panel flush title={words.recent}><Timeline named items={data?.recent.slice(0, 15)} empty={words.nothingRecent} /></Panel>
    </div>
  );
}

function Count({ tone, label, value }: { tone: Tone; label: string; value: number }) {
  return (
    <span className="flex items-baseline gap-1.5">
      <span className="text-lg font-semibold tnum">{count(value)}</span>
      <span className={clsx("text-xs", value > 0 ? toneText[tone] : "text-faint")}>{label}</span>
    </span>
  );
}

function DevicesPanel({ data }: { data: Overview | undefined }) {
  const states = ["online", "offline", "unreachable"] as const;
  const tones: Record<(typeof states)[number], Tone> = { online: "ok", offline: "off", unreachable: "warn" };
  const segments: Segment[] = states.map((state) => ({ key: state, label: t.devices.states[state], count: data?.devices[state] ?? 0, tone: tones[state] }));
  return (
    <Panel title={words.devices} actions={<Link to="/devices" className="text-xs text-accent hover:underline">{words.allDevices}</Link>}>
      {!data ? <Skeleton className="h-14" /> : (
        <>
          <div className="mb-3 flex flex-wrap gap-x-6 gap-y-1">
            {states.map((state) => <Link key={state} to="/devices" search={{ state }} className="rounded hover:underline"><Count tone={tones[state]} label={t.devices.states[state]} value={data.devices[state]} /></Link>)}
          </div>
          <SegmentedBar label={words.devices} segments={segments} />
        </>
      )}
    </Panel>
  );
}

function SitesPanel({ data }: { data: Overview | undefined }) {
  const states = ["healthy", "degraded", "unreachable", "no_relay"] as const;
  const tones: Record<(typeof states)[number], Tone> = { healthy: "ok", degraded: "warn", unreachable: "bad", no_relay: "off" };
  const segments: Segment[] = states.map((state) => ({ key: state, label: t.sites.states[state], count: data?.sites[state] ?? 0, tone: tones[state] }));
  return (
    <Panel title={words.sites} actions={data && data.tasks_running > 0 && <Link to="/tasks" className="text-xs text-info hover:underline">{words.running}: {count(data.tasks_running)}</Link>}>
      {!data ? <Skeleton className="h-14" /> : (
        <>
          <Link to="/sites" className="mb-3 flex flex-wrap gap-x-6 gap-y-1 rounded">
            {states.filter((state) => state !== "no_relay" || data.sites.no_relay > 0).map((state) => <Count key={state} tone={tones[state]} label={t.sites.states[state]} value={data.sites[state]} />)}
          </Link>
          <SegmentedBar label={words.sites} segments={segments} />
        </>
      )}
    </Panel>
  );
}

function lookOf(severity: string): { icon: LucideIcon; tone: Tone } {
  if (/crit|err|bad|high/.test(severity)) return { icon: CircleAlert, tone: "bad" };
  return /warn|med/.test(severity) ? { icon: TriangleAlert, tone: "warn" } : { icon: Info, tone: "info" };
}

function Attention({ items }: { items: readonly AttentionItem[] | undefined }) {
  if (!items) return <div className="flex flex-col gap-3 p-4"><Skeleton className="h-8" /><Skeleton className="h-8" /></div>;
  if (items.length === 0) return <EmptyState icon={CircleCheckBig} title={words.calm}>{words.calmDetail}</EmptyState>;
  return (
    <ul className="py-1">
      {items.map((item, index) => {
        const { icon: Icon, tone } = lookOf(item.severity);
        return (
          <li key={`${item.kind}-${item.ref?.id ?? index}`} className="flex items-start gap-3 px-4 py-2">
            <Icon className={clsx("mt-0.5 size-4 shrink-0", toneText[tone])} aria-label={item.severity} />
            <div className="min-w-0 flex-1">
              <RefLink reference={item.ref} className="clip block text-13 font-medium"><Bdi>{item.title}</Bdi></RefLink>
              {item.detail && <p className="text-xs text-muted"><Bdi>{item.detail.slice(0, 400)}</Bdi></p>}
            </div>
            {item.since && <Age at={item.since} className="text-xs text-faint" />}
          </li>
        );
      })}
    </ul>
  );
}
