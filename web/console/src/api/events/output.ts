/** A task's output on one device: bytes so far, joined from the stored part and live pieces by their offsets. */

/** Bytes in the order the agent read them. */
export interface Output {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Pieces that came before the bytes in front of them did: kept until those are read. */
  readonly early?: readonly Piece[];
  /** Where a piece was found missing last, so that one hole is read again once, however many pieces come after it. */
  readonly hole?: number;
}

/** Bytes and where they belong. */
export interface Piece {
  readonly offset: number;
  readonly data: Uint8Array;
}

/** Most pieces kept early; beyond it they are read again with what is stored. */
const MAX_EARLY = 256;

/** Most bytes kept in the browser; the download has all. */
export const MAX_OUTPUT = 2 * 1024 * 1024;

/** Adds a piece at its offset. Pieces seen before change nothing; null means that something before it is missing. */
export function appendChunk(output: Output, offset: number, data: Uint8Array): Output | null {
  const have = output.bytes.length;
  if (offset > have) return null;
  const fresh = data.subarray(have - offset);
  if (fresh.length === 0 || have >= MAX_OUTPUT) return output;
  const kept = fresh.subarray(0, MAX_OUTPUT - have);
  const bytes = new Uint8Array(have + kept.length);
  bytes.set(output.bytes);
  bytes.set(kept, have);
  return { bytes };
}

/** Takes a live piece, now or once what comes before it is there. */
export function takePiece(output: Output, piece: Piece): Output {
  const early = [...(output.early ?? []), piece].sort((a, b) => a.offset - b.offset).slice(0, MAX_EARLY);
  let joined: Output = { bytes: output.bytes };
  const waiting = early.filter((each) => {
    const next = appendChunk(joined, each.offset, each.data);
    joined = next ?? joined;
    return next === null;
  });
  return waiting.length > 0 ? { ...joined, early: waiting, hole: joined.bytes.length } : joined;
}

/** Whether a piece just taken showed a hole that was not known before. */
export function foundHole(old: Output, next: Output): boolean {
  return next.hole !== undefined && next.hole !== old.hole;
}

/** Joins what was known with what is stored: the longer one, with the early pieces that now fit. */
export function longer(old: Output | undefined, fresh: Output): Output {
  const base: Output = { bytes: old && old.bytes.length > fresh.bytes.length ? old.bytes : fresh.bytes };
  return (old?.early ?? []).reduce(takePiece, base);
}

/** Bytes of base64 text; nothing when it is malformed. */
export function decodeBase64(text: string): Uint8Array {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}

/** Output as text; bytes that are no UTF-8 become the replacement character. */
export function asText(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { fatal: false }).decode(bytes);
}
