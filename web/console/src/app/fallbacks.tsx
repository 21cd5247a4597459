/** What is shown for an address that does not exist, or a screen that could not load. */
import { buttonClass, EmptyState } from "@unifyit/ui";
import { Link, useRouter } from "@tanstack/react-router";
import { Compass } from "lucide-react";
import { Failure } from "@/components/failure";
import { t } from "@/strings";

export function NotFound() {
  return (
    <EmptyState icon={Compass} title={t.errors.notFound} action={<Link to="/" className={buttonClass()}>{t.nav.overview}</Link>}>
      {t.errors.notFoundDetail}
    </EmptyState>
  );
}

export function RouteFailure({ error, reset }: { error: unknown; reset: () => void }) {
  const router = useRouter();
  return (
    <Failure
      error={error}
      onRetry={() => {
        reset();
        void router.invalidate();
      }}
    />
  );
}
