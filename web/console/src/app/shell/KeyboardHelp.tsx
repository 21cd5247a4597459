/** Every shortcut, on one card. */
import { Dialog, Kbd } from "@unifyit/ui";
import { t } from "@/strings";

type Row = readonly [readonly string[], string];

const general: readonly Row[] = [
  [["Ctrl", "K"], t.keyboard.palette], [["?"], t.keyboard.help], [["g", "o"], t.keyboard.goOverview], [["g", "d"], t.keyboard.goDevices],
  [["g", "s"], t.keyboard.goSites], [["g", "t"], t.keyboard.goTasks], [["g", "a"], t.keyboard.goAudit],
];
const lists: readonly Row[] = [
  [["j"], t.keyboard.next], [["k"], t.keyboard.previous], [["x"], t.keyboard.select], [["Shift", "x"], t.keyboard.range],
  [["Enter"], t.keyboard.openRow], [["/"], t.keyboard.search], [["Esc"], t.keyboard.escape],
];

function Rows({ title, rows }: { title: string; rows: readonly Row[] }) {
  return (
    <section>
      <h3 className="mb-1 text-xs text-faint">{title}</h3>
      <dl>
        {rows.map(([keys, words]) => (
          <div key={words} className="flex h-8 items-center justify-between gap-4 text-13">
            <dt>{words}</dt>
            <dd className="flex gap-1">{keys.map((key) => <Kbd key={key}>{key}</Kbd>)}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

export function KeyboardHelp({ open, onOpenChange }: { open: boolean; onOpenChange: (open: boolean) => void }) {
  return (
    <Dialog open={open} onOpenChange={onOpenChange} title={t.keyboard.title} closeLabel={t.close} wide>
      <div className="grid gap-x-10 gap-y-4 sm:grid-cols-2">
        <Rows title={t.keyboard.general} rows={general} />
        <Rows title={t.keyboard.lists} rows={lists} />
      </div>
    </Dialog>
  );
}
