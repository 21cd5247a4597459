/**
 * The list itself: virtual rows on a grid, one active row, selection by keys and ranges. Draws only what is in view,
 * whatever the number of devices, and gives a row that leaves the view to the one that comes in: nothing is made anew
 * while scrolling.
 */
import { elementScroll, useVirtualizer, type Rect, type Virtualizer } from "@tanstack/react-virtual";
import { Checkbox, DeviceText, Skeleton } from "@unifyit/ui";
import clsx from "clsx";
import { ArrowDown, ArrowUp } from "lucide-react";
import { memo, useDeferredValue, useEffect, useMemo, useRef, useState, type KeyboardEvent, type MouseEvent } from "react";
import type { Device } from "@/api/types";
import { Age, useAsOf } from "@/components/age";
import { DeviceStateBadge } from "@/components/states";
import { intent } from "@/lib/intent";
import { useLate } from "@/lib/late";
import { useNarrow } from "@/lib/media";
import { everything, isSelected, nothing, selectedCount } from "@/lib/selection";
import { t } from "@/strings";
import { columnOf, type Column, type ColumnId } from "./columns";
import type { DeviceList } from "./useDeviceList";

const ROW = 36;
const TALL_ROW = 56;
/** Rows drawn above and below what is in view. */
const OVERSCAN = 3;
/** Rows that are waited for so long are dimmed: they answer what was asked before. */
const DIM_MS = 300;
/** The next page is fetched when this many rows are left below. */
const AHEAD = 60;

/** Tells the list's size when the browser has laid it out by itself; asked for it, it would lay out the page there and then. */
function watchSize(instance: Virtualizer<HTMLDivElement, Element>, tell: (size: Rect) => void): (() => void) | undefined {
  const element = instance.scrollElement;
  if (!element) return undefined;
  const observer = new ResizeObserver(([entry]) => {
    const box = entry?.borderBoxSize[0];
    if (box) tell({ width: Math.round(box.inlineSize), height: Math.round(box.blockSize) });
  });
  observer.observe(element, { box: "border-box" });
  return () => observer.disconnect();
}

/** Scrolls, but not to where the list is already: that too would lay out the page there and then. */
const scrollTo: typeof elementScroll<HTMLDivElement> = (offset, options, instance) => {
  if (offset + (options.adjustments ?? 0) !== (instance.scrollOffset ?? 0)) elementScroll(offset, options, instance);
};

export interface GridProps {
  list: DeviceList;
  activeId: string | null;
  onActivate: (id: string) => void;
  onOpen: (id: string) => void;
  onToggle: (id: string, range: boolean) => void;
}

interface HeaderCellProps {
  id: ColumnId;
  sort: string;
  change: DeviceList["change"];
  foresee: DeviceList["foresee"];
}

const HeaderCell = memo(function HeaderCell({ id, sort, change, foresee }: HeaderCellProps) {
  const by = columnOf(id)?.sort;
  const label = t.devices.columns[id];
  if (!by) return <div role="columnheader" className="clip flex items-center px-3">{label}</div>;
  const ascending = sort === by;
  const descending = sort === `-${by}`;
  const next = ascending ? `-${by}` : by;
  return (
    <div role="columnheader" aria-sort={ascending ? "ascending" : descending ? "descending" : "none"} className="min-w-0">
      <button type="button" className="flex h-full w-full items-center gap-1 px-3 hover:text-text" title={t.devices.sortBy(label)} onClick={() => change({ sort: next })} {...intent(() => foresee({ sort: next }))}>
        <span className="clip">{label}</span>
        {ascending && <ArrowUp className="size-3.5 shrink-0" aria-hidden />}
        {descending && <ArrowDown className="size-3.5 shrink-0" aria-hidden />}
      </button>
    </div>
  );
});

interface RowProps {
  device: Device;
  index: number;
  top: number;
  template: string;
  shown: readonly Column[];
  active: boolean;
  selected: boolean;
  narrow: boolean;
}

