/** A site's package cache: what it saved, the files it is to have ready, what it may fetch. */
import { Skeleton } from "@unifyit/ui";
import { usePackageCache } from "@/api/packageCache";
import type { Site } from "@/api/types";
import { Failure } from "@/components/failure";
import { AheadList } from "./AheadList";
import { InForce } from "./InForce";
import { SavingsPanel } from "./SavingsPanel";
import { SettingsForm } from "./SettingsForm";

export function PackageCacheTab({ site }: { site: Site }) {
  const { data: cache, error, refetch } = usePackageCache(site.id);
  return (
    <div className="grid items-start gap-4 lg:grid-cols-3">
      <SavingsPanel site={site} className="lg:col-span-3" />
      {error && !cache && <Failure error={error} onRetry={() => void refetch()} />}
      {!error && !cache && <Skeleton className="h-64 lg:col-span-3" />}
      {cache && <AheadList ahead={cache.ahead} className="lg:col-span-3" />}
      {cache && <SettingsForm key={site.id} siteId={site.id} cache={cache} className="lg:col-span-2" />}
      {cache && <InForce inForce={cache.in_force} />}
    </div>
  );
}
