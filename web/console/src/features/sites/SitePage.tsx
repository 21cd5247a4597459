/** One site: its relay's health, install lines and settings. */
import { Bdi, Band, buttonClass, PageHeader, Skeleton, TabBar, tabActiveClass, tabClass } from "@unifyit/ui";
import { Link, useParams, useSearch } from "@tanstack/react-router";
import clsx from "clsx";
import { Monitor, Plus } from "lucide-react";
import type { ReactElement } from "react";
import { useUser } from "@/api/session";
import { useSite } from "@/api/tenants";
import type { Capability, Site } from "@/api/types";
import { Since } from "@/components/age";
import { Failure } from "@/components/failure";
import { SiteStateBadge } from "@/components/states";
import { May } from "@/components/may";
import { useNow } from "@/lib/clock";
import { clockWords, shortTime, toMs } from "@/lib/time";
import { useTitle } from "@/lib/title";
import { t } from "@/strings";
import { InstallLines } from "./InstallLines";
import { PackageCacheTab } from "./package-cache/PackageCacheTab";
import { RelayHealth } from "./RelayHealth";
import { SiteSettings } from "./SiteSettings";

type Tab = keyof typeof t.sites.tabs;

/** What a tab demands beyond looking. */
const needs: Record<Tab, Capability | null> = { overview: null, cache: null, install: "install", settings: "manage_sites" };

export function SitePage(): ReactElement {
  const { siteId } = useParams({ from: "/shell/sites/$siteId" });
  const search = useSearch({ from: "/shell/sites/$siteId" });
  const { data: site, error, refetch } = useSite(siteId);
  useTitle(site?.name);
  const { may } = useUser();
  const tabs = (Object.keys(t.sites.tabs) as Tab[]).filter((each) => needs[each] === null || may.includes(needs[each]));
  const tab: Tab = tabs.find((each) => each === search.tab) ?? "overview";
  if (error && !site) return <Failure page error={error} onRetry={() => void refetch()} />;
  return (
    <div className="pb-8">
      {site ? <Header site={site} /> : <div className="flex flex-col gap-2 px-6 pt-4 pb-3"><Skeleton className="h-7 w-56" /><Skeleton className="h-5 w-80" /></div>}
      <TabBar label={site?.name ?? t.sites.title} current={tab}>
        {tabs.map((each) => (
          <Link key={each} to="/sites/$siteId" params={{ siteId }} search={each === "overview" ? {} : { tab: each }} activeOptions={{ exact: true }} aria-current={each === tab ? "page" : undefined} className={clsx(tabClass, each === tab && tabActiveClass)}>{t.sites.tabs[each]}</Link>
        ))}
      </TabBar>
      <div className="flex flex-col gap-4 px-4 pt-4 md:px-6">
        {!site && <Skeleton className="h-64" />}
        {site && <StateBandOf site={site} />}
        {site && tab === "overview" && <RelayHealth site={site} />}
        {site && tab === "cache" && <PackageCacheTab site={site} />}
        {site && tab === "install" && <InstallLines site={site} />}
        {site && tab === "settings" && <SiteSettings key={site.id} site={site} />}
      </div>
    </div>
  );
}

function Header({ site }: { site: Site }) {
  return (
    <PageHeader
      title={<Bdi>{site.name}</Bdi>}
      actions={
        <>
          <Link to="/devices" search={{ site: site.id }} className={buttonClass()}><Monitor className="size-4" aria-hidden />{t.sites.devices.all}</Link>
          <May what="install"><Link to="/sites/$siteId" params={{ siteId: site.id }} search={{ tab: "install" }} className={buttonClass("primary")}><Plus className="size-4" aria-hidden />{t.devices.emptyAction}</Link></May>
        </>
      }
    >
      <span className="flex flex-wrap items-center gap-x-4 gap-y-1">
        <SiteStateBadge state={site.state} />
        {site.state_since && <Since at={site.state_since} />}
        <Bdi className="clip max-w-60">{site.organization_name}</Bdi>
        <span className="tnum">{t.sites.online(site.devices.online, site.devices.total)}</span>
      </span>
    </PageHeader>
  );
}

function StateBandOf({ site }: { site: Site }) {
  const now = useNow(60_000);
  const since = toMs(site.state_since) ?? toMs(site.relay?.last_contact);
  if (site.state === "unreachable") return <Band tone="bad">{t.sites.unreachableBand(since === null ? t.unknown : shortTime(since, now))}</Band>;
  if (site.state === "degraded") return <Band tone="warn">{t.sites.degradedBand}</Band>;
  const wrong = clockWords(site.relay?.clock_ahead_ms);
  if (wrong !== null) return <Band tone="warn">{t.sites.clockBand(wrong)}</Band>;
  if (site.state !== "no_relay") return null;
  return (
    <Band tone="info" action={<May what="install"><Link to="/sites/setup" search={{ organization: site.organization_id, site: site.id }} className={buttonClass("secondary", "sm")}>{t.sites.goSetup}</Link></May>}>
      {t.sites.noRelayBand}
    </Band>
  );
}
