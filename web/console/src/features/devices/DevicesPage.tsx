/** The devices list: search, filter, select, act; a panel at the side for the row at hand. */
import { Button, buttonClass, EmptyState, PageHeader } from "@unifyit/ui";
import { Link, useNavigate } from "@tanstack/react-router";
import { MonitorOff, Play, Plus, SearchX, X } from "lucide-react";
import { useCallback, useMemo, useState, type ReactElement } from "react";
import { Failure } from "@/components/failure";
import { May } from "@/components/may";
import { draftForDevices, writeMatch } from "@/lib/draft";
import { count } from "@/lib/format";
import { useKeys } from "@/lib/keys";
import { everything, extend, nothing, selectedCount, toggle } from "@/lib/selection";
import { useTitle } from "@/lib/title";
import { t } from "@/strings";
import { DevicePanel } from "./DevicePanel";
import { Filters } from "./Filters";
import { Grid } from "./Grid";
import { Toolbar } from "./Toolbar";
import { useDeviceList, type DeviceList } from "./useDeviceList";

export function DevicesPage(): ReactElement {
  useTitle(t.devices.title);
  const list = useDeviceList();
  const navigate = useNavigate();
  const { rows, setSelection, change, search } = list;
  const [active, setActive] = useState<string | null>(search.peek ?? null);
  const peek = search.peek ?? null;
  const order = useMemo(() => rows.map((row) => row.id), [rows]);

  const open = useCallback(
    (id: string) => {
      setActive(id);
      if (peek === id) void navigate({ to: "/devices/$deviceId", params: { deviceId: id } });
      else change({ peek: id }, peek !== null);
    },
    [peek, navigate, change],
  );
  const onToggle = useCallback(
    (id: string, range: boolean) => {
      setActive(id);
      setSelection((before) => (range ? extend(before, id, order) : toggle(before, id)));
    },
    [order, setSelection],
  );
  const activate = (id: string) => {
    setActive(id);
    if (peek !== null) change({ peek: id }, true);
  };
  const step = (by: number) => {
    const at = active === null ? -1 : order.indexOf(active);
    const next = order[Math.min(order.length - 1, Math.max(0, at + by))];
    if (next) activate(next);
  };
  useKeys({
    j: () => step(1),
    k: () => step(-1),
    x: () => active && onToggle(active, false),
    X: () => active && onToggle(active, true),
    Enter: (event) => {
      const target = event.target;
      if (!active || (target instanceof HTMLElement && target.closest("button, a"))) return;
      event.preventDefault();
      open(active);
    },
    Escape: () => (peek !== null ? change({ peek: undefined }, true) : setSelection(nothing)),
  });

  const filtered = Boolean(search.q ?? search.state ?? search.os ?? search.site ?? search.tag);
  const empty = list.query.isSuccess && rows.length === 0;
  return (
    <div className="flex h-full flex-col">
      <PageHeader
        title={t.devices.title}
        actions={<May what="install"><Link to="/sites" className={buttonClass("secondary")}><Plus className="size-4" aria-hidden />{t.devices.emptyAction}</Link></May>}
      >
        {list.query.isSuccess && <span aria-live="polite">{filtered ? t.devices.matching(list.total) : t.devices.total(list.total)}</span>}
      </PageHeader>
      {(filtered || !empty) && (
        <div className="flex flex-wrap items-center justify-between gap-2 border-b border-line px-4 pb-3 md:px-6">
          <Filters list={list} />
          <Toolbar list={list} />
        </div>
      )}
      {list.query.isError && rows.length === 0 ? (
        <Failure error={list.query.error} onRetry={() => void list.query.refetch()} />
      ) : empty ? (
        <Nothing filtered={filtered} list={list} />
      ) : (
        <Grid list={list} activeId={active} onActivate={activate} onOpen={open} onToggle={onToggle} />
      )}
      <BulkBar list={list} />
      <DevicePanel id={peek} onClose={() => change({ peek: undefined }, true)} />
    </div>
  );
}

function Nothing({ filtered, list }: { filtered: boolean; list: DeviceList }) {
  if (filtered) {
    return (
      <EmptyState
        icon={SearchX}
        title={t.devices.noMatch}
        action={<Button onClick={() => list.change({ q: undefined, state: undefined, os: undefined, site: undefined, tag: undefined })}>{t.devices.clearFilters}</Button>}
      >
        {t.devices.noMatchDetail}
      </EmptyState>
    );
  }
  return (
    <EmptyState icon={MonitorOff} title={t.devices.emptyTitle} action={<May what="install"><Link to="/sites/setup" className={buttonClass("primary")}>{t.devices.emptyAction}</Link></May>}>
      {t.devices.emptyDetail}
    </EmptyState>
  );
}

/** Says exactly what would be touched. */
function BulkBar({ list }: { list: DeviceList }) {
  const navigate = useNavigate();
  const { selection, setSelection, total } = list;
  const number = selectedCount(selection, total);
  if (number === 0) return null;
  const run = () => {
    const search = selection.mode === "all" ? { match: writeMatch({ filters: list.filters, except: [...selection.ids] }) } : draftForDevices([...selection.ids]);
    void navigate({ to: "/tasks/new", search });
  };
  const allMatching = selection.mode === "all" && selection.ids.size === 0;
  return (
    <div role="toolbar" aria-label={t.devices.selected(number)} className="flex flex-wrap items-center gap-2 border-t border-line bg-raised px-4 py-2 md:px-6">
      <span className="text-13 font-medium tnum" aria-live="polite">{allMatching ? t.devices.allMatching(number) : t.devices.selected(number)}</span>
      {selection.mode === "some" && number < total && <Button size="sm" variant="ghost" onClick={() => setSelection(everything())}>{t.devices.selectMatching(total)}</Button>}
      <div className="flex-1" />
      <Button size="sm" variant="ghost" icon={<X className="size-4" aria-hidden />} onClick={() => setSelection(nothing)}>{t.devices.clearSelection}</Button>
      <May what="run_tasks"><Button size="sm" variant="primary" icon={<Play className="size-4" aria-hidden />} onClick={run} data-count={count(number)}>{t.devices.runOn(number)}</Button></May>
    </div>
  );
}
