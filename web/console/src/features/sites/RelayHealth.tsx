/** A relay's health and what waits to go up. Values of a relay without contact are dimmed with their age. */
import { Button, CopyButton, DeviceText, EmptyState, Facts, Panel, StateBadge, toast } from "@unifyit/ui";
import { CircleCheck, CloudOff, Plug } from "lucide-react";
import { useState } from "react";
import { useRevokeRelay } from "@/api/tenants";
import type { Relay, Site } from "@/api/types";
import { Age, Fresh, Since } from "@/components/age";
import { Confirm } from "@/components/confirm";
import { toastFailure } from "@/components/failure";
import { May } from "@/components/may";
import { bytes, count, shortId } from "@/lib/format";
import { duration } from "@/lib/time";
import { t } from "@/strings";
import { CacheSavings } from "./CacheSavings";

const words = t.sites.relay;

export function RelayHealth({ site }: { site: Site }) {
  const relay = site.relay;
  if (!relay) return <Panel title={words.title}><EmptyState icon={Plug} title={t.sites.states.no_relay}>{t.sites.noRelayBand}</EmptyState></Panel>;
  const size = (value: number | null) => (value === null ? "–" : <Fresh at={relay.last_contact} inline silent>{bytes(value)}</Fresh>);
  const backlog = (relay.backlog_records ?? 0) === 0 ? words.none : words.records(relay.backlog_records ?? 0, bytes(relay.backlog_bytes ?? 0));
  return (
    <div className="grid items-start gap-4 lg:grid-cols-2">
      <Panel title={words.title} actions={<May what="manage_sites"><Revoke siteId={site.id} relay={relay} /></May>}>
        <Facts
          items={[
            [words.state, relay.online ? <StateBadge key="s" tone="ok" icon={CircleCheck} label={words.connected} /> : <StateBadge key="s" tone="bad" icon={CloudOff} label={words.notConnected} />],
            [words.contact, <Age key="c" at={relay.last_contact} />],
            [words.since, relay.online && relay.connected_since ? <Since key="u" at={relay.connected_since} /> : "–"],
            [words.hostname, <DeviceText key="h" mono>{relay.hostname}</DeviceText>],
            [words.version, <DeviceText key="v" mono>{relay.version}</DeviceText>],
            [words.peer, <span key="p" className="flex items-center gap-1"><code className="clip font-mono text-xs" title={relay.peer_id}>{shortId(relay.peer_id, 12, 6)}</code><CopyButton size="sm" text={relay.peer_id} label={t.copy} done={t.copied} /></span>],
          ]}
        />
      </Panel>
      <div className="flex flex-col gap-4">
        <Panel title={t.sites.columns.backlog}>
          <Facts
            items={[
              [words.backlog, <Fresh key="b" at={relay.last_contact} inline>{backlog}</Fresh>],
              [words.store, size(relay.store_bytes)],
              [words.free, size(relay.disk_free_bytes)],
              [words.memory, size(relay.memory_bytes)],
              [words.uptime, relay.uptime_s === null ? "–" : <Fresh key="u" at={relay.last_contact} inline silent>{relay.uptime_s < 60 ? words.underMinute : duration(relay.uptime_s * 1000)}</Fresh>],
            ]}
          />
        </Panel>
      </div>
      <CacheSavings relay={relay} />
    </div>
  );
}

function Revoke({ siteId, relay }: { siteId: string; relay: Relay }) {
  const revoke = useRevokeRelay(siteId);
  const [asking, setAsking] = useState(false);
  return (
    <>
      <Button size="sm" variant="ghost" onClick={() => setAsking(true)}>{words.revoke}</Button>
      <Confirm
        open={asking}
        onOpenChange={setAsking}
        title={words.revokeTitle}
        action={words.revoke}
        danger
        busy={revoke.isPending}
        typed={{ expected: relay.hostname, label: t.confirm.typeName(relay.hostname) }}
        onConfirm={() =>
          revoke.mutate(relay.id, {
            onSuccess: () => {
              setAsking(false);
              toast.success(words.revoked);
            },
            onError: toastFailure,
          })
        }
      >
        {words.revokeDetail}
        <span className="sr-only">{count(1)}</span>
      </Confirm>
    </>
  );
}
