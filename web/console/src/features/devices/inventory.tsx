/** What the inventory tabs share: loading, "not reported yet", when it was read, and entries as a searchable table. */
import { Bdi, DeviceText, EmptyState, Input, Panel, Skeleton, Table, tame, Td, Th, Tr } from "@unifyit/ui";
import { PackageOpen } from "lucide-react";
import { useDeferredValue, useMemo, useState, type ReactNode } from "react";
import { useInventory } from "@/api/devices";
import type { Inventory, InventorySection } from "@/api/types";
import { Age } from "@/components/age";
import { Failure } from "@/components/failure";
import { bytes, parseNumber } from "@/lib/format";
import { t } from "@/strings";

/** Most rows drawn without a search. */
const MOST_ROWS = 500;

export function Section({ deviceId, section, title, children }: { deviceId: string; section: InventorySection; title: string; children: (inventory: Inventory) => ReactNode }) {
  const { data, error, refetch } = useInventory(deviceId, section);
  if (error && !data) return <Panel title={title}><Failure error={error} onRetry={() => void refetch()} compact /></Panel>;
  const empty = data && Object.keys(data.entries).length === 0;
  return (
    <Panel flush title={title} actions={data?.at && <span className="text-xs text-faint"><Age at={data.at} /></span>}>
      {!data && <div className="flex flex-col gap-2 p-4"><Skeleton className="h-5" /><Skeleton className="h-5" /><Skeleton className="h-5" /></div>}
      {empty && <EmptyState icon={PackageOpen} title={t.devices.noInventory}>{t.devices.noInventoryDetail}</EmptyState>}
      {data && !empty && children(data)}
    </Panel>
  );
}

/** A fact's name in words: `read_only` → "Read only". */
export function factName(key: string): string {
  const known = Object.hasOwn(t.devices.factNames, key) ? t.devices.factNames[key] : undefined;
  if (known) return known;
  const words = tame(key).replaceAll(/[_.]/g, " ").replace(/ bytes$/, "");
  return words.charAt(0).toUpperCase() + words.slice(1, 60);
}

/** A fact's value; sizes in units. */
export function factValue(key: string, value: string): string {
  const number = /(_bytes|^bytes|^size|^total|^used|^free)$/.test(key) ? parseNumber(value) : null;
  return number === null ? value : bytes(number);
}

/** Entries as a table whose columns are the facts that occur, the key first. */
export function Entries({ inventory, keyName, first = [], search }: { inventory: Inventory; keyName: string; first?: readonly string[]; search?: string }) {
  const [query, setQuery] = useState("");
  const needle = useDeferredValue(query.trim().toLowerCase());
  const entries = useMemo(() => Object.entries(inventory.entries).sort(([a], [b]) => a.localeCompare(b)), [inventory]);
  const facts = useMemo(() => {
    const seen = new Map<string, number>();
    for (const [, entry] of entries) for (const key of Object.keys(entry)) seen.set(key, (seen.get(key) ?? 0) + 1);
    const rest = [...seen.entries()].sort((a, b) => b[1] - a[1]).map(([key]) => key).filter((key) => !first.includes(key) && key !== "name");
    return [...first.filter((key) => seen.has(key)), ...rest].slice(0, 8);
  }, [entries, first]);
  const matching = needle === "" ? entries : entries.filter(([key, entry]) => key.toLowerCase().includes(needle) || Object.values(entry).some((value) => value.toLowerCase().includes(needle)));
  return (
    <>
      {search && (
        <div className="flex items-center gap-3 border-b border-line px-4 py-2">
          <Input type="search" className="max-w-64" aria-label={search} placeholder={search} value={query} onChange={(event) => setQuery(event.target.value)} />
          <span className="text-xs text-faint tnum" aria-live="polite">{matching.length}</span>
        </div>
      )}
      <Table label={keyName} head={<><Th>{keyName}</Th>{facts.map((fact) => <Th key={fact}><Bdi>{factName(fact)}</Bdi></Th>)}</>}>
        {matching.slice(0, MOST_ROWS).map(([key, entry]) => (
          <Tr key={key}>
            <Td><DeviceText className="max-w-72 font-medium">{entry.name ?? key}</DeviceText></Td>
            {facts.map((fact) => <Td key={fact} className="text-muted"><DeviceText className="max-w-72">{factValue(fact, entry[fact] ?? "")}</DeviceText></Td>)}
          </Tr>
        ))}
      </Table>
      {matching.length > MOST_ROWS && <p className="px-4 py-2 text-xs text-faint">+{matching.length - MOST_ROWS}</p>}
    </>
  );
}
