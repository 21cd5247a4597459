/** The device page: header, tabs, and what each tab shows, put together from the features that own the parts. */
import { Skeleton, TabBar, tabActiveClass, tabClass } from "@unifyit/ui";
import { Link, useParams, useSearch } from "@tanstack/react-router";
import clsx from "clsx";
import { type ReactElement, type ReactNode } from "react";
import { useDevice } from "@/api/devices";
import { useMay } from "@/api/session";
import type { DeviceDetail } from "@/api/types";
import { Failure } from "@/components/failure";
import { DeviceAudit } from "@/features/audit/DeviceAudit";
import { DeviceHeader } from "@/features/devices/DeviceHeader";
import { DeviceOverview } from "@/features/devices/DeviceOverview";
import { DeviceTimeline } from "@/features/devices/DeviceTimeline";
import { Hardware } from "@/features/devices/Hardware";
import { Network } from "@/features/devices/Network";
import { Services } from "@/features/devices/Services";
import { Software } from "@/features/devices/Software";
import { IdentityBand } from "@/features/devices/IdentityBand";
import { StateBand } from "@/features/devices/StateBand";
import { MetricCharts } from "@/features/metrics/MetricCharts";
import { DeviceTasks } from "@/features/tasks/DeviceTasks";
import { useTitle } from "@/lib/title";
import { t } from "@/strings";

type Tab = keyof typeof t.devices.tabs;

/** What each tab shows. Only two of them need the device itself; the others ask their own at once. */
const tabs: Record<Tab, (id: string, device: DeviceDetail | undefined) => ReactNode> = {
  overview: (id, device) => <DeviceOverview id={id} device={device} charts={<MetricCharts deviceId={id} only="key" />} />,
  metrics: (id) => <MetricCharts deviceId={id} />,
  hardware: (_, device) => device ? <Hardware device={device} /> : <div className="grid gap-4 lg:grid-cols-2"><Skeleton className="h-56" /><Skeleton className="h-56" /></div>,
  software: (id) => <Software deviceId={id} />,
  services: (id) => <Services deviceId={id} />,
  network: (id) => <Network deviceId={id} />,
  tasks: (id) => <DeviceTasks deviceId={id} />,
  timeline: (id) => <DeviceTimeline deviceId={id} />,
  audit: (id) => <DeviceAudit deviceId={id} />,
};

export function DeviceRoute(): ReactElement {
  const { deviceId } = useParams({ from: "/shell/devices/$deviceId" });
  const search = useSearch({ from: "/shell/devices/$deviceId" });
  const { data: device, error, refetch } = useDevice(deviceId);
  useTitle(device?.name);
  const mayAudit = useMay("read_audit");
  const offered = (Object.keys(tabs) as Tab[]).filter((each) => each !== "audit" || mayAudit);
  const tab: Tab = offered.find((each) => each === search.tab) ?? "overview";
  if (error && !device) return <Failure page error={error} onRetry={() => void refetch()} />;
  return (
    <div className="pb-8">
      {device ? <DeviceHeader device={device} /> : <HeaderSkeleton />}
      <TabBar label={device?.name ?? t.devices.panel} current={tab}>
        {offered.map((each) => (
          <Link
            key={each}
            to="/devices/$deviceId"
            params={{ deviceId }}
            search={(before) => ({ ...("range" in before && { range: before.range }), ...(each !== "overview" && { tab: each }) })}
            resetScroll={false}
            activeOptions={{ exact: true }}
            aria-current={each === tab ? "page" : undefined}
            className={clsx(tabClass, each === tab && tabActiveClass)}
          >
            {t.devices.tabs[each]}
          </Link>
        ))}
      </TabBar>
      <div className="flex flex-col gap-4 px-4 pt-4 md:px-6">
        {device && <IdentityBand device={device} />}
        {device && <StateBand device={device} />}
        {tabs[tab](deviceId, device)}
      </div>
    </div>
  );
}

function HeaderSkeleton() {
  return (
    <div className="flex flex-col gap-2 px-4 pt-4 pb-3 md:px-6">
      <Skeleton className="h-7 w-56" />
      <Skeleton className="h-5 w-96 max-w-full" />
    </div>
  );
}
