/** Navigation: icon and word; only what exists and what the person may use. */
import { Drawer, IconButton, Tip } from "@unifyit/ui";
import { Link } from "@tanstack/react-router";
import clsx from "clsx";
import { Archive, KeyRound, LayoutDashboard, ListChecks, Monitor, PanelLeftClose, PanelLeftOpen, ScrollText, Server, SquareTerminal, Users, type LucideIcon } from "lucide-react";
import { memo } from "react";
import { useUser } from "@/api/session";
import type { Capability } from "@/api/types";
import { t } from "@/strings";
import mark from "@/assets/mark.svg";

type Target = "/" | "/devices" | "/sites" | "/tasks" | "/terminal" | "/audit" | "/admin/api-keys" | "/admin/users" | "/admin/retention";

export interface NavItem {
  to: Target;
  label: string;
  icon: LucideIcon;
  /** What a person must be allowed to see it. */
  needs?: Capability;
}

/** Those of the pages that the person may use. */
export function allowed(items: readonly NavItem[], may: readonly Capability[]): readonly NavItem[] {
  return items.filter((item) => item.needs === undefined || may.includes(item.needs));
}

/** Every page, in the order of the navigation. */
export const navItems: readonly NavItem[] = [
  { to: "/", label: t.nav.overview, icon: LayoutDashboard },
  { to: "/devices", label: t.nav.devices, icon: Monitor },
  { to: "/sites", label: t.nav.sites, icon: Server },
  { to: "/tasks", label: t.nav.tasks, icon: ListChecks },
  { to: "/terminal", label: t.nav.terminal, icon: SquareTerminal, needs: "open_terminal" },
  { to: "/audit", label: t.nav.audit, icon: ScrollText, needs: "read_audit" },
];

export const adminItems: readonly NavItem[] = [
  { to: "/admin/api-keys", label: t.nav.apiKeys, icon: KeyRound, needs: "manage_api_keys" },
  { to: "/admin/users", label: t.nav.users, icon: Users, needs: "manage_users" },
  { to: "/admin/retention", label: t.nav.retention, icon: Archive, needs: "manage_organizations" },
];

function Item({ item, collapsed }: { item: NavItem; collapsed: boolean }) {
  const Icon = item.icon;
  const link = (
    <Link
      to={item.to}
      activeOptions={{ exact: item.to === "/", includeSearch: false }}
      aria-label={collapsed ? item.label : undefined}
      className={clsx("flex h-8 items-center gap-2.5 rounded-md text-13 text-muted hover:bg-hover hover:text-text", collapsed ? "w-8 justify-center" : "px-2")}
      activeProps={{ className: "!bg-accent-soft !text-accent font-medium" }}
    >
      <Icon className="size-4 shrink-0" aria-hidden />
      {!collapsed && item.label}
    </Link>
  );
  return <li>{collapsed ? <Tip label={item.label} side="right">{link}</Tip> : link}</li>;
}

function List({ collapsed }: { collapsed: boolean }) {
  const { may } = useUser();
  const admin = allowed(adminItems, may);
  return (
    <nav aria-label={t.nav.label} className="flex min-h-0 flex-1 flex-col">
      <Brand collapsed={collapsed} />
      <div className="min-h-0 flex-1 overflow-y-auto p-2">
      <ul className="flex flex-col gap-0.5">{allowed(navItems, may).map((item) => <Item key={item.to} item={item} collapsed={collapsed} />)}</ul>
      {admin.length > 0 && (
        <>
          {collapsed ? <hr className="my-3 border-line" /> : <p className="mt-5 mb-1 px-2 text-xs text-faint">{t.nav.administration}</p>}
          <ul className="flex flex-col gap-0.5">{admin.map((item) => <Item key={item.to} item={item} collapsed={collapsed} />)}</ul>
        </>
      )}
      </div>
    </nav>
  );
}

function Brand({ collapsed }: { collapsed: boolean }) {
  return (
    <Link to="/" className="flex h-12 shrink-0 items-center gap-2.5 border-b border-line px-3.5" aria-label={t.product}>
      <img src={mark} alt="" className="size-5" />
      {!collapsed && <span className="font-semibold tracking-tight">{t.product}</span>}
    </Link>
  );
}

export const Nav = memo(function Nav({ collapsed, onCollapse }: { collapsed: boolean; onCollapse: () => void }) {
  const label = collapsed ? t.nav.expand : t.nav.collapse;
  return (
    <div className={clsx("row-span-2 hidden flex-col border-r border-line bg-surface md:flex", collapsed ? "w-12" : "w-52")}>
      <List collapsed={collapsed} />
      <div className="p-2">
        <IconButton label={label} onClick={onCollapse}>
          {collapsed ? <PanelLeftOpen className="size-4" aria-hidden /> : <PanelLeftClose className="size-4" aria-hidden />}
        </IconButton>
      </div>
    </div>
  );
});

export function MobileNav({ open, onOpenChange }: { open: boolean; onOpenChange: (open: boolean) => void }) {
  return (
    <Drawer open={open} onOpenChange={onOpenChange} title={t.nav.label}>
      <List collapsed={false} />
    </Drawer>
  );
}
