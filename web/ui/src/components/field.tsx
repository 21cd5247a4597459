/** Form fields: a label always, a hint when it helps, an error that says what to do. */
import clsx from "clsx";
import { Check, ChevronDown, Minus } from "lucide-react";
import { useId, type ComponentProps, type ReactNode } from "react";
import { tame } from "./badge";

const control =
  "w-full rounded-md border border-line-strong bg-surface text-text placeholder:text-faint transition-colors duration-100 hover:border-off-solid focus-visible:outline-offset-0 disabled:bg-sunken disabled:text-muted aria-invalid:border-bad";

/** Attributes that tie a control to its label and messages. */
export interface FieldControl {
  id: string;
  "aria-describedby": string | undefined;
  "aria-invalid": true | undefined;
}

export function Field({ label, hint, error, children, className }: { label: string; hint?: ReactNode; error?: string | null | undefined; children: (control: FieldControl) => ReactNode; className?: string }) {
  const id = useId();
  const messageId = `${id}-message`;
  const message = error ?? hint;
  return (
    <div className={clsx("flex min-w-0 flex-col gap-1", className)}>
      <label htmlFor={id} className="text-13 font-medium">{label}</label>
      {children({ id, "aria-describedby": message ? messageId : undefined, "aria-invalid": error ? true : undefined })}
      {message && <p id={messageId} role={error ? "alert" : undefined} className={clsx("text-xs", error ? "text-bad" : "text-faint")}>{message}</p>}
    </div>
  );
}

export function Input({ className, type = "text", ...rest }: ComponentProps<"input">) {
  return <input type={type} className={clsx(control, "h-8 px-2.5 text-13", className)} {...rest} />;
}

export function Textarea({ className, ...rest }: ComponentProps<"textarea">) {
  return <textarea className={clsx(control, "px-2.5 py-1.5 text-13", className)} {...rest} />;
}

/** The browser's own select: keyboard, screen readers and phones know it. */
export function Select({ className, children, ...rest }: ComponentProps<"select">) {
  return (
    <span className={clsx("relative inline-flex min-w-0", className)}>
      <select className={clsx(control, "h-8 appearance-none py-0 pr-8 pl-2.5 text-13")} {...rest}>{children}</select>
      <ChevronDown className="pointer-events-none absolute top-2 right-2 size-4 text-faint" aria-hidden />
    </span>
  );
}

const box =
  "inline-flex size-4 shrink-0 items-center justify-center rounded border border-line-strong bg-surface text-on-accent hover:border-accent disabled:opacity-55 aria-checked:border-accent-solid aria-checked:bg-accent-solid aria-[checked=mixed]:border-accent-solid aria-[checked=mixed]:bg-accent-solid";

export interface CheckboxProps extends Omit<ComponentProps<"button">, "children"> {
  label: string;
  checked: boolean | "indeterminate";
  onCheckedChange?: (checked: boolean) => void;
}

/** A box to tick. A plain button, because a list draws one a row. */
export function Checkbox({ label, checked, onCheckedChange, className, ...rest }: CheckboxProps) {
  return (
    <button
      type="button"
      role="checkbox"
      aria-checked={checked === "indeterminate" ? "mixed" : checked}
      aria-label={tame(label)}
      className={className === undefined ? box : clsx(box, className)}
      {...(onCheckedChange && { onClick: () => onCheckedChange(checked !== true) })}
      {...rest}
    >
      {checked === true && <Check className="size-3" strokeWidth={3} aria-hidden />}
      {checked === "indeterminate" && <Minus className="size-3" strokeWidth={3} aria-hidden />}
    </button>
  );
}
