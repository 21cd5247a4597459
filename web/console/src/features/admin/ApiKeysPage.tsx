/** API keys: make (shown once), see when they were used, revoke. */
import { Band, Button, buttonClass, CopyButton, DeviceText, Dialog, EmptyState, Field, Input, PageHeader, Select, Skeleton, Table, Td, Th, toast, Tr } from "@unifyit/ui";
import { KeyRound, Plus } from "lucide-react";
import { useState, type ReactElement } from "react";
import { useApiKeys, useCreateApiKey, useRevokeApiKey } from "@/api/admin";
import type { ApiKey } from "@/api/types";
import { Age } from "@/components/age";
import { Confirm } from "@/components/confirm";
import { Failure, sentence, toastFailure } from "@/components/failure";
import { useTitle } from "@/lib/title";
import { t } from "@/strings";

const words = t.apiKeys;
const lifetimes = [30, 90, 365];

export function ApiKeysPage(): ReactElement {
  useTitle(words.title);
  const query = useApiKeys();
  const [creating, setCreating] = useState(false);
  const items = query.data?.items.filter((key) => !key.revoked_at);
  const create = <Button variant="primary" icon={<Plus className="size-4" aria-hidden />} onClick={() => setCreating(true)}>{words.create}</Button>;
  return (
    <>
      <PageHeader title={words.title} actions={<><a href="/api/docs" target="_blank" rel="noreferrer" className={buttonClass()}>{words.reference}</a>{create}</>}>{words.intro}</PageHeader>
      <div className="mx-4 mb-6 rounded-lg border border-line bg-surface md:mx-6">
        {query.isError && !items ? (
          <Failure error={query.error} onRetry={() => void query.refetch()} />
        ) : items?.length === 0 ? (
          <EmptyState icon={KeyRound} title={words.emptyTitle} action={create}>{words.emptyDetail}</EmptyState>
        ) : (
          <Keys items={items} />
        )}
      </div>
      {creating && <CreateDialog onClose={() => setCreating(false)} />}
    </>
  );
}

function Keys({ items }: { items: readonly ApiKey[] | undefined }) {
  const [revoking, setRevoking] = useState<ApiKey | null>(null);
  const revoke = useRevokeApiKey();
  const c = words.columns;
  return (
    <>
      <Table label={words.title} head={<><Th>{c.name}</Th><Th>{c.key}</Th><Th>{c.by}</Th><Th>{c.created}</Th><Th>{c.used}</Th><Th>{c.expires}</Th><Th><span className="sr-only">{words.revoke}</span></Th></>}>
        {!items && [0, 1, 2].map((row) => <Tr key={row}><Td colSpan={7}><Skeleton className="h-4" /></Td></Tr>)}
        {items?.map((key) => (
          <Tr key={key.id}>
            <Td><DeviceText className="font-medium">{key.name}</DeviceText></Td>
            <Td><code className="font-mono text-xs text-faint">{key.hint}…</code></Td>
            <Td className="text-muted"><DeviceText>{key.created_by}</DeviceText></Td>
            <Td className="text-muted"><Age at={key.created_at} none="–" /></Td>
            <Td className="text-muted"><Age at={key.last_used_at} /></Td>
            <Td className="text-muted"><Age at={key.expires_at} none={words.never} /></Td>
            <Td className="text-right"><Button size="sm" variant="danger" onClick={() => setRevoking(key)}>{words.revoke}</Button></Td>
          </Tr>
        ))}
      </Table>
      <Confirm
        open={revoking !== null}
        onOpenChange={(open) => !open && setRevoking(null)}
        title={words.revokeTitle(revoking?.name ?? "")}
        action={words.revoke}
        danger
        busy={revoke.isPending}
        onConfirm={() =>
          revoking &&
          revoke.mutate(revoking.id, {
            onSuccess: () => {
              setRevoking(null);
              toast.success(words.revoked);
            },
            onError: toastFailure,
          })
        }
      >
        {words.revokeDetail}
      </Confirm>
    </>
  );
}

function CreateDialog({ onClose }: { onClose: () => void }) {
  const create = useCreateApiKey();
  const [name, setName] = useState("");
  const [days, setDays] = useState(90);
  const made = create.data?.key;
  return (
    <Dialog
      open
      onOpenChange={(open) => !open && onClose()}
      title={made ? words.made : words.create}
      closeLabel={t.close}
      footer={
        made ? (
          <Button variant="primary" onClick={onClose}>{t.close}</Button>
        ) : (
          <>
            <Button onClick={onClose}>{t.cancel}</Button>
            <Button variant="primary" type="submit" form="key-form" busy={create.isPending} disabled={name.trim() === ""}>{words.create}</Button>
          </>
        )
      }
    >
      {made ? (
        <div className="flex flex-col gap-3">
          <Band tone="warn">{words.once}</Band>
          <div className="flex items-center gap-2 rounded-md border border-line-strong bg-sunken py-1 pr-1 pl-3">
            <code className="min-w-0 flex-1 font-mono text-xs break-all select-all">{made}</code>
            <CopyButton text={made} label={t.copy} done={t.copied} />
          </div>
        </div>
      ) : (
        <form
          id="key-form"
          className="flex flex-col gap-3"
          onSubmit={(event) => {
            event.preventDefault();
            create.mutate({ name: name.trim(), ...(days > 0 && { expires_in_s: days * 86_400 }) });
          }}
        >
          <Field label={words.name} hint={words.nameHint} error={create.isError ? sentence(create.error) : null}>{(control) => <Input {...control} autoFocus maxLength={120} value={name} onChange={(event) => setName(event.target.value)} />}</Field>
          <Field label={words.expires}>
            {(control) => (
              <Select {...control} className="w-full" value={days} onChange={(event) => setDays(Number(event.target.value))}>
                {lifetimes.map((value) => <option key={value} value={value}>{words.days(value)}</option>)}
                <option value={0}>{words.never}</option>
              </Select>
            )}
          </Field>
        </form>
      )}
    </Dialog>
  );
}
