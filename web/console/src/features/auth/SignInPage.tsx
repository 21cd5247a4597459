/** Sign-in: one form, one sentence when it fails. */
import { Button, Field, Input } from "@unifyit/ui";
import { useRouter, useSearch } from "@tanstack/react-router";
import { CircleAlert } from "lucide-react";
import { useEffect, useState, type ReactElement } from "react";
import { ApiError } from "@/api/http";
import { useSignIn } from "@/api/session";
import { sentence } from "@/components/failure";
import { t } from "@/strings";
import mark from "@/assets/mark.svg";

export function SignInPage(): ReactElement {
  const { next } = useSearch({ from: "/sign-in" });
  const router = useRouter();
  const signIn = useSignIn();
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  useEffect(() => {
    document.title = `${t.signIn.title} · ${t.product}`;
  }, []);
  const wrong = signIn.error instanceof ApiError && signIn.error.status === 401;
  return (
    <main className="flex min-h-full items-center justify-center bg-bg px-4 py-10">
      <form
        className="flex w-full max-w-80 flex-col gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          signIn.mutate({ email, password }, { onSuccess: () => router.history.push(next ?? "/") });
        }}
      >
        <div className="flex items-center gap-2.5">
          <img src={mark} alt="" className="size-8" />
          <h1 className="text-lg font-semibold tracking-tight">{t.product}</h1>
        </div>
        <Field label={t.signIn.email}>
          {(control) => <Input {...control} className="!h-9" type="email" name="email" autoComplete="username" autoFocus required value={email} onChange={(event) => setEmail(event.target.value)} />}
        </Field>
        <Field label={t.signIn.password}>
          {(control) => <Input {...control} className="!h-9" type="password" name="password" autoComplete="current-password" required value={password} onChange={(event) => setPassword(event.target.value)} />}
        </Field>
        {signIn.isError && (
          <p role="alert" className="flex items-start gap-2 text-13 text-bad">
            <CircleAlert className="mt-0.5 size-4 shrink-0" aria-hidden />
            {wrong ? t.signIn.failed : sentence(signIn.error)}
          </p>
        )}
        <Button type="submit" variant="primary" size="lg" busy={signIn.isPending}>{t.signIn.submit}</Button>
      </form>
    </main>
  );
}
