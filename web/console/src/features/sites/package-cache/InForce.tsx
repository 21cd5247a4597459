/** What holds at the relay: the settings of the console and those of its own file, joined. */
import { Bdi, Facts, Panel } from "@unifyit/ui";
import type { PackageCache } from "@/api/types";
import { bytes } from "@/lib/format";
import { t } from "@/strings";

const words = t.packageCache.inForce;

export function InForce({ inForce }: { inForce: PackageCache["in_force"] }) {
  if (!inForce) return <Panel title={words.title}><p className="text-13 text-muted">{words.untold}</p></Panel>;
  const { plan } = inForce;
  return (
    <Panel title={words.title}>
      <Facts
        items={[
          ...(plan ? ([[words.hours, words.span(plan.from, plan.until)], [words.rate, plan.bytes_per_s > 0 ? `${bytes(plan.bytes_per_s)}/s` : words.unlimited]] as const) : []),
          [words.hosts, <Lines key="h" lines={inForce.hosts} />],
          [words.remaps, <Lines key="r" lines={inForce.remaps.map((remap) => `${remap.name} = ${remap.url}`)} />],
        ]}
      />
      {inForce.overruled.length > 0 && (
        <div className="mt-3 rounded-md bg-warn-soft px-3 py-2 text-13 text-warn">
          <p className="font-medium">{t.packageCache.form.overruled}</p>
          <ul>{inForce.overruled.map((line) => <li key={line} className="break-words"><Bdi>{line}</Bdi></li>)}</ul>
        </div>
      )}
    </Panel>
  );
}

function Lines({ lines }: { lines: readonly string[] }) {
  return <ul className="max-h-60 overflow-y-auto font-mono text-xs break-all" tabIndex={0}>{lines.map((line) => <li key={line}><Bdi>{line}</Bdi></li>)}</ul>;
}
