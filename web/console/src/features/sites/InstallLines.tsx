/** A site's install lines: make, see what is left of them, revoke. */
import { Band, Button, EmptyState, Panel, Skeleton, StateBadge, Table, Td, Th, toast, Tr } from "@unifyit/ui";
import { Ban, CircleCheck, Link2, TimerOff } from "lucide-react";
import { useState } from "react";
import { useInstallTokens, useRevokeInstallToken } from "@/api/tenants";
import type { InstallToken, NewInstallToken, Site } from "@/api/types";
import { Age } from "@/components/age";
import { Failure, toastFailure } from "@/components/failure";
import { useNow } from "@/lib/clock";
import { toMs } from "@/lib/time";
import { t } from "@/strings";
import { CreateLine, Line } from "./InstallLine";

const words = t.sites.install;

type State = keyof typeof words.states;

function stateOf(token: InstallToken, now: number): State {
  if (token.revoked_at) return "revoked";
  if (token.used >= token.uses) return "used_up";
  return (toMs(token.expires_at) ?? 0) <= now ? "expired" : "usable";
}

export function InstallLines({ site }: { site: Site }) {
  const query = useInstallTokens(site.id);
  const [made, setMade] = useState<NewInstallToken | null>(null);
  return (
    <div className="flex flex-col gap-4">
      <div className="grid gap-4 lg:grid-cols-2">
        <Panel title={words.agent}>
          {site.relay ? <CreateLine siteId={site.id} kind="agent" onCreated={setMade} /> : <Band tone="off">{words.needsRelay}</Band>}
        </Panel>
        <Panel title={words.relay}><CreateLine siteId={site.id} kind="relay" onCreated={setMade} /></Panel>
      </div>
      {made && <Panel title={made.kind === "relay" ? words.relay : words.agent}><Line siteId={site.id} token={made} /></Panel>}
      <Panel flush title={words.title}>
        {query.isError && !query.data ? (
          <Failure error={query.error} onRetry={() => void query.refetch()} compact />
        ) : query.data?.length === 0 ? (
          <EmptyState icon={Link2} title={words.none}>{words.noneDetail}</EmptyState>
        ) : (
          <Tokens siteId={site.id} tokens={query.data} />
        )}
      </Panel>
    </div>
  );
}

function Tokens({ siteId, tokens }: { siteId: string; tokens: readonly InstallToken[] | undefined }) {
  const revoke = useRevokeInstallToken(siteId);
  const now = useNow(15_000);
  return (
    <Table label={words.title} head={<><Th>{words.kind}</Th><Th>{words.state}</Th><Th>{words.uses}</Th><Th>{words.expires}</Th><Th><span className="sr-only">{words.revoke}</span></Th></>}>
      {!tokens && <Tr><Td colSpan={5}><Skeleton className="h-4" /></Td></Tr>}
      {tokens?.map((token) => {
        const state = stateOf(token, now);
        const usable = state === "usable";
        return (
          <Tr key={token.id}>
            <Td>{token.kind === "relay" ? words.relay : words.agent}</Td>
            <Td><StateBadge tone={usable ? "ok" : "off"} icon={usable ? CircleCheck : state === "revoked" ? Ban : TimerOff} label={words.states[state]} /></Td>
            <Td className="tnum">{words.used(token.used, token.uses)}</Td>
            <Td><Age at={token.expires_at} /></Td>
            <Td className="text-right">
              {usable && <Button size="sm" variant="danger" onClick={() => revoke.mutate(token.id, { onSuccess: () => toast.success(words.revoked), onError: toastFailure })}>{words.revoke}</Button>}
            </Td>
          </Tr>
        );
      })}
    </Table>
  );
}
