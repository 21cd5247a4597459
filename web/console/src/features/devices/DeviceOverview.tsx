/** The overview tab: health at this moment, key charts, facts, and what happened last. */
import { DeviceText, Facts, Panel, Skeleton } from "@unifyit/ui";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { useLiveSamples, useTimeline } from "@/api/devices";
import type { LiveSamples } from "@/api/events/samples";
import type { DeviceDetail } from "@/api/types";
import { Age, Fresh } from "@/components/age";
import { Failure } from "@/components/failure";
import { Load } from "@/components/load";
import { Timeline } from "@/components/timeline";
import { bytes, count, metric, parseNumber } from "@/lib/format";
import { duration, toMs } from "@/lib/time";
import { t } from "@/strings";
import { Tags } from "./columns";

/** A metric's newest value, from the live socket or else from what was stored. */
function newest(device: DeviceDetail, live: LiveSamples | undefined, name: string): { value: number; at: number } | null {
  const stored = device.latest.find((each) => each.name === name && each.label === "");
  const storedAt = stored ? toMs(stored.at) : null;
  const sample = live?.latest.get(name);
  if (sample && (storedAt === null || sample.at >= storedAt)) return sample;
  return stored && storedAt !== null ? { value: stored.value, at: storedAt } : null;
}

export function DeviceOverview({ id, device, charts }: { id: string; device: DeviceDetail | undefined; charts: ReactNode }) {
  const timeline = useTimeline(id);
  const d = t.devices;
  return (
    <div className="grid items-start gap-4 xl:grid-cols-[minmax(0,1fr)_22rem]">
      <div className="flex min-w-0 flex-col gap-4">
        {charts}
        <Panel flush title={d.timeline} actions={<Link to="/devices/$deviceId" params={{ deviceId: id }} search={{ tab: "timeline" }} className="text-xs text-accent hover:underline">{t.all}</Link>}>
          {timeline.isError && !timeline.data ? <Failure error={timeline.error} onRetry={() => void timeline.refetch()} compact /> : <Timeline items={timeline.data?.pages[0]?.items.slice(0, 10)} empty={d.noTimeline} />}
        </Panel>
      </div>
      <div className="flex min-w-0 flex-col gap-4">
        <Panel title={d.health}>{device ? <Health device={device} /> : <Waiting rows={6} />}</Panel>
        <Panel title={d.facts}>{device ? <About device={device} /> : <Waiting rows={8} />}</Panel>
      </div>
    </div>
  );
}

/** As tall as the facts that will come. */
const Waiting = ({ rows }: { rows: number }) => <div className="flex flex-col">{Array.from({ length: rows }, (_, row) => <div key={row} className="flex h-8 items-center"><Skeleton className="h-4 w-full" /></div>)}</div>;

function Health({ device }: { device: DeviceDetail }) {
  const live = useLiveSamples(device.id);
  const d = t.devices;
  const cpu = newest(device, live, "cpu.busy");
  const memory = newest(device, live, "memory.used_pct");
  const uptime = newest(device, live, "system.uptime");
  const processes = newest(device, live, "process.count");
  const load = newest(device, live, "load.1");
  const iso = (at: number | undefined) => (at === undefined ? device.metrics_at : new Date(at).toISOString());
  return (
    <Facts
      items={[
        [d.columns.cpu, <Load key="c" wide value={cpu?.value ?? device.cpu_pct} at={iso(cpu?.at)} label={d.columns.cpu} />],
        [d.columns.memory, <Load key="m" wide value={memory?.value ?? device.memory_pct} at={iso(memory?.at)} label={d.columns.memory} />],
        [d.columns.disk, <Load key="d" wide value={device.disk_pct} at={device.metrics_at} label={d.columns.disk} />],
        [d.load, load ? <Fresh key="l" at={load.at} inline>{metric(load.value, "load")}</Fresh> : "–"],
        [d.processes, processes ? <Fresh key="p" at={processes.at} inline>{count(processes.value)}</Fresh> : "–"],
        [d.uptime, uptime ? <Fresh key="u" at={uptime.at} inline>{duration(uptime.value * 1000)}</Fresh> : "–"],
      ]}
    />
  );
}

function About({ device }: { device: DeviceDetail }) {
  const d = t.devices;
  const memoryBytes = parseNumber(device.machine.memory_bytes);
  return (
    <Facts
      items={[
        [d.columns.hostname, <DeviceText key="h" mono>{device.hostname}</DeviceText>],
        [d.columns.os, <DeviceText key="o">{device.os_name}</DeviceText>],
        [d.machine.cpu ?? "", <DeviceText key="c">{device.machine.cpu}</DeviceText>],
        [d.machine.memory_bytes ?? "", memoryBytes === null ? "–" : bytes(memoryBytes)],
        [d.columns.address, <DeviceText key="a" mono>{device.address}</DeviceText>],
        [d.columns.organization, <DeviceText key="g">{device.organization_name}</DeviceText>],
        [d.columns.tags, <Tags key="t" tags={device.tags} />],
        [d.enrolled, <Age key="e" at={device.enrolled_at} />],
      ]}
    />
  );
}
