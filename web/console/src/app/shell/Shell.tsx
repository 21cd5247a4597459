/** The frame around every screen: navigation, header, live connection, keyboard. Without a session it sends to sign-in. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Outlet, useLocation, useNavigate, useRouter, useRouterState } from "@tanstack/react-router";
import clsx from "clsx";
import { lazy, Suspense, useCallback, useDeferredValue, useEffect, useRef, useState } from "react";
import { startLive } from "@/api/events/live";
import { sessionQuery } from "@/api/session";
import { Failure, Guard } from "@/components/failure";
import { useKeys } from "@/lib/keys";
import { useMedia } from "@/lib/media";
import { recall, remember } from "@/lib/storage";
import { t } from "@/strings";
import { Header } from "./Header";
import { KeyboardHelp } from "./KeyboardHelp";
import { MobileNav, Nav } from "./Nav";

const Palette = lazy(() => import("./Palette").then((module) => ({ default: module.Palette })));

/** How long after `g` the second key of a jump counts. */
const JUMP_MS = 1200;
const jumps: Record<string, "/" | "/devices" | "/sites" | "/tasks" | "/audit"> = { o: "/", d: "/devices", s: "/sites", t: "/tasks", a: "/audit" };

export function Shell() {
  const client = useQueryClient();
  const { data: session, error, refetch } = useQuery(sessionQuery);
  const navigate = useNavigate();
  const pathname = useLocation({ select: (location) => location.pathname });
  const router = useRouter();
  const pending = useRouterState({ select: (state) => state.status === "pending" });
  const [chosen, setChosen] = useState<boolean | null>(() => recall<boolean | null>("nav.collapsed", null));
  const tight = useMedia("(max-width: 1023px)");
  const collapsed = chosen ?? tight;
  const [drawer, setDrawer] = useState(false);
  const [palette, setPalette] = useState(false);
  const [help, setHelp] = useState(false);
  const main = useRef<HTMLElement>(null);
  const signedIn = session != null;
  // The session's answer puts the whole frame and its screen on the page: drawn in slices, between which the browser answers to a person.
  const entered = useDeferredValue(signedIn, false);

  useEffect(() => (signedIn ? startLive(client) : undefined), [client, signedIn]);
  useEffect(() => {
    if (session === null) void navigate({ to: "/sign-in", search: { next: router.state.location.href } });
  }, [session, navigate, router]);
  const openPalette = useCallback(() => setPalette(true), []);
  const openHelp = useCallback(() => setHelp(true), []);
  const openDrawer = useCallback(() => setDrawer(true), []);
  const onCollapse = useCallback(() => {
    remember("nav.collapsed", !collapsed);
    setChosen(!collapsed);
  }, [collapsed]);
  usePaletteKey(openPalette);
  useJumps((to) => void navigate({ to }));
  useKeys({ "?": () => setHelp(true) });
  useEffect(() => setDrawer(false), [pathname]);

  if (error && !signedIn) return <Failure page error={error} onRetry={() => void refetch()} />;
  if (!signedIn || !entered) return null;
  return (
    <div className="grid h-full grid-cols-[auto_minmax(0,1fr)] grid-rows-[3rem_minmax(0,1fr)]">
      <a href="#main" className="sr-only z-70 rounded-md bg-accent px-3 py-2 text-on-accent focus:not-sr-only focus:fixed focus:top-2 focus:left-2">{t.nav.skip}</a>
      <Nav collapsed={collapsed} onCollapse={onCollapse} />
      <MobileNav open={drawer} onOpenChange={setDrawer} />
      <Header onPalette={openPalette} onNav={openDrawer} onHelp={openHelp} />
      <main id="main" ref={main} tabIndex={-1} className={clsx("relative col-start-1 col-end-3 min-h-0 overflow-y-auto bg-bg outline-none md:col-start-2", pending && "cursor-progress")}>
        <Guard resetKey={pathname}>
          <Suspense fallback={null}><Outlet /></Suspense>
        </Guard>
      </main>
      {palette && <Suspense fallback={null}><Palette onClose={() => setPalette(false)} onHelp={openHelp} /></Suspense>}
      <KeyboardHelp open={help} onOpenChange={setHelp} />
    </div>
  );
}

/** Ctrl/⌘ K, wherever the focus is. */
function usePaletteKey(open: () => void): void {
  const latest = useRef(open);
  useEffect(() => {
    latest.current = open;
  });
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k") {
        event.preventDefault();
        latest.current();
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
}

/** `g` and then a letter goes to a page. */
function useJumps(go: (to: (typeof jumps)[string]) => void): void {
  const armed = useRef(0);
  const keys: Record<string, (event: KeyboardEvent) => void> = {
    g: () => {
      armed.current = Date.now();
    },
  };
  for (const [key, to] of Object.entries(jumps)) {
    keys[key] = (event) => {
      if (Date.now() - armed.current > JUMP_MS) return;
      armed.current = 0;
      event.preventDefault();
      go(to);
    };
  }
  useKeys(keys);
}
