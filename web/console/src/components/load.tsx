/** A percentage of load as a number and a small meter; dimmed when old. */
import { Meter } from "@unifyit/ui";
import { percent } from "@/lib/format";
import { Fresh } from "./age";

export function Load({ value, at, label, wide = false }: { value: number | null | undefined; at: string | null | undefined; label: string; wide?: boolean }) {
  if (value === null || value === undefined) return <span className="text-faint">–</span>;
  return (
    <Fresh at={at} silent>
      <span className="flex items-center gap-2">
        <span className="w-12 shrink-0 text-right text-13">{percent(value)}</span>
        <Meter value={value} label={label} className={wide ? "min-w-16 flex-1" : "w-10"} />
      </span>
    </Fresh>
  );
}
