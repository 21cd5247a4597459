/** The files that the cache is to have ready, and how each fares. */
import { Bdi, EmptyState, Panel, StateBadge, Table, Td, Th, Tr, type Tone } from "@unifyit/ui";
import { Ban, CircleCheck, Clock, PackageCheck, RotateCw, type LucideIcon } from "lucide-react";
import type { AheadItem } from "@/api/types";
import { bytes } from "@/lib/format";
import { t } from "@/strings";

const words = t.packageCache.list;
/** More lines than anybody reads; the rest is counted. */
const SHOWN = 100;

const looks: Record<AheadItem["state"], { tone: Tone; icon: LucideIcon }> = {
  waiting: { tone: "info", icon: Clock },
  ready: { tone: "ok", icon: CircleCheck },
  refused: { tone: "bad", icon: Ban },
  failed: { tone: "warn", icon: RotateCw },
};

/** What needs attention first. */
const order: Record<AheadItem["state"], number> = { refused: 0, failed: 1, waiting: 2, ready: 3 };

export function AheadList({ ahead, className }: { ahead: readonly AheadItem[]; className?: string }) {
  const ready = ahead.filter((file) => file.state === "ready").length;
  const shown = [...ahead].sort((a, b) => order[a.state] - order[b.state]).slice(0, SHOWN);
  return (
    <Panel title={words.title} className={className ?? ""} flush={ahead.length > 0} actions={ahead.length > 0 && <span className="text-xs text-muted tnum">{words.ready(ready, ahead.length)}</span>}>
      {ahead.length === 0 ? (
        <EmptyState icon={PackageCheck} title={words.emptyTitle}>{words.empty}</EmptyState>
      ) : (
        <Table label={words.title} head={<><Th>{words.file}</Th><Th>{words.state}</Th><Th className="text-right">{words.size}</Th><Th>{words.until}</Th></>}>
          {shown.map((file) => (
            <Tr key={file.sha256}>
              <Td><span className="block max-w-96 min-w-52 font-mono text-xs break-all whitespace-normal" title={file.sha256}><Bdi>{file.url}</Bdi></span></Td>
              <Td><StateBadge tone={looks[file.state].tone} icon={looks[file.state].icon} label={words.states[file.state]} />{file.reason !== "" && <p className="max-w-80 min-w-52 text-xs break-words whitespace-normal text-muted">{file.reason}</p>}</Td>
              <Td className="text-right tnum">{bytes(file.size)}</Td>
              <Td className="tnum">{file.keep_until.slice(0, 10)}</Td>
            </Tr>
          ))}
        </Table>
      )}
    </Panel>
  );
}
