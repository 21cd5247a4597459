/** Empty, loading and error states, bands and copying. */
import clsx from "clsx";
import { Check, CircleAlert, Copy, Info, LoaderCircle, TriangleAlert, type LucideIcon } from "lucide-react";
import { useEffect, useState, type ReactNode } from "react";
import { Button, IconButton } from "./button";
import { toneSoft, toneText, type Tone } from "./tone";

/** A place holder of the size of what will come. */
export function Skeleton({ className }: { className?: string }) {
  return <span className={clsx("block rounded bg-off-soft animate-breathe", className)} aria-hidden />;
}

export function Spinner({ label }: { label: string }) {
  return (
    <span role="status" className="inline-flex items-center gap-2 text-13 text-muted">
      <LoaderCircle className="size-4 animate-turn" aria-hidden />
      {label}
    </span>
  );
}

export function EmptyState({ icon: Icon, title, children, action }: { icon: LucideIcon; title: string; children?: ReactNode; action?: ReactNode }) {
  return (
    <div className="mx-auto flex max-w-md flex-col items-center gap-2 px-6 py-12 text-center">
      <Icon className="mb-1 size-7 text-faint" strokeWidth={1.5} aria-hidden />
      <p className="text-sm font-medium">{title}</p>
      {children && <div className="text-13 text-muted">{children}</div>}
      {action && <div className="mt-3 flex flex-wrap justify-center gap-2">{action}</div>}
    </div>
  );
}

export interface ErrorStateProps {
  title: string;
  detail?: string | null;
  requestId?: string | null;
  onRetry?: () => void;
  words: { retry: string; request: string; copy: string; copied: string };
  compact?: boolean;
  /** The title is the page's heading. */
  page?: boolean;
}

/** What happened, what to do, and a request id to copy. */
export function ErrorState({ title, detail, requestId, onRetry, words, compact = false, page = false }: ErrorStateProps) {
  return (
    <div role="alert" className={clsx("flex flex-col items-center gap-2 text-center", compact ? "px-4 py-4" : "px-6 py-12")}>
      <CircleAlert className="size-6 text-bad" strokeWidth={1.75} aria-hidden />
      {page ? <h1 className="text-sm font-medium">{title}</h1> : <p className="text-sm font-medium">{title}</p>}
      {detail && <p className="max-w-md text-13 text-muted">{detail}</p>}
      {requestId && (
        <p className="flex items-center gap-1 text-xs text-faint">
          {words.request} <code className="font-mono">{requestId}</code>
          <CopyButton text={requestId} label={words.copy} done={words.copied} size="sm" />
        </p>
      )}
      {onRetry && <Button className="mt-1" onClick={onRetry}>{words.retry}</Button>}
    </div>
  );
}

const bandIcons: Record<Tone, LucideIcon> = { ok: Check, warn: TriangleAlert, bad: CircleAlert, off: Info, info: Info };

/** A band across a page that says what is true of all below it. */
export function Band({ tone, children, action, icon, className }: { tone: Tone; children: ReactNode; action?: ReactNode; icon?: LucideIcon; className?: string }) {
  const Icon = icon ?? bandIcons[tone];
  return (
    <div role={tone === "bad" ? "alert" : "status"} className={clsx("flex items-start gap-2 rounded-md px-3 py-2 text-13", toneSoft[tone], className)}>
      <Icon className={clsx("mt-0.5 size-4 shrink-0", toneText[tone])} aria-hidden />
      <div className="min-w-0 flex-1 text-text">{children}</div>
      {action}
    </div>
  );
}

async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** Copies, and says so for a moment. */
export function CopyButton({ text, label, done, size = "md", withWord = false }: { text: string; label: string; done: string; size?: "sm" | "md"; withWord?: boolean }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 1600);
    return () => clearTimeout(timer);
  }, [copied]);
  const onClick = () => void copy(text).then(setCopied);
  const icon = copied ? <Check className="size-4 text-ok" aria-hidden /> : <Copy className="size-4" aria-hidden />;
  if (withWord) return <Button size={size} icon={icon} onClick={onClick}><span aria-live="polite">{copied ? done : label}</span></Button>;
  return <IconButton label={copied ? done : label} size={size} onClick={onClick}>{icon}</IconButton>;
}
