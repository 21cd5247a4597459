/** A freshly made install line: shown once, copied with one press, with how long and how often it works. */
import { Band, Button, CopyButton, Select } from "@unifyit/ui";
import { useState } from "react";
import { useCreateInstallToken, useInstallTokens } from "@/api/tenants";
import type { NewInstallToken, TokenKind } from "@/api/types";
import { Moment } from "@/components/age";
import { sentence } from "@/components/failure";
import { t } from "@/strings";

const words = t.sites.install;
const lifetimes = [[3600, words.hour], [24 * 3600, words.day], [7 * 24 * 3600, words.week], [30 * 24 * 3600, words.month]] as const;
const useCounts = [1, 5, 25, 100, 500];

/** The line itself; its uses are counted as they happen. */
export function Line({ siteId, token }: { siteId: string; token: NewInstallToken }) {
  const tokens = useInstallTokens(siteId);
  const used = tokens.data?.find(({ id }) => id === token.id)?.used ?? token.used;
  const line = token.command;
  return (
    <div className="flex flex-col gap-2">
      <p className="text-13 text-muted">{(token.kind === "relay" ? words.relayHint : words.agentHint)(token.fetches)}</p>
      {!token.fetches && <p className="text-13 text-muted">{words.needsProgram(`unifyit-${token.kind}`)}</p>}
      <div className="flex items-stretch overflow-hidden rounded-md border border-line-strong bg-sunken">
        <code className="max-h-28 min-w-0 flex-1 overflow-auto px-3 py-2 font-mono text-xs break-all select-all" tabIndex={0}>{line}</code>
        <div className="border-l border-line bg-surface p-1"><CopyButton withWord text={line} label={words.copyLine} done={t.copied} /></div>
      </div>
      <p className="text-xs text-faint">
        {words.used(used, token.uses)} · {words.expires} <Moment at={token.expires_at} /> · {words.once}
      </p>
    </div>
  );
}

/** Makes a line of one kind. */
export function CreateLine({ siteId, kind, onCreated, label }: { siteId: string; kind: TokenKind; onCreated: (token: NewInstallToken) => void; label?: string }) {
  const create = useCreateInstallToken(siteId);
  const [lifetime, setLifetime] = useState<number>(24 * 3600);
  const [uses, setUses] = useState(kind === "relay" ? 1 : 25);
  return (
    <div className="flex flex-col gap-2">
      {create.isError && <Band tone="bad">{sentence(create.error)}</Band>}
      <div className="flex flex-wrap items-end gap-2">
        <label className="flex flex-col gap-1 text-xs text-faint">
          {words.valid}
          <Select value={lifetime} onChange={(event) => setLifetime(Number(event.target.value))}>{lifetimes.map(([value, name]) => <option key={value} value={value}>{name}</option>)}</Select>
        </label>
        {kind === "agent" && (
          <label className="flex flex-col gap-1 text-xs text-faint">
            {words.howMany}
            <Select value={uses} onChange={(event) => setUses(Number(event.target.value))}>{useCounts.map((value) => <option key={value} value={value}>{value}</option>)}</Select>
          </label>
        )}
        <Button variant="primary" busy={create.isPending} onClick={() => create.mutate({ kind, expires_in_s: lifetime, uses }, { onSuccess: onCreated })}>
          {label ?? (kind === "relay" ? words.createRelay : words.createAgent)}
        </Button>
      </div>
    </div>
  );
}
