/** How long a partner's data are kept: the partner's own administrators set it, the platform's for each partner. */
import { Button, EmptyState, Field, Input, PageHeader, Panel, Select, Skeleton, toast } from "@unifyit/ui";
import { Archive } from "lucide-react";
import { useState, type ReactElement } from "react";
import { useRetention, useSetRetention } from "@/api/admin";
import { useUser } from "@/api/session";
import { usePartners } from "@/api/tenants";
import type { Retention } from "@/api/types";
import { Confirm } from "@/components/confirm";
import { Failure, sentence } from "@/components/failure";
import { useTitle } from "@/lib/title";
import { t } from "@/strings";

const words = t.retention;
// One that has no words here fails the type-check: without it nothing could be saved.
const fields = Object.keys(words.fields satisfies Record<keyof Retention, unknown>) as (keyof Retention)[];

export function RetentionPage(): ReactElement {
  useTitle(words.title);
  const { scope } = useUser();
  const partners = usePartners(scope.kind === "platform");
  const [chosen, setChosen] = useState<string | null>(null);
  const partner = scope.kind === "partner" ? scope.id : (chosen ?? partners.data?.[0]?.id ?? null);
  return (
    <>
      <PageHeader title={words.title}>{words.intro}</PageHeader>
      <div className="mx-4 mb-6 flex max-w-3xl flex-col gap-4 md:mx-6">
        {scope.kind === "platform" && partners.data && partners.data.length > 1 && (
          <Field label={words.partner}>
            {(control) => (
              <Select {...control} className="w-full" value={partner ?? ""} onChange={(event) => setChosen(event.target.value)}>
                {partners.data.map((each) => <option key={each.id} value={each.id}>{each.name}</option>)}
              </Select>
            )}
          </Field>
        )}
        {partners.isError ? (
          <Panel><Failure error={partners.error} onRetry={() => void partners.refetch()} /></Panel>
        ) : scope.kind === "platform" || scope.kind === "partner" ? (
          <Chosen partner={partner} waiting={scope.kind === "platform" && partners.isPending} />
        ) : (
          <Panel><EmptyState icon={Archive} title={words.above}>{words.aboveDetail}</EmptyState></Panel>
        )}
      </div>
    </>
  );
}

function Chosen({ partner, waiting }: { partner: string | null; waiting: boolean }) {
  if (partner) return <OfPartner key={partner} partner={partner} />;
  if (waiting) return <Panel><Skeleton className="h-64" /></Panel>;
  return <Panel><EmptyState icon={Archive} title={words.noPartner}>{words.noPartnerDetail}</EmptyState></Panel>;
}

function OfPartner({ partner }: { partner: string }) {
  const query = useRetention(partner);
  if (query.isError && !query.data) return <Panel><Failure error={query.error} onRetry={() => void query.refetch()} /></Panel>;
  if (!query.data) return <Panel><Skeleton className="h-64" /></Panel>;
  return <Form partner={partner} kept={query.data} />;
}

function Form({ partner, kept }: { partner: string; kept: Retention }) {
  const save = useSetRetention(partner);
  // What was typed; the rest follows what the cloud says.
  const [typed, setTyped] = useState<Partial<Record<keyof Retention, string>>>({});
  const days = Object.fromEntries(fields.map((field) => [field, typed[field] ?? String(kept[field])])) as Record<keyof Retention, string>;
  const [asking, setAsking] = useState(false);
  const wanted: Retention = { ...kept };
  for (const field of fields) wanted[field] = Number(days[field]);
  const whole = fields.every((field) => /^\d{1,4}$/.test(days[field]));
  const changed = fields.some((field) => wanted[field] !== kept[field]);
  const shorter = fields.some((field) => wanted[field] < kept[field]);
  const saved = () => {
    setTyped({});
    toast.success(words.saved);
  };
  const store = () => save.mutate(wanted, { onSuccess: saved, onSettled: () => setAsking(false) });
  return (
    <Panel title={words.days}>
      <form
        className="grid gap-3 sm:grid-cols-2"
        onSubmit={(event) => {
          event.preventDefault();
          // Not disabled meanwhile, for it holds the keyboard's place.
          if (save.isPending) return;
          if (shorter) setAsking(true);
          else if (changed) store();
          else saved();
        }}
      >
        {fields.map((field) => (
          <Field key={field} label={words.fields[field].label} hint={words.fields[field].hint}>
            {(control) => <Input {...control} inputMode="numeric" maxLength={4} value={days[field]} onChange={(event) => setTyped({ ...typed, [field]: event.target.value.replace(/\D/g, "") })} />}
          </Field>
        ))}
        {save.isError && <p role="alert" className="text-13 text-bad sm:col-span-2">{sentence(save.error)}</p>}
        <div className="flex justify-end sm:col-span-2"><Button type="submit" busy={save.isPending} disabled={!whole}>{t.save}</Button></div>
      </form>
      <Confirm open={asking} onOpenChange={setAsking} title={words.shorter} action={t.save} danger busy={save.isPending} onConfirm={store}>{words.shorterDetail}</Confirm>
    </Panel>
  );
}
