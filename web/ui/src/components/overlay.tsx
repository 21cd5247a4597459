/** Dialogs, side panels, menus and popovers on Radix: focus is kept and given back, Escape closes. */
import clsx from "clsx";
import { Check, X } from "lucide-react";
import { Dialog as D, DropdownMenu as M, Popover as P } from "radix-ui";
import type { ComponentProps, ReactNode } from "react";
import { IconButton } from "./button";

const veil = "fixed inset-0 z-40 bg-black/35 animate-appear";

/** A dialog without a field takes the focus itself, rather than its close button with a tooltip over it. */
function focusItself(event: Event): void {
  event.preventDefault();
  if (event.currentTarget instanceof HTMLElement) event.currentTarget.focus();
}

export interface DialogProps {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  title: string;
  description?: ReactNode;
  children: ReactNode;
  footer?: ReactNode;
  closeLabel: string;
  wide?: boolean;
}

export function Dialog({ open, onOpenChange, title, description, children, footer, closeLabel, wide = false }: DialogProps) {
  return (
    <D.Root open={open} onOpenChange={onOpenChange}>
      <D.Portal>
        <D.Overlay className={veil} />
        <D.Content
          {...(!description && { "aria-describedby": undefined })}
          onOpenAutoFocus={focusItself}
          className={clsx("fixed top-1/2 left-1/2 z-50 flex max-h-[calc(100dvh-2rem)] w-[calc(100vw-1.5rem)] -translate-x-1/2 -translate-y-1/2 flex-col rounded-lg border border-line bg-raised shadow-pop outline-none", wide ? "max-w-3xl" : "max-w-md")}
        >
          <div className="flex items-start gap-3 border-b border-line px-4 py-3">
            <div className="min-w-0 flex-1">
              <D.Title className="text-sm font-semibold">{title}</D.Title>
              {description && <D.Description className="mt-0.5 text-13 text-muted">{description}</D.Description>}
            </div>
            <D.Close asChild><IconButton size="sm" label={closeLabel}><X className="size-4" aria-hidden /></IconButton></D.Close>
          </div>
          <div className="min-h-0 flex-1 overflow-y-auto px-4 py-4">{children}</div>
          {footer && <div className="flex flex-wrap justify-end gap-2 border-t border-line px-4 py-3">{footer}</div>}
        </D.Content>
      </D.Portal>
    </D.Root>
  );
}

/** A panel at the side. Not modal: the list beside it stays usable. */
export function SidePanel({ open, onClose, title, children }: { open: boolean; onClose: () => void; title: string; children: ReactNode }) {
  return (
    <D.Root open={open} onOpenChange={(next) => !next && onClose()} modal={false}>
      <D.Portal>
        <D.Content
          data-panel
          aria-describedby={undefined}
          onInteractOutside={(event) => event.preventDefault()}
          onOpenAutoFocus={(event) => event.preventDefault()}
          onCloseAutoFocus={(event) => event.preventDefault()}
          className="fixed top-12 right-0 bottom-0 z-30 flex w-full max-w-md flex-col overflow-y-auto border-l border-line bg-surface shadow-pop outline-none animate-slide"
        >
          <D.Title className="sr-only">{title}</D.Title>
          {children}
        </D.Content>
      </D.Portal>
    </D.Root>
  );
}

/** A drawer for navigation on small screens. */
export function Drawer({ open, onOpenChange, title, children }: { open: boolean; onOpenChange: (open: boolean) => void; title: string; children: ReactNode }) {
  return (
    <D.Root open={open} onOpenChange={onOpenChange}>
      <D.Portal>
        <D.Overlay className={veil} />
        <D.Content aria-describedby={undefined} onOpenAutoFocus={focusItself} className="fixed inset-y-0 left-0 z-50 flex w-64 flex-col border-r border-line bg-surface outline-none">
          <D.Title className="sr-only">{title}</D.Title>
          {children}
        </D.Content>
      </D.Portal>
    </D.Root>
  );
}

const surface = "z-60 rounded-md border border-line bg-raised p-1 shadow-pop animate-appear";
const itemClass = "flex h-8 cursor-default items-center gap-2 rounded px-2 text-13 outline-none select-none data-[disabled]:opacity-50 data-[highlighted]:bg-hover";

export function Menu({ trigger, children, align = "end", label }: { trigger: ReactNode; children: ReactNode; align?: "start" | "end"; label?: string }) {
  return (
    <M.Root modal={false}>
      <M.Trigger asChild>{trigger}</M.Trigger>
      <M.Portal>
        <M.Content align={align} sideOffset={4} collisionPadding={8} aria-label={label} className={clsx(surface, "max-h-[min(28rem,var(--radix-dropdown-menu-content-available-height))] min-w-44 overflow-y-auto")}>{children}</M.Content>
      </M.Portal>
    </M.Root>
  );
}

export function MenuItem({ icon, danger = false, children, className, ...rest }: ComponentProps<typeof M.Item> & { icon?: ReactNode; danger?: boolean }) {
  return <M.Item className={clsx(itemClass, danger && "text-bad", className)} {...rest}>{icon}{children}</M.Item>;
}

export function MenuCheckItem({ children, keepOpen = true, ...rest }: ComponentProps<typeof M.CheckboxItem> & { keepOpen?: boolean }) {
  return (
    <M.CheckboxItem className={clsx(itemClass, "pl-7 relative")} onSelect={(event) => keepOpen && event.preventDefault()} {...rest}>
      <M.ItemIndicator className="absolute left-2"><Check className="size-4 text-accent" aria-hidden /></M.ItemIndicator>
      {children}
    </M.CheckboxItem>
  );
}

export const MenuLabel = ({ children }: { children: ReactNode }) => <M.Label className="px-2 pt-1.5 pb-1 text-xs text-faint">{children}</M.Label>;
export const MenuLine = () => <M.Separator className="my-1 h-px bg-line" />;

export function Popover({ trigger, children, open, onOpenChange, align = "start", className }: { trigger: ReactNode; children: ReactNode; open?: boolean; onOpenChange?: (open: boolean) => void; align?: "start" | "end" | "center"; className?: string }) {
  return (
    <P.Root {...(open !== undefined && { open })} {...(onOpenChange && { onOpenChange })}>
      <P.Trigger asChild>{trigger}</P.Trigger>
      <P.Portal>
        <P.Content align={align} sideOffset={4} collisionPadding={8} className={clsx(surface, "outline-none", className)}>{children}</P.Content>
      </P.Portal>
    </P.Root>
  );
}
