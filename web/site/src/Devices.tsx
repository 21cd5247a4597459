/** The site's computers: those that are off first. */
import { Bdi, Button, CircleDashed, DeviceText, Input, Meter, Panel, Skeleton, StateBadge } from "@unifyit/ui";
import { useQuery } from "@tanstack/react-query";
import clsx from "clsx";
import { CircleCheck } from "lucide-react";
import { useDeferredValue, useState } from "react";
import { api, type Device } from "./api";
import { count, fullTime, howLong, t } from "./strings";

/** Rows drawn at once; a search finds the others. */
const MOST = 200;
const SEARCH_FROM = 10;

export function Devices({ now, refreshMs }: { now: number; refreshMs: number }) {
  const { data, isError, refetch } = useQuery({ queryKey: ["devices"], queryFn: api.devices, refetchInterval: refreshMs });
  const [text, setText] = useState("");
  const needle = useDeferredValue(text.trim().toLowerCase());
  const shown = data?.filter((device) => needle === "" || `${device.name} ${device.address} ${device.os}`.toLowerCase().includes(needle));
  return (
    <Panel flush title={t.devices.title} actions={data && <span className="text-xs text-faint tnum">{count(data.length)}</span>}>
      {(data?.length ?? 0) > SEARCH_FROM && (
        <div className="border-b border-line px-4 py-2"><Input type="search" className="!h-9" aria-label={t.devices.search} placeholder={t.devices.search} value={text} onChange={(event) => setText(event.target.value)} /></div>
      )}
      {!data && !isError && <div className="flex flex-col gap-3 p-4">{[0, 1, 2, 3].map((row) => <Skeleton key={row} className="h-9" />)}</div>}
      {!data && isError && <div className="p-4 text-center"><Button onClick={() => void refetch()}>{t.retry}</Button></div>}
      {shown?.length === 0 && <p className="px-4 py-6 text-center text-13 text-faint">{data?.length === 0 ? t.answer.noComputers : t.devices.none}</p>}
      <ul>{shown?.slice(0, MOST).map((device) => <Row key={device.id} device={device} now={now} />)}</ul>
      {shown && shown.length > MOST && <p className="px-4 py-2 text-xs text-faint">{t.devices.more(shown.length - MOST)}</p>}
    </Panel>
  );
}

function Row({ device, now }: { device: Device; now: number }) {
  const since = t.need.since(howLong(now - device.since_ms));
  return (
    <li className="border-b border-line/60 px-4 py-2 last:border-0">
      <div className="flex items-center gap-3">
        <DeviceText className="flex-1 font-medium">{device.name}</DeviceText>
        <time className="shrink-0 text-xs text-faint" dateTime={new Date(device.since_ms).toISOString()} title={fullTime(device.since_ms)}>{since}</time>
        <StateBadge className="w-14" tone={device.online ? "ok" : "off"} icon={device.online ? CircleCheck : CircleDashed} label={device.online ? t.devices.online : t.devices.offline} />
      </div>
      <div className={clsx("mt-1 grid grid-cols-[5fr_6fr_5fr] items-center gap-x-4 gap-y-1 text-xs text-muted sm:grid-cols-[minmax(0,1fr)_6rem_7.5rem_6rem]", (device.stale || !device.online) && "opacity-60")}>
        <Bdi className="clip col-span-3 sm:col-span-1">{[device.address, device.os].filter(Boolean).join(" · ").slice(0, 120)}</Bdi>
        <Value label={t.devices.cpu} value={device.cpu_pct} />
        <Value label={t.devices.memory} value={device.memory_pct} />
        <Value label={t.devices.disk} value={device.disk_pct} />
        {device.online && device.stale && device.sampled_ms !== null && <span className="col-span-full">{t.devices.old}</span>}
      </div>
    </li>
  );
}

function Value({ label, value }: { label: string; value: number | null }) {
  if (value === null) return <span />;
  return (
    <span className="flex min-w-0 items-center gap-1.5">
      {label}
      <Meter value={value} label={label} className="min-w-3 flex-1" />
      <span className="min-w-8 text-right tnum">{count(value)} %</span>
    </span>
  );
}
