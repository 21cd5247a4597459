import { describe, expect, it } from "vitest";
import { pieces } from "./terminal";

describe("a large paste", () => {
  it("travels whole, in order, in messages that the cloud takes", () => {
    const paste = new Uint8Array(1_200_000).map((_, at) => at % 251);
    const sent = pieces(paste);
    expect(Math.max(...sent.map((piece) => piece.length))).toBeLessThanOrEqual(1024 * 1024);
    const got = new Uint8Array(paste.length);
    let at = 0;
    for (const piece of sent) {
      got.set(piece, at);
      at += piece.length;
    }
    expect(at).toBe(paste.length);
    expect(got.every((byte, n) => byte === paste[n])).toBe(true);
  });
  it("is nothing when there is nothing", () => expect(pieces(new Uint8Array(0))).toEqual([]));
});
