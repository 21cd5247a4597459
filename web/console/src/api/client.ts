/** The query client: when answers count as fresh and what is tried again. */
import { notifyManager, QueryClient } from "@tanstack/react-query";
import { ApiError } from "./http";

/** Whether another try may help: no answer, or a server that is starting. */
export function mayRetry(failures: number, error: Error): boolean {
  if (!(error instanceof ApiError)) return false;
  return failures < 3 && (error.status === 0 || error.status === 502 || error.status === 503 || error.status === 504);
}

export function createClient(): QueryClient {
  // An answer is drawn in the task that brings it, not in a later one behind what the browser has begun meanwhile.
  notifyManager.setScheduler(queueMicrotask);
  return new QueryClient({
    defaultOptions: {
      queries: { staleTime: 15_000, gcTime: 300_000, retry: mayRetry, refetchOnWindowFocus: false },
      mutations: { retry: false },
    },
  });
}
