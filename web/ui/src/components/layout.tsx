/** Pages, panels, facts and plain tables. */
import clsx from "clsx";
import { useEffect, useRef, type ComponentProps, type ReactNode } from "react";
import { tame } from "./badge";

export function PageHeader({ title, children, actions }: { title: ReactNode; children?: ReactNode; actions?: ReactNode }) {
  return (
    <header className="flex flex-wrap items-center gap-x-4 gap-y-2 px-4 pt-4 pb-3 md:px-6">
      <div className="min-w-0 flex-[1_1_13rem]">
        <h1 className="clip text-lg font-semibold tracking-tight">{title}</h1>
        {children && <div className="mt-0.5 text-13 text-muted">{children}</div>}
      </div>
      {actions && <div className="flex flex-wrap items-center gap-2">{actions}</div>}
    </header>
  );
}

export function Panel({ title, actions, children, className, flush = false }: { title?: ReactNode; actions?: ReactNode; children: ReactNode; className?: string; flush?: boolean }) {
  return (
    <section className={clsx("min-w-0 rounded-lg border border-line bg-surface", className)}>
      {title && (
        <header className="flex min-h-10 items-center justify-between gap-2 border-b border-line px-4 py-1.5">
          <h2 className="clip text-13 font-semibold">{title}</h2>
          {actions && <div className="flex items-center gap-1">{actions}</div>}
        </header>
      )}
      <div className={flush ? undefined : "px-4 py-3"}>{children}</div>
    </section>
  );
}

export function Facts({ items, columns = 1 }: { items: readonly (readonly [string, ReactNode])[]; columns?: 1 | 2 }) {
  return (
    <dl className={clsx("grid gap-x-8", columns === 2 ? "md:grid-cols-2" : "grid-cols-1")}>
      {items.map(([term, value]) => (
        <div key={term} className="grid min-h-8 grid-cols-[minmax(7rem,2fr)_minmax(0,3fr)] items-center gap-3 border-b border-line/60 py-1 last:border-0">
          <dt className="text-13 text-muted">{term}</dt>
          <dd className="min-w-0 text-13 tnum">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** A plain table for lists that are not long. Scrolls sideways inside itself on small screens. */
export function Table({ label, head, children, className }: { label: string; head: ReactNode; children: ReactNode; className?: string }) {
  return (
    <div className={clsx("overflow-x-auto", className)} tabIndex={0} role="region" aria-label={tame(label)}>
      <table className="w-full border-collapse text-13">
        <caption className="sr-only">{label}</caption>
        <thead className="text-left text-xs text-faint">
          <tr className="border-b border-line">{head}</tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}
export const Th = ({ className, ...rest }: ComponentProps<"th">) => <th scope="col" className={clsx("h-8 px-2 font-medium whitespace-nowrap first:pl-4 last:pr-4 sm:px-3 sm:first:pl-4 sm:last:pr-4", className)} {...rest} />;
export const Td = ({ className, ...rest }: ComponentProps<"td">) => <td className={clsx("h-9 max-w-80 px-2 py-1 whitespace-nowrap first:pl-4 last:pr-4 sm:px-3 sm:first:pl-4 sm:last:pr-4", className)} {...rest} />;
export const Tr = ({ className, ...rest }: ComponentProps<"tr">) => <tr className={clsx("border-b border-line/60 last:border-0 hover:bg-hover/60", className)} {...rest} />;

/** Links that look like tabs; the caller gives router links, and says which of them is `current`: on a phone that one is scrolled into view. */
export function TabBar({ label, current, children }: { label: string; current: string; children: ReactNode }) {
  const bar = useRef<HTMLElement>(null);
  useEffect(() => {
    // With the next frame, which lays out the page anyway.
    const frame = requestAnimationFrame(() => {
      const tab = bar.current?.querySelector<HTMLElement>("[aria-current]");
      if (tab) bar.current?.scrollTo({ left: tab.offsetLeft - (bar.current.clientWidth - tab.offsetWidth) / 2 });
    });
    return () => cancelAnimationFrame(frame);
  }, [current]);
  return <nav ref={bar} aria-label={tame(label)} className="relative flex gap-1 overflow-x-auto border-b border-line px-4 md:px-6">{children}</nav>;
}
export const tabClass = "relative flex h-9 shrink-0 items-center px-2 text-13 text-muted hover:text-text";
export const tabActiveClass = "text-text font-medium after:absolute after:inset-x-1 after:-bottom-px after:h-0.5 after:rounded-full after:bg-accent";

/** A few choices side by side, one of them true. */
export function Segmented<T extends string>({ label, value, options, onChange }: { label: string; value: T; options: readonly { value: T; label: string }[]; onChange: (value: T) => void }) {
  return (
    <div role="radiogroup" aria-label={label} className="inline-flex rounded-md border border-line-strong bg-surface p-0.5">
      {options.map((option) => (
        <button
          key={option.value}
          type="button"
          role="radio"
          aria-checked={option.value === value}
          onClick={() => onChange(option.value)}
          className={clsx("h-6.5 rounded px-2 text-xs font-medium", option.value === value ? "bg-accent-soft text-accent" : "text-muted hover:text-text")}
        >
          {option.label}
        </button>
      ))}
    </div>
  );
}
