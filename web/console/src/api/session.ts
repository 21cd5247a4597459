/** Who is signed in: the session query, sign-in, sign-out and password. */
import { queryOptions, useMutation, useQueryClient, useSuspenseQuery, type QueryClient } from "@tanstack/react-query";
import { ApiError, call, get, setCsrf, whenSignedOut } from "./http";
import { recall, remember } from "@/lib/storage";
import { keys } from "./keys";
import type { Capability, Session } from "./types";

/** Remembers whether this browser's last answer was a session. */
const KNOWN = "session";

/** Whether somebody was signed in when the console was open last. Says nothing of rights: only the server does. */
export const wasSignedIn = () => recall<boolean>(KNOWN, false);

async function load(signal: AbortSignal): Promise<Session | null> {
  try {
    const session = await get<Session>("/auth/session", undefined, signal);
    setCsrf(session.csrf_token);
    remember(KNOWN, true);
    return session;
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) {
      remember(KNOWN, false);
      return null;
    }
    throw error;
  }
}

/** The session, or null when nobody is signed in. */
export const sessionQuery = queryOptions({
  queryKey: keys.session,
  queryFn: ({ signal }) => load(signal),
  staleTime: Number.POSITIVE_INFINITY,
});

/** Clears everything a person saw when their session ends elsewhere. */
export function bindSession(client: QueryClient): void {
  whenSignedOut(() => {
    if (client.getQueryData(keys.session) == null) return;
    remember(KNOWN, false);
    sessionStorage.clear();
    setCsrf(null);
    client.setQueryData(keys.session, null);
  });
}

/** The signed-in person. Only below the shell, which guarantees one. */
export function useUser() {
  const { data } = useSuspenseQuery(sessionQuery);
  if (!data) throw new Error("useUser outside of a session");
  return data.user;
}

/** Whether the signed-in person may do something: what they may not is not offered. */
export function useMay(what: Capability): boolean {
  return useUser().may.includes(what);
}

export function useSignIn() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: { email: string; password: string }) => call<Session>("POST", "/auth/login", { body }),
    onSuccess: (session) => {
      remember(KNOWN, true);
      setCsrf(session.csrf_token);
      client.setQueryData(keys.session, session);
    },
  });
}

export function useSignOut() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () => call<void>("POST", "/auth/logout"),
    onSettled: () => {
      remember(KNOWN, false);
      sessionStorage.clear();
      setCsrf(null);
      client.clear();
      client.setQueryData(keys.session, null);
    },
  });
}

export function useChangePassword() {
  return useMutation({ mutationFn: (body: { current: string; new: string }) => call<void>("POST", "/auth/password", { body }) });
}
