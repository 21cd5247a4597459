/** What the site's package cache saved since the start of the day: bytes that the site got without its internet line. */
import { Facts, Panel, SegmentedBar } from "@unifyit/ui";
import type { ReactNode } from "react";
import type { Relay } from "@/api/types";
import { Fresh } from "@/components/age";
import { bytes, percent } from "@/lib/format";
import { t } from "@/strings";

const words = t.sites.cache;

export function CacheSavings({ relay, children }: { relay: Relay; children?: ReactNode }) {
  const { cache_served_bytes: served, cache_fetched_bytes: fetched, cache_bytes: kept, cache_hits: hits, cache_misses: misses, cache_ahead_files: ahead } = relay;
  const answers = hits + misses;
  const saved = Math.max(0, served - fetched);
  const used = served > 0 || fetched > 0;
  return (
    <Panel title={words.title} className="lg:col-span-2">
      {used ? (
        <div className="flex flex-col gap-3">
          <p className="flex flex-wrap items-baseline gap-x-3">
            <Fresh at={relay.last_contact} inline><span className="text-xl font-semibold tnum">{bytes(saved)}</span></Fresh>
            <span className="text-13 text-muted">{served > 0 ? words.savedToday(percent((saved / served) * 100)) : words.savedNothing}</span>
          </p>
          <SegmentedBar
            label={words.title}
            segments={[
              { key: "saved", label: words.fromHere, count: saved, text: bytes(saved), tone: "ok" },
              { key: "fetched", label: words.fetched, count: Math.min(fetched, served), text: bytes(fetched), tone: "info" },
            ]}
          />
        </div>
      ) : (
        <p className="text-13 text-muted">{kept > 0 ? words.quietToday : words.unused}</p>
      )}
      {(used || kept > 0) && <div className="mt-3">
        <Facts
          items={[
            [words.served, bytes(served)],
            [words.fetched, bytes(fetched)],
            [words.size, bytes(kept)],
            ...(answers > 0 ? ([[words.hits, words.hitsOf(percent((hits / answers) * 100), answers)]] as const) : []),
            ...(ahead > 0 ? ([[words.ahead, words.files(ahead)]] as const) : []),
          ]}
        />
      </div>}
      {children}
    </Panel>
  );
}
