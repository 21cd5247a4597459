/** Either the sign-in or the one screen; the session decides. */
import { Button, Spinner } from "@unifyit/ui";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { api, Refusal } from "./api";
import { Screen } from "./Screen";
import { SignIn } from "./SignIn";
import { t } from "./strings";

export function App() {
  const client = useQueryClient();
  const session = useQuery({ queryKey: ["session"], queryFn: api.session, staleTime: Number.POSITIVE_INFINITY });
  if (session.isPending) return <main className="flex h-full items-center justify-center"><Spinner label={t.loading} /></main>;
  if (session.isSuccess) {
    return (
      <Screen
        onSignedOut={() => {
          client.clear();
          void client.resetQueries({ queryKey: ["session"] });
        }}
      />
    );
  }
  if (session.error instanceof Refusal && session.error.status === 0) {
    return (
      <main className="mx-auto flex h-full max-w-sm flex-col items-center justify-center gap-4 px-6 text-center">
        <p role="alert" className="text-base">{t.signIn.unreachable}</p>
        <Button size="lg" onClick={() => void session.refetch()}>{t.retry}</Button>
      </main>
    );
  }
  return <SignIn onSignedIn={() => void session.refetch()} />;
}
