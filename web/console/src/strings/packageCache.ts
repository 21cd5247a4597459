import { count, plural } from "@/lib/format";

/** A site's package cache: what it saved, what it may fetch, what it is to have ready. */
export const packageCache = {
  saved: {
    title: "What the cache saved",
    span: "Span", week: "7 days", month: "35 days",
    saved: (share: string) => `did not cross the internet line: ${share} of what was served.`,
    nothing: "What was fetched has not been asked for a second time yet.",
    served: "Served", fetched: "Fetched", savedColumn: "Saved", hits: "Answered from the relay", requests: "Requests",
    repository: "Repository", byRepository: "By repository", byDay: "Bytes by day",
    fromHere: "Served from the relay",
    day: (day: string, served: string, fetched: string) => `${day}: ${served} served, ${fetched} fetched`,
    legendServed: "Served without the line", legendFetched: "Fetched from the internet",
    days: "Days begin at midnight UTC. The relay tells new figures every minute.",
    emptyTitle: "Nothing was saved yet",
    empty: "Computers with the agent use the cache by themselves: install or update a package on one of them, and again on another, and what the second one did not have to fetch appears here.",
    emptyNoRelay: "The package cache runs on the site's relay. Set up the relay first.",
  },
  form: {
    title: "What the cache may fetch",
    intro: "The hosts of common distributions, PyPI, npm and Windows updates are allowed from the start. Anything else is refused until it is allowed here or on the relay.",
    hosts: "Further hosts", hostsHint: "One a line, such as repo.example.org or *.example.org for its subdomains. Only plain HTTP goes through a host.",
    remaps: "Repositories behind HTTPS", remapsHint: "One a line, as name=https://host/path. Point the repository at http://<relay>:3142/remap/<name>/.",
    ahead: "Files to have ready",
    aheadHint: "One a line, most urgent first: address, SHA-256, length in bytes. They are fetched in the hours below and kept for 30 days.",
    ownHours: "Set hours and bandwidth for fetching ahead",
    from: "From (UTC)", until: "Until (UTC)", untilHint: "The same twice means all day.",
    rate: "At most, in KiB a second", rateHint: "0 means no limit.",
    saved: "Saved. The relay takes it over without a restart, as soon as it is connected.",
    badAhead: (line: number) => `Line ${count(line)} of the files needs an address, a SHA-256 and a length in bytes, with spaces between.`,
    badRemap: (line: number) => `Line ${count(line)} of the repositories needs name=https://host.`,
    overruled: "Overruled by the relay's own file:",
    readOnly: "You may look at these settings and not change them.",
  },
  inForce: {
    title: "In force at the relay", untold: "The relay has not told yet what it allows.",
    hosts: "Hosts", remaps: "Repositories behind HTTPS", hours: "Fetches ahead", rate: "Bandwidth for that",
    span: (from: string, until: string) => (from === until ? "all day" : `${from} to ${until} UTC`), unlimited: "no limit",
  },
  list: {
    title: "Files to have ready",
    file: "File", size: "Size", state: "State", until: "Kept until",
    states: { waiting: "Waiting", ready: "Ready", refused: "Refused", failed: "Tried again later" },
    ready: (n: number, of: number) => `${count(n)} of ${plural(of, "file")} at the site`,
    emptyTitle: "No files are to be fetched ahead",
    empty: "Name the packages of your next roll-out below: the relay fetches them at night, and every computer gets them from the site.",
  },
} as const;
