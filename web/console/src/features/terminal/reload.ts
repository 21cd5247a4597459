/**
 * Which terminals were open when the page was loaded again, for this browser tab only. What was on the screen is not
 * kept: it may hold secrets, and the shell that wrote it is gone.
 */

const KEY = "unifyit.terminals";
const MOST = 20;

/** A tab to bring back. */
export interface Kept {
  readonly deviceId: string;
  readonly name: string;
}

/** Notes the open terminals. */
export function keepForReload(open: readonly Kept[]): void {
  try {
    if (open.length === 0) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, JSON.stringify(open.slice(-MOST).map(({ deviceId, name }) => ({ deviceId, name: name.slice(0, 200) }))));
  } catch {
    /* Storage is forbidden or full: the tabs are not brought back. */
  }
}

/** The terminals noted before; nothing when what is stored is not ours. */
export function keptForReload(): readonly Kept[] {
  try {
    const stored: unknown = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
    if (!Array.isArray(stored)) return [];
    return stored.flatMap((each: Partial<Kept> | null) => (typeof each?.deviceId === "string" && typeof each.name === "string" ? [{ deviceId: each.deviceId, name: each.name }] : [])).slice(-MOST);
  } catch {
    return [];
  }
}
