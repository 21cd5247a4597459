/** Which organization or site the console is about: searchable, remembered, part of the URL. */
import { Bdi, Popover } from "@unifyit/ui";
import clsx from "clsx";
import { Command } from "cmdk";
import { Building2, Check, ChevronsUpDown, Globe, Server } from "lucide-react";
import { useState } from "react";
import { useOrganizations, useSites } from "@/api/tenants";
import { useScopeText, useSetScope } from "@/components/scope";
import { t } from "@/strings";

const itemClass = "flex h-8 cursor-default items-center gap-2 rounded px-2 text-13 data-[selected=true]:bg-hover";

export function ScopePicker() {
  const [open, setOpen] = useState(false);
  const scope = useScopeText();
  const setScope = useSetScope();
  const organizations = useOrganizations();
  const sites = useSites();
  const organization = organizations.data?.find((each) => scope === `org:${each.id}`);
  const site = sites.data?.find((each) => scope === `site:${each.id}`);
  const Icon = site ? Server : organization ? Building2 : Globe;
  const choose = (next: string | undefined) => {
    setScope(next);
    setOpen(false);
  };
  const mark = (value: string | undefined) => (scope === value ? <Check className="ml-auto size-4 text-accent" aria-hidden /> : null);
  return (
    <Popover
      open={open}
      onOpenChange={setOpen}
      className="w-72 !p-0"
      trigger={
        <button type="button" aria-label={t.scope.change} className="flex h-8 max-w-[40vw] min-w-0 items-center gap-2 rounded-md px-2 text-13 font-medium hover:bg-hover md:max-w-72">
          <Icon className="size-4 shrink-0 text-faint" aria-hidden />
          <Bdi className="clip">{site?.name ?? organization?.name ?? t.scope.everything}</Bdi>
          <ChevronsUpDown className="size-3.5 shrink-0 text-faint" aria-hidden />
        </button>
      }
    >
      <Command label={t.scope.change} loop>
        <Command.Input autoFocus placeholder={t.scope.search} className="h-10 w-full border-b border-line bg-transparent px-3 text-13 outline-none placeholder:text-faint" />
        <Command.List className="max-h-80 overflow-y-auto p-1">
          <Command.Empty className="px-2 py-6 text-center text-13 text-faint">{t.scope.nothing}</Command.Empty>
          <Command.Item value="everything" onSelect={() => choose(undefined)} className={itemClass}>
            <Globe className="size-4 text-faint" aria-hidden />
            {t.scope.everything}
            {mark(undefined)}
          </Command.Item>
          {organizations.data?.map((each) => (
            <Command.Group key={each.id}>
              <Command.Item value={`${each.name} ${each.id}`} onSelect={() => choose(`org:${each.id}`)} className={itemClass}>
                <Building2 className="size-4 shrink-0 text-faint" aria-hidden />
                <Bdi className="clip">{each.name}</Bdi>
                {mark(`org:${each.id}`)}
              </Command.Item>
              {sites.data?.filter((other) => other.organization_id === each.id).map((other) => (
                <Command.Item key={other.id} value={`${each.name} ${other.name} ${other.id}`} onSelect={() => choose(`site:${other.id}`)} className={clsx(itemClass, "pl-8")}>
                  <Server className="size-4 shrink-0 text-faint" aria-hidden />
                  <Bdi className="clip">{other.name}</Bdi>
                  {mark(`site:${other.id}`)}
                </Command.Item>
              ))}
            </Command.Group>
          ))}
        </Command.List>
      </Command>
    </Popover>
  );
}
