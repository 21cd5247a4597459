/** The side panel: who it is, is it healthy, what can I do; the full page is one press away. */
import { Bdi, buttonClass, DeviceText, Facts, IconButton, SidePanel, Skeleton } from "@unifyit/ui";
import { Link } from "@tanstack/react-router";
import { ExternalLink, Play, SquareTerminal, X } from "lucide-react";
import { useDevice } from "@/api/devices";
import { Age } from "@/components/age";
import { Failure } from "@/components/failure";
import { Load } from "@/components/load";
import { DeviceStateBadge } from "@/components/states";
import { May } from "@/components/may";
import { t } from "@/strings";
import { Tags } from "./columns";
import { StateBand } from "./StateBand";

export function DevicePanel({ id, onClose }: { id: string | null; onClose: () => void }) {
  return (
    <SidePanel open={id !== null} onClose={onClose} title={t.devices.panel}>
      {id !== null && <Body key={id} id={id} onClose={onClose} />}
    </SidePanel>
  );
}

function Body({ id, onClose }: { id: string; onClose: () => void }) {
  const { data: device, error, refetch } = useDevice(id);
  const close = <IconButton label={t.close} size="sm" onClick={onClose}><X className="size-4" aria-hidden /></IconButton>;
  if (error && !device) return <div className="p-4"><div className="flex justify-end">{close}</div><Failure error={error} onRetry={() => void refetch()} compact /></div>;
  if (!device) {
    return (
      <div className="flex flex-col gap-4 p-4">
        <div className="flex justify-between"><Skeleton className="h-6 w-48" />{close}</div>
        <Skeleton className="h-8 w-full" />
        <Skeleton className="h-40 w-full" />
      </div>
    );
  }
  return (
    <>
      <div className="sticky top-0 flex items-start gap-2 border-b border-line bg-surface px-4 py-3">
        <div className="min-w-0 flex-1">
          <DeviceText className="text-base font-semibold">{device.name}</DeviceText>
          <div className="mt-0.5 flex items-center gap-3"><DeviceStateBadge state={device.state} /><Age at={device.last_seen} className="text-xs text-faint" none={t.devices.neverSeen} /></div>
        </div>
        {close}
      </div>
      <div className="flex flex-col gap-4 p-4">
        <div className="flex flex-wrap gap-2">
          <Link to="/devices/$deviceId" params={{ deviceId: id }} className={buttonClass("primary")}><ExternalLink className="size-4" aria-hidden />{t.devices.openPage}</Link>
          {device.state === "online" && <May what="open_terminal"><Link to="/terminal" search={{ device: id }} className={buttonClass()}><SquareTerminal className="size-4" aria-hidden />{t.devices.actions.terminal}</Link></May>}
          {device.state !== "revoked" && <May what="run_tasks"><Link to="/tasks/new" search={{ devices: id }} className={buttonClass()}><Play className="size-4" aria-hidden />{t.devices.actions.run}</Link></May>}
        </div>
        <StateBand device={device} />
        <Facts
          items={[
            [t.devices.columns.cpu, <Load key="cpu" wide value={device.cpu_pct} at={device.metrics_at} label={t.devices.columns.cpu} />],
            [t.devices.columns.memory, <Load key="memory" wide value={device.memory_pct} at={device.metrics_at} label={t.devices.columns.memory} />],
            [t.devices.columns.disk, <Load key="disk" wide value={device.disk_pct} at={device.metrics_at} label={t.devices.columns.disk} />],
          ]}
        />
        <Facts
          items={[
            [t.devices.columns.os, <DeviceText key="os">{device.os_name}</DeviceText>],
            [t.devices.columns.hostname, <DeviceText key="host" mono>{device.hostname}</DeviceText>],
            [t.devices.columns.address, <DeviceText key="address" mono>{device.address}</DeviceText>],
            [t.devices.columns.site, <Link key="site" to="/sites/$siteId" params={{ siteId: device.site_id }} className="clip block hover:underline"><Bdi>{device.site_name}</Bdi></Link>],
            [t.devices.columns.organization, <DeviceText key="organization">{device.organization_name}</DeviceText>],
            [t.devices.columns.agent, <DeviceText key="agent" mono>{device.agent_version}</DeviceText>],
            [t.devices.columns.tags, <Tags key="tags" tags={device.tags} />],
            [t.devices.enrolled, <Age key="enrolled" at={device.enrolled_at} />],
          ]}
        />
      </div>
    </>
  );
}
