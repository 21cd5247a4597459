import { describe, expect, it } from "vitest";
import { MAX_LINE, MAX_LINES, parseAnsi, plainText, visible } from "./ansi";

const text = (output: string) => plainText(parseAnsi(output));

describe("parseAnsi", () => {
  it("keeps colours and weight, and carries them across lines", () => {
    const [first, second] = parseAnsi("\u001b[1;31mred\u001b[0m plain\n\u001b[38;5;208mpalette\u001b[48;2;1;2;3mtrue\nstill");
    expect(first).toEqual([{ text: "red", style: { bold: true, fg: 1 } }, { text: " plain", style: {} }]);
    expect(second?.map((span) => span.style)).toEqual([{ fg: 208 }, { fg: 208, bg: "1,2,3" }]);
    expect(parseAnsi("\u001b[32ma\nb")[1]?.[0]?.style).toEqual({ fg: 2 });
  });

  it("swallows every sequence that is not SGR", () => {
    const hostile = ["\u001b]0;title\u0007", "\u001b]8;;http://evil\u001b\\link\u001b]8;;\u001b\\", "\u001b[2J", "\u001b[10;10H", "\u001b[?1049h", "\u001bPq#0\u001b\\", "\u001b(0", "\u001bc", "\u001b]52;c;cGF3bmVk\u0007", "\u009b31;1H"];
    expect(text(hostile.join(""))).toBe("link");
  });

  it("shows unterminated sequences as nothing rather than waiting for their end", () => {
    expect(text("before\u001b]0;never ended\nafter")).toBe("before\nafter");
    expect(text("cut\u001b[31")).toBe("cut");
    expect(text("\u001b")).toBe("");
  });

  it("ignores malformed colours", () => {
    expect(parseAnsi("\u001b[38;5;999mx")[0]).toEqual([{ text: "x", style: {} }]);
    expect(parseAnsi("\u001b[38;2;1;2mx")[0]?.[0]?.style).toEqual({});
  });

  it("lets a carriage return start the line over, as progress bars do", () => {
    expect(text("10 %\r50 %\r100 %\ndone\r\n")).toBe("100 %\ndone");
  });

  it("makes direction overrides and controls visible or drops them", () => {
    expect(visible("a\u202eb\u0000c\u0007")).toBe("a\u2426bc");
    expect(text("<img src=x onerror=alert(1)>")).toBe("<img src=x onerror=alert(1)>");
  });

  it("bounds what is drawn", () => {
    expect(text("x".repeat(MAX_LINE + 500)).length).toBe(MAX_LINE + 1);
    expect(parseAnsi("y\n".repeat(MAX_LINES + 10)).length).toBe(MAX_LINES);
  });
});
