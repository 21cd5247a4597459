/** Output of a script: colours kept, everything else harmless; search, wrap, follow. Lines are virtual, so a long output stays quick. */
import { useVirtualizer } from "@tanstack/react-virtual";
import { IconButton, Input, tame } from "@unifyit/ui";
import clsx from "clsx";
import { ArrowDownToLine, ChevronDown, ChevronUp, Download, WrapText } from "lucide-react";
import { memo, useDeferredValue, useEffect, useMemo, useRef, useState, type CSSProperties, type ReactNode } from "react";
import { parseAnsi, type Line, type Style } from "@/lib/ansi";
import { recall, remember } from "@/lib/storage";
import { t } from "@/strings";

const LINE = 20;
/** An output of fewer lines is seen whole: nothing to search in it, nothing to follow. */
const LONG = 6;
const palette = ["#5c6370", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d7dae0", "#7f848e", "#ff8f97", "#b5e08f", "#ffd98f", "#8cc8ff", "#e0a3f0", "#7fd8e3", "#ffffff"];

function colour(value: number | string | undefined): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value === "string") return `rgb(${value})`;
  if (value < 16) return palette[value];
  if (value >= 232) {
    const grey = 8 + (value - 232) * 10;
    return `rgb(${grey},${grey},${grey})`;
  }
  const cube = value - 16;
  const level = (part: number) => (part === 0 ? 0 : 55 + part * 40);
  return `rgb(${level(Math.floor(cube / 36))},${level(Math.floor(cube / 6) % 6)},${level(cube % 6)})`;
}

function css(style: Style): CSSProperties | undefined {
  const { fg, bg, bold, dim, italic, underline, inverse } = style;
  if (!fg && fg !== 0 && !bg && bg !== 0 && !bold && !dim && !italic && !underline && !inverse) return undefined;
  const front = colour(fg);
  const back = colour(bg);
  return {
    ...(inverse ? { color: back ?? "#16181d", background: front ?? "#d7dae0" } : { ...(front && { color: front }), ...(back && { background: back }) }),
    ...(bold && { fontWeight: 700 }),
    ...(dim && { opacity: 0.7 }),
    ...(italic && { fontStyle: "italic" }),
    ...(underline && { textDecoration: "underline" }),
  };
}

/** Splits a text at the matches of a search. */
function marked(text: string, needle: string, current: boolean): ReactNode {
  if (needle === "") return text;
  const parts: ReactNode[] = [];
  const lower = text.toLowerCase();
  let from = 0;
  for (let at = lower.indexOf(needle); at >= 0 && parts.length < 400; at = lower.indexOf(needle, from)) {
    parts.push(text.slice(from, at), <mark key={at} className={clsx("rounded-sm", current ? "bg-warn-solid text-black" : "bg-warn-solid/50 text-inherit")}>{text.slice(at, at + needle.length)}</mark>);
    from = at + needle.length;
  }
  parts.push(text.slice(from));
  return parts;
}

const OutputLine = memo(function OutputLine({ line, needle, current }: { line: Line; needle: string; current: boolean }) {
  return <>{line.map((span, index) => <span key={index} style={css(span.style)}>{marked(span.text, needle, current)}</span>)}</>;
});

export interface OutputViewProps {
  text: string;
  label: string;
  /** What is shown instead of nothing. */
  empty: string;
  live?: boolean;
  onDownload?: () => void;
  note?: ReactNode;
  className?: string;
}

