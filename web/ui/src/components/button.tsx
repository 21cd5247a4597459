/** Buttons: one primary a view, the rest quiet. A busy button keeps its width and its place in the tab order. */
import clsx from "clsx";
import { LoaderCircle } from "lucide-react";
import { Slot } from "radix-ui";
import type { ComponentProps, ReactNode } from "react";
import { tame } from "./badge";
import { Tip } from "./tooltip";

export type ButtonVariant = "primary" | "secondary" | "ghost" | "danger";

const base =
  "inline-flex items-center justify-center gap-1.5 rounded-md font-medium whitespace-nowrap select-none transition-colors duration-100 disabled:opacity-55 aria-disabled:opacity-55 shrink-0";
const variants: Record<ButtonVariant, string> = {
  primary: "bg-accent-solid text-on-accent enabled:hover:bg-accent-hover",
  secondary: "bg-surface text-text border border-line-strong enabled:hover:bg-hover",
  ghost: "text-muted enabled:hover:bg-hover enabled:hover:text-text",
  danger: "bg-surface text-bad border border-line-strong enabled:hover:bg-bad-soft enabled:hover:border-bad",
};
const sizes = { sm: "h-7 px-2 text-13", md: "h-8 px-3 text-13", lg: "h-10 px-4 text-sm" };

export interface ButtonProps extends ComponentProps<"button"> {
  variant?: ButtonVariant;
  size?: keyof typeof sizes;
  busy?: boolean;
  icon?: ReactNode;
  /** Draw as the only child, for links that look like buttons. */
  asChild?: boolean;
}

/** The classes of a button, for links that look like one. */
export function buttonClass(variant: ButtonVariant = "secondary", size: keyof typeof sizes = "md", extra?: string): string {
  return clsx(base, variants[variant], variant === "secondary" && "hover:bg-hover", variant === "primary" && "hover:bg-accent-hover", variant === "ghost" && "hover:bg-hover hover:text-text", sizes[size], extra);
}

export function Button({ variant = "secondary", size = "md", busy = false, icon, asChild, className, children, disabled, ...rest }: ButtonProps) {
  if (asChild) {
    return <Slot.Root className={buttonClass(variant, size, className)} {...rest}>{children}</Slot.Root>;
  }
  return (
    <button type="button" className={clsx(base, variants[variant], sizes[size], className)} disabled={disabled ?? busy} aria-busy={busy || undefined} {...rest}>
      {busy ? <LoaderCircle className="size-3.5 animate-turn" aria-hidden /> : icon}
      {children}
    </button>
  );
}

export interface IconButtonProps extends Omit<ComponentProps<"button">, "aria-label"> {
  /** Says what it does: tooltip and accessible name. */
  label: string;
  size?: "sm" | "md";
  pressed?: boolean;
}

/** A button that is an icon, with its word in a tooltip. */
export function IconButton({ label, size = "md", pressed, className, children, ...rest }: IconButtonProps) {
  return (
    <Tip label={tame(label)}>
      <button
        type="button"
        aria-label={tame(label)}
        aria-pressed={pressed}
        className={clsx(
          "inline-flex items-center justify-center rounded-md text-muted transition-colors duration-100 enabled:hover:bg-hover enabled:hover:text-text disabled:opacity-45 shrink-0",
          size === "sm" ? "size-7" : "size-8",
          pressed && "bg-accent-soft text-accent",
          className,
        )}
        {...rest}
      >
        {children}
      </button>
    </Tip>
  );
}
