/** All sites with their relays' health. */
import { Bdi, buttonClass, DeviceText, EmptyState, Input, PageHeader, Skeleton, Table, Td, Th, Tr } from "@unifyit/ui";
import { Link } from "@tanstack/react-router";
import { Plus, SearchX, Server } from "lucide-react";
import { useDeferredValue, useMemo, useState, type ReactElement } from "react";
import { useSites } from "@/api/tenants";
import type { Site, SiteState } from "@/api/types";
import { Age } from "@/components/age";
import { Failure } from "@/components/failure";
import { useScope } from "@/components/scope";
import { SiteStateBadge } from "@/components/states";
import { May } from "@/components/may";
import { bytes } from "@/lib/format";
import { useTitle } from "@/lib/title";
import { t } from "@/strings";

const worstFirst: Record<SiteState, number> = { unreachable: 0, degraded: 1, no_relay: 2, healthy: 3 };
/** Rows drawn at once; a search finds the others. */
const MOST = 500;

export function SitesPage(): ReactElement {
  useTitle(t.sites.title);
  const query = useSites();
  const scope = useScope();
  const [text, setText] = useState("");
  const needle = useDeferredValue(text.trim().toLowerCase());
  const sites = useMemo(
    () =>
      query.data
        ?.filter((site) => (!scope.organization_id || site.organization_id === scope.organization_id) && (!scope.site_id || site.id === scope.site_id))
        .filter((site) => needle === "" || `${site.name} ${site.organization_name} ${site.relay?.hostname ?? ""}`.toLowerCase().includes(needle))
        .sort((a, b) => worstFirst[a.state] - worstFirst[b.state] || a.name.localeCompare(b.name)),
    [query.data, scope, needle],
  );
  const c = t.sites.columns;
  return (
    <>
      <PageHeader title={t.sites.title} actions={<May what="manage_sites"><Link to="/sites/setup" className={buttonClass("primary")}><Plus className="size-4" aria-hidden />{t.sites.add}</Link></May>}>
        {sites && t.sites.total(sites.length)}
      </PageHeader>
      <div className="mx-4 mb-6 rounded-lg border border-line bg-surface md:mx-6">
        {query.isError && !sites ? (
          <Failure error={query.error} onRetry={() => void query.refetch()} />
        ) : query.data?.length === 0 ? (
          <EmptyState icon={Server} title={t.sites.emptyTitle} action={<May what="manage_sites"><Link to="/sites/setup" className={buttonClass("primary")}>{t.sites.add}</Link></May>}>{t.sites.emptyDetail}</EmptyState>
        ) : (
          <>
            {(query.data?.length ?? 0) > 8 && (
              <div className="border-b border-line px-4 py-2"><Input type="search" className="max-w-64" aria-label={t.sites.search} placeholder={t.sites.search} value={text} onChange={(event) => setText(event.target.value)} /></div>
            )}
            {sites?.length === 0 ? (
              <EmptyState icon={SearchX} title={t.sites.noMatch} />
            ) : (
              <Table label={t.sites.title} head={<><Th>{c.site}</Th><Th>{c.state}</Th><Th className="max-sm:hidden">{c.organization}</Th><Th>{c.devices}</Th><Th className="max-sm:hidden">{c.relay}</Th><Th className="max-sm:hidden">{c.contact}</Th><Th className="max-sm:hidden">{c.backlog}</Th></>}>
                {!sites && Array.from({ length: 6 }, (_, index) => <Tr key={index}><Td colSpan={7}><Skeleton className="h-4" /></Td></Tr>)}
                {sites?.slice(0, MOST).map((site) => <Row key={site.id} site={site} />)}
              </Table>
            )}
          </>
        )}
      </div>
    </>
  );
}

function Row({ site }: { site: Site }) {
  const backlog = site.relay?.backlog_bytes ?? null;
  return (
    <Tr>
      <Td><Link to="/sites/$siteId" params={{ siteId: site.id }} className="clip block font-medium hover:underline"><Bdi>{site.name}</Bdi></Link></Td>
      <Td><SiteStateBadge state={site.state} /></Td>
      <Td className="text-muted max-sm:hidden"><DeviceText>{site.organization_name}</DeviceText></Td>
      <Td className="whitespace-nowrap tnum">{t.sites.online(site.devices.online, site.devices.total)}</Td>
      <Td className="max-sm:hidden"><DeviceText mono>{site.relay?.hostname}</DeviceText></Td>
      <Td className="text-muted max-sm:hidden">{site.relay ? <Age at={site.relay.last_contact} /> : "–"}</Td>
      <Td className="whitespace-nowrap text-muted tnum max-sm:hidden">{backlog ? bytes(backlog) : "–"}</Td>
    </Tr>
  );
}
