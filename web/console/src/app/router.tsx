/**
 * The table of contents: every address of the console, what it loads and what its URL may say. The first data of the
 * screens that are opened most is asked for together with their code (`ahead.ts`).
 */
import type { QueryClient } from "@tanstack/react-query";
import { createRootRouteWithContext, createRoute, createRouter, lazyRouteComponent, notFound, Outlet, redirect, retainSearchParams } from "@tanstack/react-router";
import { sessionQuery, wasSignedIn } from "@/api/session";
import type { Capability } from "@/api/types";
import { recall } from "@/lib/storage";
import { SignInPage } from "@/features/auth/SignInPage";
import * as ahead from "./ahead";
import { NotFound, RouteFailure } from "./fallbacks";
import * as search from "./search";
import { Shell } from "./shell/Shell";

const root = createRootRouteWithContext<{ client: QueryClient }>()({ component: Outlet });

/** Keeps an address from who may not use it; for them there is no such page. */
const needs = (what: Capability) => async ({ context }: { context: { client: QueryClient } }) => {
  const session = await context.client.ensureQueryData(sessionQuery);
  if (session && !session.user.may.includes(what)) throw notFound();
};

const signIn = createRoute({
  getParentRoute: () => root,
  path: "/sign-in",
  validateSearch: search.signIn,
  beforeLoad: async ({ context, search: { next } }) => {
    const session = await context.client.ensureQueryData(sessionQuery).catch(() => null);
    if (session) throw redirect({ href: next ?? "/" });
  },
  component: SignInPage,
});

const shell = createRoute({
  getParentRoute: () => root,
  id: "shell",
  validateSearch: search.shell,
  search: { middlewares: [retainSearchParams(["scope"])] },
  beforeLoad: async ({ context, location }) => {
    const asked = context.client.ensureQueryData(sessionQuery);
    // Who was signed in most likely still is: the screen's data need not wait for the answer. The shell looks at it.
    if (wasSignedIn()) return void asked.catch(() => undefined);
    const session = await asked;
    if (!session) throw redirect({ to: "/sign-in", search: { next: location.href } });
  },
  component: Shell,
  errorComponent: RouteFailure,
});

const overview = createRoute({
  getParentRoute: () => shell,
  path: "/",
  ...ahead.once,
  loader: ({ context, location }) => ahead.overview(context.client, location.search),
  component: lazyRouteComponent(() => import("@/features/overview/OverviewPage"), "OverviewPage"),
});

const devices = createRoute({
  getParentRoute: () => shell,
  path: "/devices",
  validateSearch: search.devices,
  ...ahead.once,
  loader: ({ context, location }) => ahead.devices(context.client, location.search),
  component: lazyRouteComponent(() => import("@/features/devices/DevicesPage"), "DevicesPage"),
});

const device = createRoute({
  getParentRoute: () => shell,
  path: "/devices/$deviceId",
  validateSearch: search.device,
  ...ahead.once,
  loader: ({ context, params, location }) => ahead.device(context.client, params.deviceId, location.search),
  component: lazyRouteComponent(() => import("./routes/device"), "DeviceRoute"),
});

const tasks = createRoute({
  getParentRoute: () => shell,
  path: "/tasks",
  validateSearch: search.tasks,
  component: lazyRouteComponent(() => import("@/features/tasks/TasksPage"), "TasksPage"),
});

const newTask = createRoute({
  getParentRoute: () => shell,
  path: "/tasks/new",
  beforeLoad: needs("run_tasks"),
  validateSearch: search.newTask,
  component: lazyRouteComponent(() => import("@/features/tasks/NewTaskPage"), "NewTaskPage"),
});

const task = createRoute({
  getParentRoute: () => shell,
  path: "/tasks/$taskId",
  validateSearch: search.task,
  component: lazyRouteComponent(() => import("@/features/tasks/TaskPage"), "TaskPage"),
});

const terminal = createRoute({
  getParentRoute: () => shell,
  path: "/terminal",
  beforeLoad: needs("open_terminal"),
  validateSearch: search.terminal,
  component: lazyRouteComponent(() => import("@/features/terminal/TerminalPage"), "TerminalPage"),
});

const sites = createRoute({
  getParentRoute: () => shell,
  path: "/sites",
  component: lazyRouteComponent(() => import("@/features/sites/SitesPage"), "SitesPage"),
});

const setup = createRoute({
  getParentRoute: () => shell,
  path: "/sites/setup",
  beforeLoad: needs("manage_sites"),
  validateSearch: search.setup,
  component: lazyRouteComponent(() => import("@/features/sites/SetupPage"), "SetupPage"),
});

const site = createRoute({
  getParentRoute: () => shell,
  path: "/sites/$siteId",
  validateSearch: search.site,
  component: lazyRouteComponent(() => import("@/features/sites/SitePage"), "SitePage"),
});

const audit = createRoute({
  getParentRoute: () => shell,
  path: "/audit",
  beforeLoad: needs("read_audit"),
  validateSearch: search.audit,
  component: lazyRouteComponent(() => import("@/features/audit/AuditPage"), "AuditPage"),
});

const apiKeys = createRoute({
  getParentRoute: () => shell,
  path: "/admin/api-keys",
  beforeLoad: needs("manage_api_keys"),
  component: lazyRouteComponent(() => import("@/features/admin/ApiKeysPage"), "ApiKeysPage"),
});

const users = createRoute({
  getParentRoute: () => shell,
  path: "/admin/users",
  beforeLoad: needs("manage_users"),
  component: lazyRouteComponent(() => import("@/features/admin/UsersPage"), "UsersPage"),
});

const retention = createRoute({
  getParentRoute: () => shell,
  path: "/admin/retention",
  beforeLoad: needs("manage_organizations"),
  component: lazyRouteComponent(() => import("@/features/admin/RetentionPage"), "RetentionPage"),
});

const tree = root.addChildren([
  signIn,
  shell.addChildren([overview, devices, device, tasks, newTask, task, terminal, sites, setup, site, audit, apiKeys, users, retention]),
]);

/** Puts the remembered scope into the first address when it names none. */
function restoreScope(): void {
  const scope = recall<string | null>("scope", null);
  const url = new URL(location.href);
  if (scope === null || url.searchParams.has("scope") || url.pathname === "/sign-in") return;
  url.searchParams.set("scope", scope);
  history.replaceState(history.state, "", url);
}

export function createConsoleRouter(client: QueryClient) {
  restoreScope();
  return createRouter({
    routeTree: tree,
    context: { client },
    defaultPreload: "intent",
    defaultPreloadStaleTime: 0,
    scrollRestoration: true,
    defaultNotFoundComponent: NotFound,
    defaultErrorComponent: RouteFailure,
    defaultPendingMinMs: 0,
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof createConsoleRouter>;
  }
}