/** Rows are told what is clicked by the group around them. */
const GridRow = memo(function GridRow({ device, index, top, template, shown, active, selected, narrow }: RowProps) {
  const asOf = useAsOf(device.metrics_at);
  return (
    <div
      role="row"
      id={`device-${device.id}`}
      aria-rowindex={index + 2}
      aria-selected={selected}
      data-active={active || undefined}
      className={clsx(
        "absolute inset-x-0 grid cursor-default items-center border-b border-line/60 text-13 [contain:strict]",
        selected ? "bg-accent-soft" : "hover:bg-hover",
        active && "shadow-[inset_2px_0_0_var(--accent)]",
        active && !selected && "bg-hover",
      )}
      style={{ top, height: narrow ? TALL_ROW : ROW, gridTemplateColumns: template }}
    >
      <div role="gridcell" data-check className="flex h-full items-center justify-center">
        <Checkbox tabIndex={-1} checked={selected} label={t.devices.selectRow(device.name)} />
      </div>
      {narrow ? (
        <div role="gridcell" className="grid min-w-0 grid-cols-[minmax(0,1fr)_auto] gap-x-3 pr-3">
          <DeviceText className="font-medium">{device.name}</DeviceText>
          <DeviceStateBadge state={device.state} />
          <DeviceText className="text-xs text-faint">{`${device.site_name} · ${device.os_name ?? t.unknown}`}</DeviceText>
          <Age at={device.last_seen} className="text-right text-xs text-faint" none={t.devices.neverSeen} />
        </div>
      ) : (
        shown.map((column) => <div key={column.id} role="gridcell" className="min-w-0 px-3">{column.cell(device, asOf)}</div>)
      )}
    </div>
  );
});

/** The device whose row an event came from, and whether from its box. */
function rowOf(event: MouseEvent): { id: string; check: boolean } | null {
  const target = event.target instanceof Element ? event.target : null;
  const row = target?.closest("[role=row]");
  return target && row ? { id: row.id.slice("device-".length), check: target.closest("[data-check]") !== null } : null;
}

