/** A site's settings: name, intervals, the local UI's PIN, deletion. */
import { Button, Field, Input, Panel, Select, toast } from "@unifyit/ui";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useDeleteSite, useRenameSite, useSetSiteConfig, useSetUiPin } from "@/api/tenants";
import type { Site } from "@/api/types";
import { Confirm } from "@/components/confirm";
import { sentence, toastFailure } from "@/components/failure";
import { t } from "@/strings";

const words = t.sites.settings;
const collectChoices = [5, 10, 30, 60, 300];
const inventoryChoices = [900, 3600, 6 * 3600, 24 * 3600];

function span(seconds: number): string {
  if (seconds < 60) return words.seconds(seconds);
  return seconds < 3600 ? words.minutes(seconds / 60) : words.hours(seconds / 3600);
}

/** The choices, with the present value among them. */
function withPresent(choices: readonly number[], present: number): number[] {
  return [...new Set([...choices, present])].sort((a, b) => a - b);
}

export function SiteSettings({ site }: { site: Site }) {
  return (
    <div className="grid items-start gap-4 lg:grid-cols-2">
      <Name site={site} />
      <Intervals site={site} />
      <Pin site={site} />
      <Delete site={site} />
    </div>
  );
}

function Name({ site }: { site: Site }) {
  const rename = useRenameSite(site.id);
  const [name, setName] = useState(site.name);
  return (
    <Panel title={words.name}>
      <form
        className="flex items-end gap-2"
        onSubmit={(event) => {
          event.preventDefault();
          rename.mutate(name.trim(), { onSuccess: () => toast.success(words.renamed) });
        }}
      >
        <Field className="flex-1" label={words.name} error={rename.isError ? sentence(rename.error) : null}>{(control) => <Input {...control} maxLength={120} value={name} onChange={(event) => setName(event.target.value)} />}</Field>
        <Button type="submit" busy={rename.isPending} disabled={name.trim() === "" || name.trim() === site.name}>{t.save}</Button>
      </form>
    </Panel>
  );
}

function Intervals({ site }: { site: Site }) {
  const save = useSetSiteConfig(site.id);
  const [config, setConfig] = useState(site.config);
  const changed = config.collect_every_s !== site.config.collect_every_s || config.inventory_every_s !== site.config.inventory_every_s;
  return (
    <Panel title={words.title}>
      <form
        className="flex flex-col gap-3"
        onSubmit={(event) => {
          event.preventDefault();
          save.mutate(config, { onSuccess: () => toast.success(words.saved) });
        }}
      >
        <Field label={words.collect} hint={words.collectHint} error={save.isError ? sentence(save.error) : null}>
          {(control) => <Select {...control} className="w-full" value={config.collect_every_s} onChange={(event) => setConfig({ ...config, collect_every_s: Number(event.target.value) })}>{withPresent(collectChoices, site.config.collect_every_s).map((value) => <option key={value} value={value}>{span(value)}</option>)}</Select>}
        </Field>
        <Field label={words.inventory}>
          {(control) => <Select {...control} className="w-full" value={config.inventory_every_s} onChange={(event) => setConfig({ ...config, inventory_every_s: Number(event.target.value) })}>{withPresent(inventoryChoices, site.config.inventory_every_s).map((value) => <option key={value} value={value}>{span(value)}</option>)}</Select>}
        </Field>
        <div className="flex justify-end"><Button type="submit" busy={save.isPending} disabled={!changed}>{t.save}</Button></div>
      </form>
    </Panel>
  );
}

function Pin({ site }: { site: Site }) {
  const set = useSetUiPin(site.id);
  const [pin, setPin] = useState("");
  const valid = /^(\d)(?!\1*$)\d{5,11}$/.test(pin);
  return (
    <Panel title={words.pin}>
      <form
        className="flex flex-col gap-3"
        onSubmit={(event) => {
          event.preventDefault();
          if (valid) set.mutate(pin, { onSuccess: () => (toast.success(words.pinSaved), setPin("")) });
        }}
      >
        <Field label={words.pin} hint={words.pinHint} error={set.isError ? sentence(set.error) : null}>
          {(control) => <Input {...control} inputMode="numeric" autoComplete="off" maxLength={12} value={pin} onChange={(event) => setPin(event.target.value.replace(/\D/g, ""))} />}
        </Field>
        <div className="flex justify-end"><Button type="submit" busy={set.isPending} disabled={!valid}>{words.setPin}</Button></div>
      </form>
    </Panel>
  );
}

function Delete({ site }: { site: Site }) {
  const remove = useDeleteSite(site.id);
  const navigate = useNavigate();
  const [asking, setAsking] = useState(false);
  return (
    <Panel title={words.danger}>
      <p className="mb-3 text-13 text-muted">{words.deleteDetail}</p>
      <Button variant="danger" onClick={() => setAsking(true)}>{words.deleteAction}</Button>
      <Confirm
        open={asking}
        onOpenChange={setAsking}
        title={words.danger}
        action={words.deleteAction}
        danger
        busy={remove.isPending}
        typed={{ expected: site.name, label: t.confirm.typeName(site.name) }}
        onConfirm={() =>
          remove.mutate(undefined, {
            onSuccess: () => {
              toast.success(words.deleted);
              void navigate({ to: "/sites" });
            },
            onError: toastFailure,
          })
        }
      >
        {words.deleteDetail}
      </Confirm>
    </Panel>
  );
}
