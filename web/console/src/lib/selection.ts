/**
 * Selection in a long list: single rows, shift ranges, and "all that match the
 * filter", which also means rows that are not loaded. Immutable, so React sees
 * each change.
 */

/** What is selected. In `all` mode `ids` are the exceptions. */
export interface Selection {
  readonly mode: "some" | "all";
  readonly ids: ReadonlySet<string>;
  /** Where a shift range starts. */
  readonly anchor: string | null;
}

/** Nothing selected. */
export const nothing: Selection = { mode: "some", ids: new Set(), anchor: null };

/** Whether a row is selected. */
export function isSelected(selection: Selection, id: string): boolean {
  return selection.mode === "all" ? !selection.ids.has(id) : selection.ids.has(id);
}

/** How many rows are selected, of `total` that match. */
export function selectedCount(selection: Selection, total: number): number {
  return selection.mode === "all" ? Math.max(0, total - selection.ids.size) : selection.ids.size;
}

/** Turns one row over. */
export function toggle(selection: Selection, id: string): Selection {
  const ids = new Set(selection.ids);
  if (!ids.delete(id)) ids.add(id);
  return { ...selection, ids, anchor: id };
}

/** Selects from the anchor to `id`, in the order shown. Without an anchor it turns the row over. */
export function extend(selection: Selection, id: string, order: readonly string[]): Selection {
  const from = selection.anchor === null ? -1 : order.indexOf(selection.anchor);
  const to = order.indexOf(id);
  if (from < 0 || to < 0) return toggle(selection, id);
  const ids = new Set(selection.ids);
  for (const each of order.slice(Math.min(from, to), Math.max(from, to) + 1)) {
    if (selection.mode === "all") ids.delete(each);
    else ids.add(each);
  }
  return { ...selection, ids };
}

/** Selects everything that matches the filter, loaded or not. */
export function everything(): Selection {
  return { mode: "all", ids: new Set(), anchor: null };
}
