/**
 * Terminal output as coloured spans. Only SGR (colours and weight) is obeyed;
 * every other escape sequence, from cursor movement to links and titles, is
 * swallowed, because output is hostile. Carriage returns overwrite the line as
 * progress bars expect. Bidirectional controls are made visible.
 */

/** How a span looks. Colours are palette indexes 0-255 or "r,g,b". */
export interface Style {
  readonly fg?: number | string;
  readonly bg?: number | string;
  readonly bold?: boolean;
  readonly dim?: boolean;
  readonly italic?: boolean;
  readonly underline?: boolean;
  readonly inverse?: boolean;
}

/** A run of text of one style. */
export interface Span {
  readonly text: string;
  readonly style: Style;
}

/** One line of output. */
export type Line = readonly Span[];

/** Longest line drawn; the rest of it is cut with a mark. */
export const MAX_LINE = 10_000;
/** Most lines drawn; earlier ones are dropped from view, not from downloads. */
export const MAX_LINES = 20_000;

const PLAIN: Style = {};
const ESC = "\u001b";
// Sequences: CSI, OSC/DCS/APC/PM/SOS strings up to their end (or to the end of the line when unterminated), two-character escapes, C1 CSI.
// eslint-disable-next-line no-control-regex -- control characters are what is parsed here
const SEQUENCE = /\u001b\[([0-9;:<=>?]*)[ -/]*([@-~])?|\u009b([0-9;:]*)[ -/]*([@-~])?|\u001b[\]PX^_][^\u0007\u001b\n]*(?:\u0007|\u001b\\)?|\u001b[ -/]*[0-~]|\u001b/g;
// eslint-disable-next-line no-control-regex -- control characters are what is removed here
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g;
const BIDI = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Marks piled on one letter, which would cover the lines around it. */
const PILED = /(\p{M}{4})\p{M}+/gu;

/** Makes a text from a device harmless to draw: no controls, no direction overrides, no piles of marks. */
export function visible(text: string): string {
  return text.replace(CONTROLS, "").replace(BIDI, "\u2426").replace(PILED, "$1");
}

/** Parses output into lines. */
export function parseAnsi(output: string): Line[] {
  const lines: Line[] = [];
  let style: Style = PLAIN;
  const rawLines = output.split("\n");
  if (rawLines.at(-1) === "") rawLines.pop();
  const from = Math.max(0, rawLines.length - MAX_LINES);
  rawLines.forEach((raw, index) => {
    const line = new LineBuilder();
    style = parseLine(raw.endsWith("\r") ? raw.slice(0, -1) : raw, style, line);
    if (index >= from) lines.push(line.finish());
  });
  return lines;
}

function parseLine(raw: string, start: Style, line: LineBuilder): Style {
  let style = start;
  let position = 0;
  SEQUENCE.lastIndex = 0;
  for (const match of raw.matchAll(SEQUENCE)) {
    line.write(raw.slice(position, match.index), style);
    position = match.index + match[0].length;
    const parameters = match[1] ?? match[3];
    if ((match[2] ?? match[4]) === "m" && parameters !== undefined) style = sgr(style, parameters);
  }
  line.write(raw.slice(position), style);
  return style;
}

/** Collects spans of a line; a carriage return starts it over. */
class LineBuilder {
  private spans: Span[] = [];
  private length = 0;

  write(raw: string, style: Style): void {
    const parts = raw.split("\r");
    parts.forEach((part, index) => {
      if (index > 0 && part !== "") this.restart();
      this.push(visible(part), style);
    });
  }

  private restart(): void {
    this.spans = [];
    this.length = 0;
  }

  private push(text: string, style: Style): void {
    if (text === "" || this.length > MAX_LINE) return;
    const room = MAX_LINE - this.length;
    const kept = text.length > room ? `${text.slice(0, room)}…` : text;
    this.length += text.length;
    const last = this.spans.at(-1);
    if (last && last.style === style) this.spans[this.spans.length - 1] = { text: last.text + kept, style };
    else this.spans.push({ text: kept, style });
  }

  finish(): Line {
    return this.spans;
  }
}

/** Applies one SGR sequence's parameters to a style. */
function sgr(before: Style, parameters: string): Style {
  const codes = parameters.split(/[;:]/).map((code) => (code === "" ? 0 : Number(code)));
  let style: Record<string, unknown> = { ...before };
  for (let index = 0; index < codes.length; index += 1) {
    const code = codes[index] ?? 0;
    if (code === 0) style = {};
    else if (code === 1) style.bold = true;
    else if (code === 2) style.dim = true;
    else if (code === 3) style.italic = true;
    else if (code === 4) style.underline = true;
    else if (code === 7) style.inverse = true;
    else if (code === 22) style.bold = style.dim = undefined;
    else if (code === 23) style.italic = undefined;
    else if (code === 24) style.underline = undefined;
    else if (code === 27) style.inverse = undefined;
    else if (code === 39) style.fg = undefined;
    else if (code === 49) style.bg = undefined;
    else if (code >= 30 && code <= 37) style.fg = code - 30;
    else if (code >= 40 && code <= 47) style.bg = code - 40;
    else if (code >= 90 && code <= 97) style.fg = code - 90 + 8;
    else if (code >= 100 && code <= 107) style.bg = code - 100 + 8;
    else if (code === 38 || code === 48) {
      const [colour, used] = extended(codes, index + 1);
      if (colour !== undefined) style[code === 38 ? "fg" : "bg"] = colour;
      index += used;
    }
  }
  return style as Style;
}

function extended(codes: readonly number[], at: number): [number | string | undefined, number] {
  const byte = (value: number | undefined) => (value !== undefined && value >= 0 && value <= 255 ? Math.trunc(value) : undefined);
  if (codes[at] === 5) return [byte(codes[at + 1]), 2];
  if (codes[at] !== 2) return [undefined, 0];
  const rgb = [byte(codes[at + 1]), byte(codes[at + 2]), byte(codes[at + 3])];
  return [rgb.every((value) => value !== undefined) ? rgb.join(",") : undefined, 4];
}

/** The text alone, as searches and copies use it. */
export function plainText(lines: readonly Line[]): string {
  return lines.map((line) => line.map((span) => span.text).join("")).join("\n");
}

/** Whether output holds escape sequences at all. */
export function hasEscapes(output: string): boolean {
  return output.includes(ESC);
}
