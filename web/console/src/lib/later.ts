/**
 * Values that are dear to make and not needed by every page: made when first asked for. The browser's formatters of
 * numbers and dates are the dearest of them, some milliseconds each, and a page's first paint waits for none of them.
 */
export function later<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}
