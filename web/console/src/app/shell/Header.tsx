/** Header: scope, palette, live connection, theme, account. */
import { Bdi, IconButton, Kbd, Menu, MenuItem, MenuLabel, MenuLine, Popover, Button, setTheme, toneText, useTheme, type ThemeChoice, type Tone } from "@unifyit/ui";
import clsx from "clsx";
import { Keyboard, KeyRound, LogOut, Menu as MenuIcon, Monitor, Moon, Radio, Search, Sun, UserRound, type LucideIcon } from "lucide-react";
import { memo, useState } from "react";
import { reconnectNow, useConnection } from "@/api/events/live";
import type { Connection } from "@/api/events/socket";
import { useSignOut, useUser } from "@/api/session";
import { useNow } from "@/lib/clock";
import { t } from "@/strings";
import { PasswordDialog } from "./PasswordDialog";
import { ScopePicker } from "./ScopePicker";

const tones: Record<Connection, Tone> = { live: "ok", connecting: "info", waiting: "warn", closed: "off" };

function LiveState() {
  const { state, retryAt } = useConnection();
  // Only a countdown ticks.
  useNow(retryAt === null ? 3_600_000 : 1000);
  const seconds = retryAt === null ? 0 : Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
  const detail = state === "waiting" ? t.live.waitingDetail(seconds) : t.live[`${state}Detail` as const];
  return (
    <Popover
      align="end"
      className="w-64 p-3"
      trigger={
        <button type="button" className="flex h-8 items-center gap-1.5 rounded-md px-2 text-13 text-muted hover:bg-hover hover:text-text">
          <Radio className={clsx("size-4", toneText[tones[state]])} aria-hidden />
          <span className="sr-only sm:not-sr-only" aria-live="polite">{t.live[state]}</span>
        </button>
      }
    >
      <p className="text-13">{detail}</p>
      {state === "waiting" && <Button size="sm" className="mt-2" onClick={reconnectNow}>{t.live.now}</Button>}
    </Popover>
  );
}

const themes: readonly (readonly [ThemeChoice, string, LucideIcon])[] = [["light", t.theme.light, Sun], ["dark", t.theme.dark, Moon], ["system", t.theme.system, Monitor]];

function Account({ onHelp }: { onHelp: () => void }) {
  const user = useUser();
  const signOut = useSignOut();
  const { choice } = useTheme();
  const [password, setPassword] = useState(false);
  return (
    <>
      <Menu label={t.account.label} trigger={<IconButton label={t.account.label}><UserRound className="size-4" aria-hidden /></IconButton>}>
        <div className="max-w-64 px-2 py-1.5">
          <p className="clip text-13 font-medium"><Bdi>{user.name}</Bdi></p>
          <p className="clip text-xs text-faint"><Bdi>{user.email}</Bdi></p>
        </div>
        <MenuLine />
        <MenuLabel>{t.theme.label}</MenuLabel>
        {themes.map(([value, label, Icon]) => (
          <MenuItem key={value} icon={<Icon className="size-4 text-faint" aria-hidden />} onSelect={() => setTheme(value)}>
            {label}
            {choice === value && <span className="ml-auto text-xs text-accent">✓</span>}
          </MenuItem>
        ))}
        <MenuLine />
        <MenuItem icon={<Keyboard className="size-4 text-faint" aria-hidden />} onSelect={onHelp}>{t.keyboard.open}<span className="ml-auto"><Kbd>?</Kbd></span></MenuItem>
        <MenuItem icon={<KeyRound className="size-4 text-faint" aria-hidden />} onSelect={() => setPassword(true)}>{t.account.password}</MenuItem>
        <MenuItem icon={<LogOut className="size-4 text-faint" aria-hidden />} onSelect={() => signOut.mutate()}>{t.account.signOut}</MenuItem>
      </Menu>
      <PasswordDialog open={password} onOpenChange={setPassword} />
    </>
  );
}

export const Header = memo(function Header({ onPalette, onNav, onHelp }: { onPalette: () => void; onNav: () => void; onHelp: () => void }) {
  const mac = typeof navigator !== "undefined" && /Mac/.test(navigator.platform);
  return (
    <header className="col-start-1 col-end-3 flex items-center gap-1.5 border-b border-line bg-surface px-2 md:col-start-2 md:px-4">
      <IconButton label={t.nav.open} className="md:hidden" onClick={onNav}><MenuIcon className="size-4" aria-hidden /></IconButton>
      <ScopePicker />
      <div className="flex-1" />
      <button
        type="button"
        onClick={onPalette}
        aria-label={t.palette.open}
        className="flex h-8 items-center gap-2 rounded-md px-2 text-13 text-muted hover:bg-hover hover:text-text lg:w-56 lg:border lg:border-line-strong lg:bg-bg"
      >
        <Search className="size-4" aria-hidden />
        <span className="hidden flex-1 text-left lg:inline">{t.palette.hint}</span>
        <span className="hidden gap-0.5 lg:flex"><Kbd>{mac ? "⌘" : "Ctrl"}</Kbd><Kbd>K</Kbd></span>
      </button>
      <LiveState />
      <Account onHelp={onHelp} />
    </header>
  );
});