export function Grid({ list, activeId, onActivate, onOpen, onToggle }: GridProps) {
  const narrow = useNarrow();
  const dim = useLate(list.query.isPlaceholderData, DIM_MS);
  const scroller = useRef<HTMLDivElement>(null);
  const { rows, visible, query, selection, filters, change, foresee } = list;
  const shown = useMemo(() => visible.map(columnOf).filter((column) => column !== undefined), [visible]);
  const height = narrow ? TALL_ROW : ROW;
  // The first rows are drawn in slices, between which the browser answers to a person; later ones at once.
  const pending = useDeferredValue(query.isPending, true);
  const virtual = useVirtualizer({
    count: pending ? 0 : rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => height,
    overscan: OVERSCAN,
    observeElementRect: watchSize,
    scrollToFn: scrollTo,
    initialRect: { width: window.innerWidth, height: window.innerHeight },
  });
  useEffect(() => virtual.measure(), [height, virtual]);
  // Another order or filter is another list: it is read from its beginning. Asked of the virtualizer, since the element would lay out the page to answer.
  useEffect(() => {
    if ((virtual.scrollOffset ?? 0) > 0) scroller.current?.scrollTo({ top: 0 });
  }, [filters, virtual]);
  const items = virtual.getVirtualItems();
  const [slots, setSlots] = useState(0);
  if (items.length > slots) setSlots(items.length);
  const slot = (index: number) => index % Math.max(slots, items.length);
  // A row's element stays where it is in the page while it shows one device after the other: a move would style and lay it out anew.
  const inPlace = items.toSorted((a, b) => slot(a.index) - slot(b.index));
  const lastShown = items.at(-1)?.index ?? 0;
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = query;
  useEffect(() => {
    if (hasNextPage && !isFetchingNextPage && lastShown >= rows.length - AHEAD) void fetchNextPage();
  }, [hasNextPage, isFetchingNextPage, fetchNextPage, lastShown, rows.length]);
  const activeIndex = useMemo(() => (activeId === null ? -1 : rows.findIndex((row) => row.id === activeId)), [rows, activeId]);
  useEffect(() => {
    if (activeIndex >= 0) virtual.scrollToIndex(activeIndex, { align: "auto" });
  }, [activeIndex, virtual]);
  const template = narrow ? "2.75rem minmax(0,1fr)" : `2.75rem ${shown.map((column) => column.width).join(" ")}`;
  const count = selectedCount(selection, list.total);
  const everySelected = selection.mode === "all" && selection.ids.size === 0;
  const step = (by: number) => {
    const next = rows[Math.min(rows.length - 1, Math.max(0, activeIndex + by))];
    if (next) onActivate(next.id);
  };
  const onClick = (event: MouseEvent) => {
    const row = rowOf(event);
    if (row?.check) onToggle(row.id, event.shiftKey);
    else if (row) onOpen(row.id);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.target !== event.currentTarget) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      step(event.key === "ArrowDown" ? 1 : -1);
    }
    if (event.key === " " && activeId) {
      event.preventDefault();
      onToggle(activeId, event.shiftKey);
    }
  };
  const sort = list.filters.sort ?? "";
  return (
    <>
      {/* Said beside the grid, which owns nothing but rows. */}
      <span role="status" className="sr-only">{pending ? t.loading : ""}</span>
      <div
        ref={scroller}
        role="grid"
        tabIndex={0}
        aria-label={t.devices.title}
        aria-rowcount={list.total + 1}
        aria-multiselectable
        aria-busy={pending || query.isPlaceholderData || undefined}
        data-sort={sort}
        {...(activeId !== null && activeIndex >= 0 && { "aria-activedescendant": `device-${activeId}` })}
        className={clsx("min-h-0 flex-1 overflow-auto bg-surface outline-offset-[-2px]", dim && "opacity-70")}
        onKeyDown={onKeyDown}
      >
        <div className={clsx(!narrow && "min-w-fit")}>
          <div role="row" aria-rowindex={1} className="sticky top-0 z-10 grid h-8 border-b border-line bg-surface text-xs text-faint" style={{ gridTemplateColumns: template }}>
            <div role="columnheader" className="flex items-center justify-center">
              <Checkbox
                label={t.devices.selectLoaded}
                checked={count === 0 ? false : everySelected ? true : "indeterminate"}
                onCheckedChange={() => list.setSelection(count === 0 ? everything() : nothing)}
              />
            </div>
            {narrow ? <HeaderCell id="name" sort={sort} change={change} foresee={foresee} /> : visible.map((id) => <HeaderCell key={id} id={id} sort={sort} change={change} foresee={foresee} />)}
          </div>
          <div role="rowgroup" className="relative" style={{ height: virtual.getTotalSize() }} onClick={onClick}>
            {inPlace.map((item) => {
              const device = rows[item.index];
              return device && <GridRow key={slot(item.index)} device={device} index={item.index} top={item.start} template={template} shown={shown} active={device.id === activeId} selected={isSelected(selection, device.id)} narrow={narrow} />;
            })}
          </div>
          {pending && <GridSkeleton height={height} />}
        </div>
      </div>
    </>
  );
}

function GridSkeleton({ height }: { height: number }) {
  return (
    <div aria-hidden>
      {Array.from({ length: 12 }, (_, index) => (
        <div key={index} className="flex items-center gap-6 border-b border-line/60 px-11" style={{ height }}>
          <Skeleton className="h-3.5 w-40" />
          <Skeleton className="h-3.5 w-20" />
          <Skeleton className="hidden h-3.5 flex-1 md:block" />
        </div>
      ))}
    </div>
  );
}
