/** Confirmation of what cannot be taken back: it names what is touched and, above a threshold, asks for the count or name to be typed. */
import { Button, Dialog, Field, Input } from "@unifyit/ui";
import { useId, useState, type ReactNode } from "react";
import { t } from "@/strings";

export interface ConfirmProps {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  title: string;
  children: ReactNode;
  action: string;
  /** Text that must be typed first. */
  typed?: { expected: string; label: string };
  danger?: boolean;
  busy?: boolean;
  onConfirm: () => void;
}

export function Confirm({ open, onOpenChange, ...rest }: ConfirmProps) {
  return open ? <Body {...rest} onOpenChange={onOpenChange} /> : null;
}

function Body({ onOpenChange, title, children, action, typed, danger = false, busy = false, onConfirm }: Omit<ConfirmProps, "open">) {
  const [text, setText] = useState("");
  const form = useId();
  const ready = !typed || text.replace(/[\s.,’']/g, "") === typed.expected.replace(/[\s.,’']/g, "");
  return (
    <Dialog
      open
      onOpenChange={onOpenChange}
      title={title}
      closeLabel={t.close}
      footer={
        <>
          <Button onClick={() => onOpenChange(false)}>{t.cancel}</Button>
          <Button variant={danger ? "danger" : "primary"} type="submit" form={form} busy={busy} disabled={!ready || busy}>{action}</Button>
        </>
      }
    >
      <form
        id={form}
        className="flex flex-col gap-3"
        onSubmit={(event) => {
          event.preventDefault();
          if (ready && !busy) onConfirm();
        }}
      >
        <div className="text-13 text-muted">{children}</div>
        {typed && (
          <Field label={typed.label}>
            {(control) => <Input {...control} autoFocus autoComplete="off" value={text} onChange={(event) => setText(event.target.value)} />}
          </Field>
        )}
      </form>
    </Dialog>
  );
}
