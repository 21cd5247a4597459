/** Sign-in by the site's PIN. Works without the internet. */
import { Button, Field, Input } from "@unifyit/ui";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { api, Refusal } from "./api";
import mark from "./mark.svg";
import { t } from "./strings";

function words(error: Error): string {
  if (error instanceof Refusal && error.status === 0) return t.signIn.unreachable;
  return error.message === "" ? t.signIn.failed : error.message;
}

export function SignIn({ onSignedIn }: { onSignedIn: () => void }) {
  const [pin, setPin] = useState("");
  const signIn = useMutation({ mutationFn: () => api.signIn(pin), onSuccess: onSignedIn });
  return (
    <main className="flex min-h-full items-center justify-center bg-bg px-6 py-10">
      <form
        className="flex w-full max-w-80 flex-col gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          signIn.mutate();
        }}
      >
        <div className="flex items-center gap-2.5">
          <img src={mark} alt="" className="size-8" />
          <h1 className="text-lg font-semibold tracking-tight">{t.signIn.title}</h1>
        </div>
        <Field label={t.signIn.pin} hint={t.signIn.hint} error={signIn.isError ? words(signIn.error) : null}>
          {(control) => (
            <Input {...control} className="!h-11 !text-lg tracking-widest" type="password" inputMode="numeric" name="pin" autoComplete="current-password" autoFocus maxLength={12} value={pin} onChange={(event) => setPin(event.target.value.replace(/\D/g, ""))} />
          )}
        </Field>
        <Button type="submit" variant="primary" size="lg" busy={signIn.isPending} disabled={pin.length < 6}>{t.signIn.submit}</Button>
      </form>
    </main>
  );
}
