/** Errors of the API as sentences with a request id, on screens and in toasts. */
import { ErrorState, toast } from "@unifyit/ui";
import { Component, type ReactNode } from "react";
import { ApiError } from "@/api/http";
import { t } from "@/strings";

const words = { retry: t.errors.retry, request: t.errors.request, copy: t.errors.copyRequest, copied: t.copied };

/** What a failed query shows in its place. */
export function Failure({ error, onRetry, compact = false, page = false }: { error: unknown; onRetry?: () => void; compact?: boolean; page?: boolean }) {
  const known = error instanceof ApiError ? error : null;
  const missing = known?.status === 404;
  return (
    <ErrorState
      title={missing ? t.errors.notFound : (known?.title ?? t.errors.broken)}
      detail={missing ? (known.detail ?? t.errors.notFoundDetail) : (known ? known.detail : t.errors.brokenDetail)}
      requestId={known?.requestId ?? null}
      {...(onRetry && { onRetry })}
      words={words}
      compact={compact}
      page={page}
    />
  );
}

/** Says that an action failed: what happened, and the request id to copy. */
export function toastFailure(error: unknown): void {
  const known = error instanceof ApiError ? error : null;
  const id = known?.requestId;
  toast.error(known?.title ?? t.errors.broken, {
    ...(known?.detail && { description: known.detail }),
    duration: 10_000,
    ...(id && { action: { label: t.errors.copyRequest, onClick: () => void navigator.clipboard?.writeText(id) } }),
  });
}

/** What one sentence says of an error, for forms. */
export function sentence(error: unknown): string {
  if (error instanceof ApiError) return error.detail ?? error.title;
  return t.errors.broken;
}

/** Catches what a screen throws while drawing, so that the rest of the console stays. */
export class Guard extends Component<{ children: ReactNode; resetKey: string }, { error: Error | null }> {
  override state: { error: Error | null } = { error: null };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override componentDidUpdate(before: { resetKey: string }) {
    if (before.resetKey !== this.props.resetKey && this.state.error) this.setState({ error: null });
  }

  override render() {
    if (!this.state.error) return this.props.children;
    return <ErrorState title={t.errors.broken} detail={`${t.errors.brokenDetail} ${this.state.error.message}`} onRetry={() => this.setState({ error: null })} words={words} />;
  }
}