export function OutputView({ text, label, empty, live = false, onDownload, note, className }: OutputViewProps) {
  const lines = useMemo(() => parseAnsi(text), [text]);
  const long = live || lines.length >= LONG;
  const [query, setQuery] = useState("");
  const needle = useDeferredValue(query.trim().toLowerCase());
  const [wrap, setWrap] = useState(() => recall("output.wrap", true));
  const [follow, setFollow] = useState(live);
  const [at, setAt] = useState(0);
  const scroller = useRef<HTMLDivElement>(null);
  const hits = useMemo(() => {
    if (needle === "") return [];
    return lines.flatMap((line, index) => (line.map((span) => span.text).join("").toLowerCase().includes(needle) ? [index] : []));
  }, [lines, needle]);
  const virtual = useVirtualizer({ count: lines.length, getScrollElement: () => scroller.current, estimateSize: () => LINE, overscan: 20 });
  useEffect(() => setAt(0), [needle]);
  const hit = hits[Math.min(at, hits.length - 1)];
  useEffect(() => {
    if (hit !== undefined) virtual.scrollToIndex(hit, { align: "center" });
  }, [hit, virtual]);
  useEffect(() => virtual.measure(), [wrap, virtual]);
  useEffect(() => {
    if (follow && lines.length > 0) virtual.scrollToIndex(lines.length - 1, { align: "end" });
  }, [follow, lines.length, virtual]);
  const go = (by: number) => hits.length > 0 && setAt((before) => (before + by + hits.length) % hits.length);
  return (
    <div className={clsx("flex min-h-0 min-w-0 flex-col overflow-hidden rounded-md border border-line", className)}>
      <div className="flex flex-wrap items-center gap-1 border-b border-line bg-surface px-2 py-1">
        {long && (
          <Input
            type="search"
            aria-label={t.tasks.output.search}
            placeholder={t.tasks.output.search}
            className="!h-7 !w-44"
            value={query}
            onChange={(event) => setQuery(event.target.value)}
            onKeyDown={(event) => event.key === "Enter" && go(event.shiftKey ? -1 : 1)}
          />
        )}
        {needle !== "" && (
          <>
            <span className="px-1 text-xs text-faint tnum" aria-live="polite">{hits.length === 0 ? t.tasks.output.noMatches : t.tasks.output.matches(Math.min(at, hits.length - 1) + 1, hits.length)}</span>
            <IconButton size="sm" label={t.tasks.output.previous} onClick={() => go(-1)}><ChevronUp className="size-4" aria-hidden /></IconButton>
            <IconButton size="sm" label={t.tasks.output.next} onClick={() => go(1)}><ChevronDown className="size-4" aria-hidden /></IconButton>
          </>
        )}
        <div className="flex-1" />
        <span className="px-1 text-xs text-faint tnum">{t.tasks.output.lines(lines.length)}</span>
        <IconButton
          size="sm"
          label={t.tasks.output.wrap}
          pressed={wrap}
          onClick={() => {
            remember("output.wrap", !wrap);
            setWrap(!wrap);
          }}
        >
          <WrapText className="size-4" aria-hidden />
        </IconButton>
        {long && <IconButton size="sm" label={t.tasks.output.follow} pressed={follow} onClick={() => setFollow(!follow)}><ArrowDownToLine className="size-4" aria-hidden /></IconButton>}
        {onDownload && <IconButton size="sm" label={t.tasks.output.download} onClick={onDownload}><Download className="size-4" aria-hidden /></IconButton>}
      </div>
      <div
        ref={scroller}
        role="region"
        aria-label={tame(label)}
        tabIndex={0}
        dir="ltr"
        className="min-h-16 flex-1 overflow-auto bg-[#14161a] p-3 font-mono text-xs leading-5 text-[#d7dae0] outline-offset-[-2px]"
        onWheel={() => follow && setFollow(false)}
      >
        {lines.length === 0 ? (
          <p className="text-[#98a0ac]">{empty}</p>
        ) : (
          <div className="relative" style={{ height: virtual.getTotalSize(), minWidth: wrap ? undefined : "max-content" }}>
            {virtual.getVirtualItems().map((item) => {
              const line = lines[item.index];
              return (
                <div
                  key={item.key}
                  ref={wrap ? virtual.measureElement : undefined}
                  data-index={item.index}
                  className={clsx("absolute top-0 left-0 min-h-5 [unicode-bidi:plaintext]", wrap ? "w-full break-all whitespace-pre-wrap" : "whitespace-pre", hits[at] === item.index && needle !== "" && "bg-white/8")}
                  style={{ transform: `translateY(${item.start}px)` }}
                >
                  {line && <OutputLine line={line} needle={needle} current={hit === item.index} />}
                </div>
              );
            })}
          </div>
        )}
      </div>
      {note && <div className="border-t border-line bg-surface px-3 py-1.5 text-xs text-muted">{note}</div>}
    </div>
  );
}
