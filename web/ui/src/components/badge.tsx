/** State as icon, word and colour together; never colour alone. */
import clsx from "clsx";
import type { LucideIcon } from "lucide-react";
import type { ReactNode } from "react";
import { toneSoft, toneText, type Tone } from "./tone";

export function StateBadge({ tone, icon: Icon, label, soft = false, className }: { tone: Tone; icon: LucideIcon; label: string; soft?: boolean; className?: string }) {
  return (
    <span className={clsx("inline-flex items-center gap-1.5 align-middle whitespace-nowrap text-13", toneText[tone], soft && ["rounded-full px-2 py-0.5 text-xs font-medium", toneSoft[tone]], className)}>
      <Icon className={soft ? "size-3.5" : "size-4"} aria-hidden />
      {label}
    </span>
  );
}

export function Badge({ children, tone = "off", className }: { children: ReactNode; tone?: Tone; className?: string }) {
  return <span className={clsx("inline-flex max-w-full items-center gap-1 rounded px-1.5 py-0.5 text-xs font-medium", toneSoft[tone], toneText[tone], className)}>{children}</span>;
}

export function Kbd({ children }: { children: ReactNode }) {
  return <kbd className="inline-flex h-5 min-w-5 items-center justify-center rounded border border-line-strong bg-surface px-1 font-sans text-2xs text-muted">{children}</kbd>;
}

// eslint-disable-next-line no-control-regex -- control characters are what is removed here
const DECEIVING = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Marks piled on one letter, beyond what any writing needs: such a pile cannot be broken over lines. */
const PILED = /(\p{M}{4})\p{M}+/gu;

/** A text from outside without control characters and direction overrides, which only serve to deceive, and without piles of marks. */
export function tame(text: string): string {
  return text.replace(DECEIVING, "").replace(PILED, "$1");
}

/** Text from outside inside of ours: tamed, and its direction isolated. */
export function Bdi({ children, className, title }: { children: ReactNode; className?: string | undefined; title?: string | undefined }) {
  return <bdi className={className} title={title === undefined ? undefined : tame(title)}>{typeof children === "string" ? tame(children) : children}</bdi>;
}

/** Text from a device: cut with an ellipsis, its direction isolated, whole in a title. */
export function DeviceText({ children, className, mono = false }: { children: string | null | undefined; className?: string; mono?: boolean }) {
  const text = tame((children ?? "").slice(0, 2000));
  if (text === "") return <span className="text-faint">–</span>;
  return <bdi className={clsx("clip block", mono && "font-mono text-xs", className)} title={text.length > 12 ? text.slice(0, 500) : undefined}>{text}</bdi>;
}
