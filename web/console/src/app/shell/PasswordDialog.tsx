/** Changing one's own password. */
import { Button, Dialog, Field, Input, toast } from "@unifyit/ui";
import { useState } from "react";
import { useChangePassword } from "@/api/session";
import { sentence } from "@/components/failure";
import { t } from "@/strings";

const SHORTEST = 10;

export function PasswordDialog({ open, onOpenChange }: { open: boolean; onOpenChange: (open: boolean) => void }) {
  const change = useChangePassword();
  const [current, setCurrent] = useState("");
  const [next, setNext] = useState("");
  const close = (shown: boolean) => {
    if (!shown) {
      setCurrent("");
      setNext("");
      change.reset();
    }
    onOpenChange(shown);
  };
  return (
    <Dialog
      open={open}
      onOpenChange={close}
      title={t.account.password}
      closeLabel={t.close}
      footer={
        <>
          <Button onClick={() => close(false)}>{t.cancel}</Button>
          <Button variant="primary" type="submit" form="password-form" busy={change.isPending} disabled={next.length < SHORTEST || current === ""}>{t.save}</Button>
        </>
      }
    >
      <form
        id="password-form"
        className="flex flex-col gap-3"
        onSubmit={(event) => {
          event.preventDefault();
          change.mutate({ current, new: next }, {
            onSuccess: () => {
              toast.success(t.account.changed);
              close(false);
            },
          });
        }}
      >
        <Field label={t.account.current} error={change.isError ? sentence(change.error) : null}>
          {(control) => <Input {...control} type="password" autoComplete="current-password" value={current} onChange={(event) => setCurrent(event.target.value)} />}
        </Field>
        <Field label={t.account.next} hint={t.account.nextHint}>
          {(control) => <Input {...control} type="password" autoComplete="new-password" value={next} onChange={(event) => setNext(event.target.value)} />}
        </Field>
      </form>
    </Dialog>
  );
}
