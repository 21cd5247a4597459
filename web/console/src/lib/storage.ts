/** What this browser remembers of a person's choices. Storage may be full or forbidden: then nothing is remembered, and nothing fails. */

const PREFIX = "unifyit.";

/** A remembered value, or the fallback. */
export function recall<T>(key: string, fallback: T): T {
  try {
    const text = localStorage.getItem(PREFIX + key);
    return text === null ? fallback : (JSON.parse(text) as T);
  } catch {
    return fallback;
  }
}

/** Remembers a value. */
export function remember(key: string, value: unknown): void {
  try {
    localStorage.setItem(PREFIX + key, JSON.stringify(value));
  } catch {
    /* Nothing depends on it. */
  }
}
