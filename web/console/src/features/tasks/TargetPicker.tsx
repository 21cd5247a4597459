/** Shows who a run is for, and lets devices be added and removed. */
import { Bdi, Badge, Button, IconButton, Popover } from "@unifyit/ui";
import { useNavigate } from "@tanstack/react-router";
import { Command } from "cmdk";
import { Plus, X } from "lucide-react";
import { useDeferredValue, useState } from "react";
import { useDeviceSearch } from "@/api/devices";
import { DeviceStateBadge } from "@/components/states";
import { useScope } from "@/components/scope";
import { count } from "@/lib/format";
import { t } from "@/strings";
import type { Targets } from "./targets";

export function TargetPicker({ targets }: { targets: Targets }) {
  const navigate = useNavigate();
  const set = (ids: string[]) => void navigate({ to: "/tasks/new", replace: true, search: (before) => ({ ...before, draft: undefined, match: undefined, devices: ids.length > 0 ? ids.join(",") : undefined }) as never });
  const ids = targets.named.map((device) => device.id);
  return (
    <div className="flex flex-wrap items-center gap-1.5">
      {targets.kind === "match" && <Badge tone="info">{targets.count === null ? t.loading : t.tasks.matching(targets.count)}</Badge>}
      {targets.kind === "devices" && targets.named.length === 0 && (targets.count ?? 0) > 0 && <Badge tone="info">{t.devices.selected(targets.count ?? 0)}</Badge>}
      {targets.named.map((device) => (
        <span key={device.id} className="inline-flex h-7 max-w-60 items-center gap-1.5 rounded-md border border-line-strong pl-2 text-13">
          <Bdi className="clip">{device.name}</Bdi>
          {device.state !== "online" && <span className="text-xs text-faint">{t.devices.states[device.state]}</span>}
          <IconButton size="sm" className="!size-6" label={t.tasks.removeDevice(device.name)} onClick={() => set(ids.filter((id) => id !== device.id))}><X className="size-3.5" aria-hidden /></IconButton>
        </span>
      ))}
      {targets.kind === "match" || (targets.named.length === 0 && (targets.count ?? 0) > 0) ? (
        <Button size="sm" variant="ghost" icon={<X className="size-4" aria-hidden />} onClick={() => set([])}>{t.clear}</Button>
      ) : (
        <AddDevice taken={ids} onAdd={(id) => set([...ids, id])} />
      )}
      <span className="sr-only" aria-live="polite">{targets.count === null ? t.loading : count(targets.count)}</span>
    </div>
  );
}

function AddDevice({ taken, onAdd }: { taken: readonly string[]; onAdd: (id: string) => void }) {
  const [open, setOpen] = useState(false);
  const [query, setQuery] = useState("");
  const found = useDeviceSearch(useDeferredValue(query.trim()), useScope(), open);
  return (
    <Popover open={open} onOpenChange={setOpen} className="w-80 !p-0" trigger={<Button size="sm" icon={<Plus className="size-4" aria-hidden />}>{taken.length === 0 ? t.tasks.chooseDevices : t.tasks.addDevice}</Button>}>
      <Command shouldFilter={false} label={t.tasks.addDevice} loop>
        <Command.Input autoFocus value={query} onValueChange={setQuery} placeholder={t.devices.searchHint} className="h-10 w-full border-b border-line bg-transparent px-3 text-13 outline-none placeholder:text-faint" />
        <Command.List className="max-h-72 overflow-y-auto p-1">
          <Command.Empty className="py-6 text-center text-13 text-faint">{found.isPending ? t.loading : t.palette.nothing}</Command.Empty>
          {found.data?.items.filter((device) => !taken.includes(device.id) && device.state !== "revoked").map((device) => (
            <Command.Item key={device.id} value={device.id} onSelect={() => onAdd(device.id)} className="flex h-9 items-center gap-2 rounded px-2 text-13 data-[selected=true]:bg-hover">
              <Bdi className="clip flex-1">{device.name}</Bdi>
              <DeviceStateBadge state={device.state} />
            </Command.Item>
          ))}
        </Command.List>
      </Command>
    </Popover>
  );
}
