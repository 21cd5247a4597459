/** Cursor pagination, the same for every list. */
import type { Page } from "./types";

/** The first page has no cursor. */
export const first = null as string | null;

/** The cursor of the page after this one. */
export const next = <T>(page: Page<T>): string | undefined => page.next_cursor ?? undefined;
