/** The package cache of a mocked site: five weeks of savings, and files in every state. */
const DAY = 86_400_000;
const hash = (digit) => digit.repeat(64);
const repositories = [["deb.debian.org", 0.55], ["security.debian.org", 0.2], ["archive.ubuntu.com", 0.14], ["pypi-files", 0.07], ["windows-update", 0.04]];

/** A wave with quiet weekends, the same for everybody. */
function sums(back, share) {
  const day = new Date(Date.now() - back * DAY);
  const weekend = [0, 6].includes(day.getUTCDay());
  const served = Math.round((weekend ? 0.15 : 1) * (3 + 2 * Math.sin(back / 3)) * 1e9 * share);
  const hits = Math.round(served / 4e6);
  return { served_bytes: served, fetched_bytes: Math.round(served * 0.16), hits, misses: Math.round(hits * 0.21) };
}

const add = (all) => all.reduce((a, b) => ({ served_bytes: a.served_bytes + b.served_bytes, fetched_bytes: a.fetched_bytes + b.fetched_bytes, hits: a.hits + b.hits, misses: a.misses + b.misses }), { served_bytes: 0, fetched_bytes: 0, hits: 0, misses: 0 });

export function savings(site, days) {
  const span = Array.from({ length: days }, (_, at) => days - 1 - at);
  const used = site.relay !== null && site.relay.cache_bytes > 0;
  const name = (back) => new Date(Date.now() - back * DAY).toISOString().slice(0, 10);
  const of = (back, share) => (used ? sums(back, share) : add([]));
  return {
    from: name(days - 1), to: name(0), total: add(span.map((back) => of(back, 1))),
    days: span.map((back) => ({ day: name(back), ...of(back, 1) })),
    repositories: used ? repositories.map(([repository, share]) => ({ repository, ...add(span.map((back) => of(back, share))) })) : [],
  };
}

const plan = { from: "21:00", until: "05:00", bytes_per_s: 4_000_000 };

export function settings(site) {
  const used = site.relay !== null && site.relay.cache_bytes > 0;
  const file = (url, digit, size, state, reason = "") => ({ url, sha256: hash(digit), size, keep_until: "2026-12-24T00:00:00Z", state, reason, state_at: null });
  site.package_cache ??= {
    hosts: used ? ["repo.corp.example"] : [], remaps: used ? [{ name: "docker", url: "https://download.docker.com/linux" }] : [], plan: null,
    ahead: used ? [
      file("http://deb.debian.org/debian/pool/main/f/firefox-esr/firefox-esr_140.5.0esr-1_amd64.deb", "a", 72_000_000, "ready"),
      file("/remap/docker/debian/dists/trixie/pool/stable/amd64/docker-ce_29.0.1-1_amd64.deb", "b", 21_400_000, "waiting"),
      file("http://packages.example.net/tool.deb", "c", 4_100_000, "refused", "This site's package cache does not serve packages.example.net. Whoever manages the site can allow it: in the console, on the site's page under Package cache, or on the relay itself with cache.hosts in /etc/unifyit/relay.toml."),
      file("http://repo.corp.example/agent-9.rpm", "d", 18_000_000, "failed", "the upstream answered 404"),
    ] : [],
    in_force: used ? { hosts: ["deb.debian.org", "security.debian.org", "*.archive.ubuntu.com", "repo.corp.example"], remaps: [{ name: "docker", url: "https://download.docker.com/linux" }, { name: "npm", url: "https://registry.npmjs.org" }], plan, overruled: [] } : null,
  };
  return site.package_cache;
}

export function save(site, body) {
  const cache = settings(site);
  const before = new Map(cache.ahead.map((file) => [file.sha256, file]));
  const ahead = body.ahead.map((file) => ({ keep_until: "2026-12-24T00:00:00Z", state: "waiting", reason: "", state_at: null, ...before.get(file.sha256), url: file.url, sha256: file.sha256, size: file.size }));
  return Object.assign(cache, { hosts: body.hosts, remaps: body.remaps, plan: body.plan ?? null, ahead });
}
