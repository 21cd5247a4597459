/** Columns, saved views and export. */
import { Button, IconButton, Input, Popover, toast } from "@unifyit/ui";
import { ArrowDown, ArrowUp, Bookmark, Columns3, Download, X } from "lucide-react";
import { memo, useState } from "react";
import { allDevices } from "@/api/devices";
import { toastFailure } from "@/components/failure";
import { save, toCsv } from "@/lib/csv";
import { recall, remember } from "@/lib/storage";
import { t } from "@/strings";
import { columnOf, columns, type ColumnId } from "./columns";
import type { DeviceList, ListSearch } from "./useDeviceList";

/** Made once: the list's frame is drawn again with every key that is typed. */
const icons = { views: <Bookmark className="size-4" aria-hidden />, columns: <Columns3 className="size-4" aria-hidden />, export: <Download className="size-4" aria-hidden /> };

const ColumnChooser = memo(function ColumnChooser({ shown, change }: { shown: ColumnId[]; change: DeviceList["change"] }) {
  const set = (next: ColumnId[]) => change({ cols: next.join(",") }, true);
  const move = (id: ColumnId, by: number) => {
    const next = shown.filter((each) => each !== id);
    next.splice(Math.max(0, shown.indexOf(id) + by), 0, id);
    set(next);
  };
  const hidden = columns.map((column) => column.id).filter((id) => !shown.includes(id));
  return (
    <Popover align="end" className="w-64" trigger={<Button size="sm" variant="ghost" icon={icons.columns}>{t.devices.chooseColumns}</Button>}>
      <ul className="max-h-96 overflow-y-auto">
        {[...shown, ...hidden].map((id, index) => (
          <li key={id} className="flex h-8 items-center gap-1 rounded px-2 hover:bg-hover">
            <label className="flex flex-1 items-center gap-2 text-13">
              <input
                type="checkbox"
                className="accent-accent"
                checked={shown.includes(id)}
                disabled={id === "name"}
                onChange={(event) => set(event.target.checked ? [...shown, id] : shown.filter((each) => each !== id))}
              />
              {t.devices.columns[id]}
            </label>
            {shown.includes(id) && (
              <>
                <IconButton size="sm" label={t.devices.moveLeft} disabled={index === 0} onClick={() => move(id, -1)}><ArrowUp className="size-3.5" aria-hidden /></IconButton>
                <IconButton size="sm" label={t.devices.moveRight} disabled={index === shown.length - 1} onClick={() => move(id, 1)}><ArrowDown className="size-3.5" aria-hidden /></IconButton>
              </>
            )}
          </li>
        ))}
      </ul>
      <Button size="sm" variant="ghost" className="mt-1 w-full" onClick={() => change({ cols: undefined }, true)}>{t.devices.resetColumns}</Button>
    </Popover>
  );
});

interface View {
  name: string;
  search: ListSearch;
}

function Views({ list }: { list: DeviceList }) {
  const [views, setViews] = useState<View[]>(() => recall<View[]>("devices.views", []));
  const [name, setName] = useState("");
  const [open, setOpen] = useState(false);
  const store = (next: View[]) => {
    remember("devices.views", next);
    setViews(next);
  };
  const { peek: _, ...search } = list.search;
  const empty: ListSearch = {};
  const blank = { q: empty.q, state: empty.state, os: empty.os, site: empty.site, tag: empty.tag, sort: empty.sort, cols: empty.cols };
  return (
    <Popover open={open} onOpenChange={setOpen} align="end" className="w-72" trigger={<Button size="sm" variant="ghost" icon={icons.views}>{t.devices.views}</Button>}>
      {views.length === 0 && <p className="p-2 text-13 text-muted">{t.devices.noViews}</p>}
      <ul>
        {views.map((view) => (
          <li key={view.name} className="flex items-center rounded hover:bg-hover">
            <button
              type="button"
              className="clip h-8 flex-1 px-2 text-left text-13"
              onClick={() => {
                list.change({ ...blank, ...view.search, peek: undefined });
                setOpen(false);
              }}
            >
              {view.name}
            </button>
            <IconButton size="sm" label={t.devices.deleteView(view.name)} onClick={() => store(views.filter((each) => each !== view))}><X className="size-3.5" aria-hidden /></IconButton>
          </li>
        ))}
      </ul>
      <form
        className="mt-1 flex gap-1 border-t border-line p-1 pt-2"
        onSubmit={(event) => {
          event.preventDefault();
          if (name.trim() === "") return;
          store([...views.filter((view) => view.name !== name.trim()), { name: name.trim(), search }]);
          setName("");
        }}
      >
        <Input aria-label={t.devices.viewName} placeholder={t.devices.viewName} value={name} maxLength={60} onChange={(event) => setName(event.target.value)} />
        <Button type="submit" disabled={name.trim() === ""}>{t.save}</Button>
      </form>
    </Popover>
  );
}

async function exportCsv(list: DeviceList, progress: string | number): Promise<void> {
  const devices = await allDevices(list.filters, (loaded) => toast.loading(t.devices.exporting(loaded), { id: progress }));
  const shown = list.visible.map((id) => columnOf(id)).filter((column) => column !== undefined);
  const text = toCsv(shown.map((column) => t.devices.columns[column.id]), devices.map((device) => shown.map((column) => column.text(device))));
  save("devices.csv", text, "text/csv;charset=utf-8");
}

export function Toolbar({ list }: { list: DeviceList }) {
  const [busy, setBusy] = useState(false);
  const onExport = () => {
    setBusy(true);
    const progress = "export";
    exportCsv(list, progress)
      .catch(toastFailure)
      .finally(() => {
        toast.dismiss(progress);
        setBusy(false);
      });
  };
  return (
    <div className="flex items-center gap-1">
      <Views list={list} />
      <ColumnChooser shown={list.visible} change={list.change} />
      <Button size="sm" variant="ghost" busy={busy} icon={icons.export} onClick={onExport}>{t.devices.export}</Button>
    </div>
  );
}
