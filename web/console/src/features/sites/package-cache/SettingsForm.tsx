/** What the cache may fetch, what it is to have ready and when: as lines that can be pasted. */
import { Button, Checkbox, Field, Input, Panel, Textarea, toast } from "@unifyit/ui";
import { useState } from "react";
import { useSetPackageCache } from "@/api/packageCache";
import type { PackageCache } from "@/api/types";
import { sentence } from "@/components/failure";
import { useMay } from "@/api/session";
import { t } from "@/strings";
import { settingsOf, textsOf, type Texts, type Unreadable } from "./text";

const words = t.packageCache.form;

export function SettingsForm({ siteId, cache, className }: { siteId: string; cache: PackageCache; className?: string }) {
  const save = useSetPackageCache(siteId);
  const may = useMay("manage_sites");
  const [edited, setEdited] = useState<Texts | null>(null);
  const [unreadable, setUnreadable] = useState<Unreadable | null>(null);
  const texts = edited ?? textsOf(cache);
  const set = (part: Partial<Texts>) => {
    setUnreadable(null);
    setEdited({ ...texts, ...part });
  };
  const wrong = (field: Unreadable["field"], text: (line: number) => string) => (unreadable?.field === field ? text(unreadable.line) : null);
  const submit = () => {
    const settings = settingsOf(texts, cache);
    if ("field" in settings) setUnreadable(settings);
    else save.mutate(settings, { onSuccess: () => (toast.success(words.saved), setEdited(null)) });
  };
  return (
    <Panel title={words.title} className={className ?? ""}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          submit();
        }}
      >
        <fieldset disabled={!may} className="flex flex-col gap-4">
          <p className="text-13 text-muted">{may ? words.intro : words.readOnly}</p>
          <Field label={words.hosts} hint={words.hostsHint}>{(control) => <Lines {...control} rows={3} value={texts.hosts} onChange={(event) => set({ hosts: event.target.value })} />}</Field>
          <Field label={words.remaps} hint={words.remapsHint} error={wrong("remaps", words.badRemap)}>{(control) => <Lines {...control} rows={3} value={texts.remaps} onChange={(event) => set({ remaps: event.target.value })} />}</Field>
          <Field label={words.ahead} hint={words.aheadHint} error={wrong("ahead", words.badAhead)}>{(control) => <Lines {...control} rows={5} value={texts.ahead} onChange={(event) => set({ ahead: event.target.value })} />}</Field>
          <label className="flex items-center gap-2 text-13"><Checkbox label={words.ownHours} checked={texts.plan} onCheckedChange={(on) => set({ plan: on === true })} />{words.ownHours}</label>
          {texts.plan && (
            <div className="grid gap-3 sm:grid-cols-3">
              <Field label={words.from}>{(control) => <Input {...control} type="time" required value={texts.from} onChange={(event) => set({ from: event.target.value })} />}</Field>
              <Field label={words.until} hint={words.untilHint}>{(control) => <Input {...control} type="time" required value={texts.until} onChange={(event) => set({ until: event.target.value })} />}</Field>
              <Field label={words.rate} hint={words.rateHint}>{(control) => <Input {...control} type="number" min={0} max={100_000_000} required value={texts.rate} onChange={(event) => set({ rate: event.target.value })} />}</Field>
            </div>
          )}
          {save.isError && <p role="alert" className="text-13 text-bad">{sentence(save.error)}</p>}
          {may && <div className="flex justify-end"><Button type="submit" variant="primary" busy={save.isPending} disabled={edited === null}>{t.save}</Button></div>}
        </fieldset>
      </form>
    </Panel>
  );
}

function Lines(props: React.ComponentProps<typeof Textarea>) {
  return <Textarea className="font-mono text-xs" spellCheck={false} wrap="off" {...props} />;
}
