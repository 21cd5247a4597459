/** Every word of the local UI. Plain words: its readers see it twice a year, under stress. */

const whole = new Intl.NumberFormat(navigator.language, { maximumFractionDigits: 0 });
const one = new Intl.NumberFormat(navigator.language, { maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(navigator.language, { hour: "2-digit", minute: "2-digit" });
const dayAndClock = new Intl.DateTimeFormat(navigator.language, { weekday: "long", day: "numeric", month: "long", hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat(navigator.language, { dateStyle: "full", timeStyle: "medium" });

export const count = (value: number) => whole.format(value);
const computers = (value: number) => `${count(value)} ${value === 1 ? "computer" : "computers"}`;

/** Sizes in binary units. */
export function bytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = value;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${size >= 100 || unit === 0 ? whole.format(size) : one.format(size)} ${units[unit] ?? ""}`;
}

/** "10:14" today, "Friday 20 November, 10:14" on other days. */
export function when(ms: number, now: number): string {
  return new Date(ms).toDateString() === new Date(now).toDateString() ? clock.format(ms) : dayAndClock.format(ms);
}
export const fullTime = (ms: number) => full.format(ms);

/** "3 hours", "12 minutes". */
export function howLong(ms: number): string {
  const minutes = Math.max(0, Math.floor(ms / 60_000));
  const say = (value: number, word: string) => `${count(value)} ${word}${value === 1 ? "" : "s"}`;
  if (minutes < 1) return "less than a minute";
  if (minutes < 60) return say(minutes, "minute");
  if (minutes < 48 * 60) return say(Math.floor(minutes / 60), "hour");
  return say(Math.floor(minutes / 1440), "day");
}

export const t = {
  product: "UnifyIT",
  signIn: {
    title: "This site's computers",
    pin: "PIN",
    hint: "The 6 to 12 digits that were set for this site. Your IT partner knows them.",
    submit: "Sign in",
    unreachable: "The relay does not answer. Is this phone or computer in the site's network?",
    failed: "That did not work. Try again.",
  },
  signOut: "Sign out",
  relayLost: "The relay does not answer. What you see may be old.",
  relayLostSince: (time: string) => `The relay does not answer. What you see is from ${time}.`,
  theme: "Theme",
  light: "Light",
  dark: "Dark",
  answer: {
    internetUp: (since: string) => `The internet connection to your IT partner has been working since ${since}.`,
    internetDown: (since: string) => `The internet connection to your IT partner has been down since ${since}.`,
    kept: "Computers here keep being looked after.",
    healthy: (healthy: number, total: number) => {
      if (total === 1) return healthy === 1 ? "The one computer here is healthy." : "The one computer here is not healthy.";
      return healthy === total ? `All ${computers(total)} are healthy.` : `${count(healthy)} of ${computers(total)} ${healthy === 1 ? "is" : "are"} healthy.`;
    },
    noComputers: "No computer has joined this site yet.",
    nobody: "Nobody is needed.",
    somebody: (value: number) => `${count(value)} ${value === 1 ? "thing needs" : "things need"} somebody.`,
    waiting: (records: number, size: string) => `${records === 1 ? "1 record" : `${count(records)} records`} (${size}) ${records === 1 ? "waits" : "wait"} to be sent; nothing is lost.`,
  },
  internet: "Internet",
  up: "Working",
  down: "Down",
  health: "Computers",
  needs: "Needs somebody",
  noNeeds: "Nothing. Everything is in order.",
  need: {
    offline: (name: string) => `${name} is switched off or not in the network.`,
    disk_full: (name: string, value: number) => `A disk of ${name} is ${count(value)} % full.`,
    clock_wrong: (name: string, aheadS: number) => `The clock of ${name} is ${howLong(Math.abs(aheadS) * 1000)} ${aheadS > 0 ? "ahead" : "behind"}.`,
    relay_clock: (aheadS: number) => `The relay's own clock is ${howLong(Math.abs(aheadS) * 1000)} ${aheadS > 0 ? "ahead" : "behind"}.`,
    relay_disk: () => "The relay's own disk is nearly full.",
    relay_read_only: () => "The relay's own disk takes no writes: what you see is what was stored last. Your IT partner has to mend it.",
    other: (name: string, kind: string) => `${name}: ${kind.replaceAll("_", " ")}`,
    since: (words: string) => `for ${words}`,
  },
  devices: { title: "Computers", online: "On", offline: "Off", old: "old values", cpu: "CPU", memory: "Memory", disk: "Disk", search: "Find a computer", none: "No computer matches.", more: (value: number) => `and ${count(value)} more; search to find them` },
  work: {
    title: "Work from your IT partner",
    none: "Nothing has run lately.",
    running: "Running",
    done: "Done",
    at: (time: string) => `started ${time}`,
    counts: { pending: "waiting", sent: "sent", running: "running", succeeded: "fine", failed: "failed", timed_out: "timed out", cancelled: "cancelled", expired: "expired", refused: "refused", indeterminate: "unclear" },
  },
  relay: { title: "Relay", version: "Version", running: "Running for", backlog: "Waiting to be sent", nothing: "nothing", urgent: "urgent", records: (value: number, size: string) => `${count(value)} ${value === 1 ? "record" : "records"}, ${size}` },
  cache: { title: "Package cache", stored: "Kept here", served: "Given to computers", fetched: "Fetched from the internet", saved: "Saved", hits: "Answered from here", share: (part: number) => `${Math.round(part * 100)} %`, ahead: "Fetched ahead at night", ready: (ready: number, files: number, left: string) => ready === files ? `all ${count(files)} files are here` : `${count(ready)} of ${count(files)} files, ${left} to come`, offline: (time: string) => `Package servers have been out of reach since ${time}; what is kept here is still given out.` },
  loading: "Loading",
  retry: "Try again",
} as const;
