/** The relay itself, what waits to go up, and what the package cache saved. */
import { Facts, Panel } from "@unifyit/ui";
import { useQuery } from "@tanstack/react-query";
import { api, type Overview } from "./api";
import { bytes, count, howLong, t, when } from "./strings";

const CACHE_MS = 60_000;

export function RelayPanel({ overview, now }: { overview: Overview; now: number }) {
  const { relay, backlog, cache } = overview;
  const account = useQuery({ queryKey: ["cache"], queryFn: api.cache, refetchInterval: CACHE_MS, enabled: cache !== null });
  const sum = (of: "served" | "fetched" | "hits" | "misses") => account.data?.days.reduce((all, day) => all + day[of], 0) ?? 0;
  const [served, fetched, hits, answers] = [sum("served"), sum("fetched"), sum("hits"), sum("hits") + sum("misses")];
  const ahead = account.data?.ahead;
  return (
    <>
      <Panel title={t.relay.title}>
        <Facts
          items={[
            [t.relay.backlog, backlog.records === 0 ? t.relay.nothing : t.relay.records(backlog.records, bytes(backlog.bytes))],
            ...(backlog.urgent > 0 ? ([[t.relay.urgent, count(backlog.urgent)]] as const) : []),
            [t.relay.running, howLong(now - relay.started_ms)],
            [t.relay.version, relay.version],
          ]}
        />
      </Panel>
      {cache && (
        <Panel title={t.cache.title}>
          {cache.offline_since_ms !== null && <p className="mb-2 text-13 text-warn">{t.cache.offline(when(cache.offline_since_ms, now))}</p>}
          <Facts
            items={[
              [t.cache.stored, bytes(cache.stored_bytes)],
              [t.cache.served, bytes(served)],
              [t.cache.fetched, bytes(fetched)],
              [t.cache.saved, bytes(Math.max(0, served - fetched))],
              ...(answers > 0 ? ([[t.cache.hits, t.cache.share(hits / answers)]] as const) : []),
              ...(ahead && ahead.files > 0 ? ([[t.cache.ahead, t.cache.ready(ahead.ready, ahead.files, bytes(ahead.bytes_left))]] as const) : []),
            ]}
          />
        </Panel>
      )}
    </>
  );
}
