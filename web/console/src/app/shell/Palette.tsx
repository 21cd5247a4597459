/** The command palette: pages, actions, sites, and devices found by the server as you type. */
import { Bdi, setTheme } from "@unifyit/ui";
import { useNavigate } from "@tanstack/react-router";
import { Command } from "cmdk";
import { Keyboard, Monitor, Moon, Play, Plus, Server, SquareTerminal, Sun, type LucideIcon } from "lucide-react";
import { useDeferredValue, useEffect, useRef, useState, type ReactNode } from "react";
import { useDeviceSearch } from "@/api/devices";
import { useUser } from "@/api/session";
import { useSites } from "@/api/tenants";
import { t } from "@/strings";
import { adminItems, allowed, navItems } from "./Nav";

const groupClass = "[&_[cmdk-group-heading]]:px-2 [&_[cmdk-group-heading]]:pt-2 [&_[cmdk-group-heading]]:pb-1 [&_[cmdk-group-heading]]:text-xs [&_[cmdk-group-heading]]:text-faint";

function Item({ icon: Icon, value, onSelect, children, hint }: { icon: LucideIcon; value: string; onSelect: () => void; children: ReactNode; hint?: string }) {
  return (
    <Command.Item value={value} onSelect={onSelect} className="flex h-9 cursor-default items-center gap-2.5 rounded px-2 text-13 data-[selected=true]:bg-hover">
      <Icon className="size-4 shrink-0 text-faint" aria-hidden />
      <Bdi className="clip">{children}</Bdi>
      {hint && <Bdi className="clip ml-auto text-xs text-faint">{hint}</Bdi>}
    </Command.Item>
  );
}

/** What was typed stands in front: the server found the device by more than its name. */
const valueOf = (query: string, device: { name: string; id: string }) => `${query} ${device.name} ${device.id}`.trim();

export function Palette({ onClose, onHelp }: { onClose: () => void; onHelp: () => void }) {
  const navigate = useNavigate();
  const [query, setQuery] = useState("");
  const deferred = useDeferredValue(query.trim());
  const devices = useDeviceSearch(deferred, {}, deferred.length > 0);
  const sites = useSites();
  const { may } = useUser();
  const run = (action: () => void) => () => {
    onClose();
    action();
  };
  const found = deferred === "" ? [] : (devices.data?.items ?? []);
  const [chosen, setChosen] = useState("");
  // Devices come after what the browser finds by itself. The first of them is
  // chosen then, unless the person has moved to something already.
  const moved = useRef(false);
  const first = found[0] && valueOf(query, found[0]);
  useEffect(() => {
    if (first && !moved.current) setChosen(first);
  }, [first]);
  return (
    <Command.Dialog
      open
      onOpenChange={(open) => !open && onClose()}
      label={t.palette.open}
      loop
      value={chosen}
      onValueChange={setChosen}
      onKeyDown={(event) => {
        if (event.key.startsWith("Arrow")) moved.current = true;
      }}
      overlayClassName="fixed inset-0 z-40 bg-black/35"
      contentClassName="fixed top-[12vh] left-1/2 z-50 w-[calc(100vw-1.5rem)] max-w-xl -translate-x-1/2 overflow-hidden rounded-lg border border-line bg-raised shadow-pop outline-none animate-appear"
    >
      <Command.Input
        value={query}
        onValueChange={(text) => {
          moved.current = false;
          setQuery(text);
        }}
        placeholder={t.palette.placeholder} className="h-12 w-full border-b border-line bg-transparent px-4 text-sm outline-none placeholder:text-faint"
      />
      <Command.List className="max-h-[min(26rem,60vh)] overflow-y-auto p-1.5">
        <Command.Empty className="py-8 text-center text-13 text-faint">{t.palette.nothing}</Command.Empty>
        {found.length > 0 && (
          <Command.Group heading={t.palette.devices} className={groupClass}>
            {found.map((device) => (
              <Item key={device.id} icon={Monitor} value={valueOf(query, device)} hint={device.site_name} onSelect={run(() => void navigate({ to: "/devices/$deviceId", params: { deviceId: device.id } }))}>{device.name}</Item>
            ))}
            {may.includes("open_terminal") && found.filter((device) => device.state === "online").slice(0, 3).map((device) => (
              <Item key={`terminal-${device.id}`} icon={SquareTerminal} value={`${query} terminal ${device.name} ${device.id}`} onSelect={run(() => void navigate({ to: "/terminal", search: { device: device.id } }))}>{t.palette.terminalOn(device.name)}</Item>
            ))}
          </Command.Group>
        )}
        <Command.Group heading={t.palette.pages} className={groupClass}>
          {allowed([...navItems, ...adminItems], may).map((item) => <Item key={item.to} icon={item.icon} value={`page ${item.label}`} onSelect={run(() => void navigate({ to: item.to }))}>{item.label}</Item>)}
        </Command.Group>
        <Command.Group heading={t.palette.actions} className={groupClass}>
          {may.includes("run_tasks") && <Item icon={Play} value={t.palette.runScript} onSelect={run(() => void navigate({ to: "/tasks/new" }))}>{t.palette.runScript}</Item>}
          {may.includes("manage_sites") && <Item icon={Plus} value={t.palette.addSite} onSelect={run(() => void navigate({ to: "/sites/setup" }))}>{t.palette.addSite}</Item>}
          <Item icon={Sun} value={t.palette.lightTheme} onSelect={run(() => setTheme("light"))}>{t.palette.lightTheme}</Item>
          <Item icon={Moon} value={t.palette.darkTheme} onSelect={run(() => setTheme("dark"))}>{t.palette.darkTheme}</Item>
          <Item icon={Monitor} value={t.palette.systemTheme} onSelect={run(() => setTheme("system"))}>{t.palette.systemTheme}</Item>
          <Item icon={Keyboard} value={t.palette.keyboard} onSelect={run(onHelp)}>{t.palette.keyboard}</Item>
        </Command.Group>
        {query !== "" && (sites.data?.length ?? 0) > 0 && (
          <Command.Group heading={t.palette.sites} className={groupClass}>
            {sites.data?.slice(0, 200).map((site) => (
              <Item key={site.id} icon={Server} value={`site ${site.name} ${site.organization_name} ${site.id}`} hint={site.organization_name} onSelect={run(() => void navigate({ to: "/sites/$siteId", params: { siteId: site.id } }))}>{site.name}</Item>
            ))}
          </Command.Group>
        )}
      </Command.List>
    </Command.Dialog>
  );
}
