/**
 * A small stand-in for the cloud, for looking at screens while the stack is
 * not at hand. Test code: the product never contains it. Serves dist/console
 * under the same strict Content-Security-Policy as the cloud.
 * Usage: node e2e/mock/server.mjs [port] [devices]
 */
import * as packageCache from "./packageCache.mjs";
import { randomUUID } from "node:crypto";
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { WebSocketServer } from "ws";
import { iso, makeWorld, metrics, sampleValues } from "./data.mjs";

const dist = resolve(fileURLToPath(import.meta.url), "../../../dist/console");
const types = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2" };
export const csp = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

export function startMock({ port = 0, devices = 300, empty = false } = {}) {
  const world = makeWorld(empty ? 0 : devices);
  if (empty) world.sites.length = world.organizations.length = world.keys.length = 0;
  let signedIn = false;
  let eventId = 0;
  const sockets = new Set();
  const timers = new Set();
  const emit = (kind, data, withId = true) => {
    const text = JSON.stringify({ ...(withId && { id: String((eventId += 1)) }), kind, at: iso(Date.now()), data });
    for (const socket of sockets) socket.send(text);
  };
  const later = (run, ms) => {
    const timer = setTimeout(() => (timers.delete(timer), run()), ms);
    timers.add(timer);
  };
  const user = { id: "u1", email: "ada@example.com", name: "Ada Byron", role: "admin", may: ["view", "read_audit", "manage_partners", "manage_organizations", "manage_sites", "install", "manage_devices", "run_tasks", "open_terminal", "manage_users", "manage_api_keys"], scope: { kind: "platform", id: null, name: "" } };
  const session = { user, csrf_token: "csrf" };

  const matches = (query) => (device) =>
    (!query.get("organization_id") || device.organization_id === query.get("organization_id")) && (!query.get("site_id") || device.site_id === query.get("site_id")) &&
    (!query.get("state") || device.state === query.get("state")) && (!query.get("os") || device.os_name === query.get("os")) &&
    (!query.get("q") || `${device.name} ${device.hostname} ${device.address} ${device.tags}`.toLowerCase().includes(query.get("q").toLowerCase()));
  const sorted = (list, sort) => {
    if (!sort) return list;
    const key = sort.replace(/^-/, "");
    const sign = sort.startsWith("-") ? -1 : 1;
    return [...list].sort((a, b) => (a[key] < b[key] ? -sign : a[key] > b[key] ? sign : 0));
  };
  const paged = (list, query, extra = {}) => {
    const from = Number(query.get("cursor") ?? 0);
    const limit = Number(query.get("limit") ?? 100);
    return { items: list.slice(from, from + limit), next_cursor: from + limit < list.length ? String(from + limit) : null, ...extra };
  };
  const facet = (list, key) => list.reduce((counts, device) => ({ ...counts, [device[key]]: (counts[device[key]] ?? 0) + 1 }), {});
  const timeline = (device) =>
    ["Came online", "Task “Disk check” succeeded", "Went offline", "Agent joined the site"].map((title, index) => ({ at: iso(Date.now() - index * 5_000_000 - 60_000), kind: ["device.online", "task.done", "device.offline", "device.enrolled"][index], title: `${title}`, detail: index === 1 ? "exit code 0" : "", actor: index === 1 ? "ada@example.com" : "", ref: { kind: "device", id: device.id, name: device.name } }));
  const audit = Array.from({ length: 60 }, (_, index) => ({ id: String(index), at: iso(Date.now() - index * 700_000), actor: "ada@example.com", action: ["task.create", "site.update", "install_token.create", "auth.login"][index % 4], target: ["Disk check", "Main office", "agent line", ""][index % 4], detail: "<script>alert(1)</script>", request_id: randomUUID() }));

  const counts = (targets) => targets.reduce((all, target) => ({ ...all, [target.status]: all[target.status] + 1 }), { pending: 0, sent: 0, running: 0, succeeded: 0, failed: 0, timed_out: 0, cancelled: 0, expired: 0, refused: 0, indeterminate: 0 });
  const brief = (task) => { const { targets, ...rest } = task; return { ...rest, counts: counts(targets), total: targets.length }; };
  const same = "\u001b[1;32m✔\u001b[0m all file systems below 80 %\n\u001b[34m/\u001b[0m      41 %\n\u001b[34m/var\u001b[0m   63 %\n";
  const differ = "\u001b[1;31m✘ /srv/data is at 97 %\u001b[0m\n\u001b]0;stolen title\u0007<b>not bold</b>\n";
  const runTask = (body) => {
    const chosen = world.devices.filter((device) => body.targets.all || body.targets.device_ids?.includes(device.id));
    const task = { id: randomUUID(), name: body.name ?? null, status: "running", action: body.action, created_at: iso(Date.now()), created_by: user.email, expires_at: iso(Date.now() + body.expires_in_s * 1000),
      targets: chosen.map((device) => ({ device_id: device.id, device_name: device.name, status: "pending", exit_code: null, reason: null, output: "", output_len: 0, output_cut: 0, started_at: null, finished_at: null })) };
    world.tasks.unshift(task);
    emit("task.changed", brief(task));
    task.targets.forEach((target, index) => {
      if (world.devices.find((device) => device.id === target.device_id).state !== "online") return;
      later(() => change(task, target, { status: "running", started_at: iso(Date.now()) }), 150 + index * 9);
      later(() => {
        if (target.status !== "running") return;
        const bad = index % 23 === 7;
        const output = bad ? differ : same;
        emit("task.output", { task_id: task.id, device_id: target.device_id, offset: 0, stream: "stdout", data_b64: Buffer.from(output).toString("base64") }, false);
        change(task, target, { status: bad ? "failed" : "succeeded", exit_code: bad ? 2 : 0, finished_at: iso(Date.now()), output, output_len: Buffer.byteLength(output) });
      }, 900 + index * 14);
    });
    return task;
  };
  const change = (task, target, patch) => {
    if (!["pending", "sent", "running"].includes(target.status)) return;
    Object.assign(target, patch);
    if (task.targets.every((each) => !["pending", "sent", "running"].includes(each.status)) && task.status === "running") task.status = "done";
    emit("task.target", { task_id: task.id, device_id: target.device_id, status: target.status, exit_code: target.exit_code, reason: target.reason, output_len: target.output_len });
    emit("task.changed", brief(task));
  };
  const groups = (task) => {
    const all = new Map();
    for (const target of task.targets.filter((each) => !["pending", "sent", "running"].includes(each.status))) {
      const key = `${target.status}${target.exit_code}${target.output}`;
      const group = all.get(key) ?? { status: target.status, exit_code: target.exit_code, output_sample: target.output, count: 0, device_ids: [] };
      group.count += 1;
      if (group.device_ids.length < 20) group.device_ids.push(target.device_id);
      all.set(key, group);
    }
    return { items: [...all.values()] };
  };
  const inventories = {
    disks: { "/": { device: "/dev/sda2", filesystem: "ext4", total_bytes: "512000000000", used_bytes: "211000000000" }, "/srv/data": { device: "/dev/sdb1", filesystem: "xfs", total_bytes: "4000000000000", used_bytes: "3890000000000" } },
    interfaces: { eth0: { state: "up", mac: "52:54:00:12:34:56", ipv4: "10.0.0.12/24", ipv6: "fe80::5054:ff:fe12:3456/64", speed: "1000" }, lo: { state: "up", ipv4: "127.0.0.1/8" } },
    services: Object.fromEntries(["ssh", "cron", "nginx", "postgresql", "unifyit-agent", "<b>evil</b>"].map((name, index) => [`${name}.service`, { state: index === 3 ? "failed" : "running", enabled: "enabled", description: `The ${name} service` }])),
  };
  const overview = () => ({
    devices: { online: 0, offline: 0, unreachable: 0, ...facet(world.devices, "state"), total: world.devices.length },
    sites: { healthy: 0, degraded: 0, unreachable: 0, no_relay: 0, ...facet(world.sites, "state"), total: world.sites.length },
    attention: world.sites.filter((site) => ["degraded", "unreachable"].includes(site.state)).map((site) => ({ severity: site.state === "unreachable" ? "critical" : "warning", kind: "site", title: `${site.name} is ${site.state}`, detail: site.state === "unreachable" ? "Its relay has had no contact with the cloud." : "48,211 records wait to go up.", since: site.state_since, ref: { kind: "site", id: site.id } })),
    recent: world.devices[8] ? timeline(world.devices[8]) : [], tasks_running: world.tasks.filter((task) => task.status === "running").length,
  });

  const fail = (status, title, detail) => Object.assign(new Error(title), { status, body: { type: "about:blank", title, status, detail, request_id: randomUUID() } });
  const one = (list, id, what) => list.find((each) => each.id === id) ?? (() => { throw fail(404, "Not found", `There is no ${what} with this id, or you may not see it.`); })();
  const routes = [
    ["GET", /^\/auth\/session$/, () => { if (!signedIn) throw fail(401, "Sign in first", null); return session; }],
    ["POST", /^\/auth\/login$/, (_, __, body) => { if (body.password !== "correct horse") throw fail(401, "Email or password is wrong", null); signedIn = true; return session; }],
    ["POST", /^\/auth\/logout$/, () => ((signedIn = false), null)],
    ["POST", /^\/auth\/password$/, () => null],
    ["GET", /^\/overview$/, overview],
    ["GET", /^\/organizations$/, (_, query) => paged(world.organizations, query)],
    ["POST", /^\/organizations$/, (_, __, body) => { const made = { id: randomUUID(), name: body.name, partner_id: "p1" }; world.organizations.push(made); return made; }],
    ["GET", /^\/sites$/, (_, query) => paged(world.sites, query)],
    ["POST", /^\/sites$/, (_, __, body) => { const organization = one(world.organizations, body.organization_id, "organization"); const made = { id: randomUUID(), name: body.name, organization_id: organization.id, organization_name: organization.name, state: "no_relay", state_since: iso(Date.now()), relay: null, devices: { total: 0, online: 0 }, config: { collect_every_s: 10, inventory_every_s: 3600 }, created_at: iso(Date.now()) }; world.sites.push(made); return made; }],
    ["GET", /^\/sites\/([^/]+)$/, ([id]) => one(world.sites, id, "site")],
    ["PATCH", /^\/sites\/([^/]+)$/, ([id], _, body) => Object.assign(one(world.sites, id, "site"), body)],
    ["PUT", /^\/sites\/([^/]+)\/config$/, ([id], _, body) => Object.assign(one(world.sites, id, "site").config, body)],
    ["PUT", /^\/sites\/([^/]+)\/ui-pin$/, () => null],
    ["GET", /^\/sites\/([^/]+)\/package-cache$/, ([id]) => packageCache.settings(one(world.sites, id, "site"))],
    ["PUT", /^\/sites\/([^/]+)\/package-cache$/, ([id], _, body) => packageCache.save(one(world.sites, id, "site"), body)],
    ["GET", /^\/sites\/([^/]+)\/package-cache\/savings$/, ([id], query) => packageCache.savings(one(world.sites, id, "site"), Number(query.days ?? query.get?.("days") ?? 35))],
    ["GET", /^\/sites\/([^/]+)\/install-tokens$/, ([id], query) => paged(world.tokens.get(id) ?? [], query)],
    ["POST", /^\/sites\/([^/]+)\/install-tokens$/, ([id], _, body) => { const token = "ut1." + "kJ8s".repeat(40); const made = { id: randomUUID(), kind: body.kind, token, command: `curl -fsSL https://console.example/install | sudo sh -s -- ${body.kind} --token ${token}`, expires_at: iso(Date.now() + body.expires_in_s * 1000), uses: body.uses, used: 0 }; world.tokens.set(id, [...(world.tokens.get(id) ?? []), made]); return made; }],
    ["DELETE", /^\/install-tokens\/([^/]+)$/, ([id]) => { for (const list of world.tokens.values()) for (const token of list) if (token.id === id) token.revoked_at = iso(Date.now()); return null; }],
    ["GET", /^\/devices$/, (_, query) => { const list = sorted(world.devices.filter(matches(query)), query.get("sort")); return paged(list, query, { total: list.length }); }],
    ["GET", /^\/devices\/facets$/, (_, query) => { const list = world.devices.filter(matches(query)); return { state: facet(list, "state"), os: facet(list, "os_name"), site: facet(list, "site_id") }; }],
    ["GET", /^\/devices\/([^/]+)$/, ([id]) => ({ ...one(world.devices, id, "device"), machine: { hostname: "web-01", os_name: "Debian GNU/Linux 12 (bookworm)", kernel: "6.1.0-26-amd64", arch: "x86_64", vendor: "Dell Inc.", model: "PowerEdge R650", serial: "7XK2Q<3", cpu: "Intel Xeon Silver 4310", cpu_count: "24", memory_bytes: "68719476736", firmware: "2.19.1", chassis: "physical", users: "ada, grace" }, latest: [{ name: "system.uptime", label: "", unit: "seconds", value: 356_000, at: iso(Date.now() - 5000) }, { name: "process.count", label: "", unit: "count", value: 214, at: iso(Date.now() - 5000) }], enrolled_at: iso(Date.now() - 4e9) })],
    ["PATCH", /^\/devices\/([^/]+)$/, ([id], _, body) => Object.assign(one(world.devices, id, "device"), body)],
    ["DELETE", /^\/devices\/([^/]+)$/, ([id]) => ((one(world.devices, id, "device").state = "revoked"), null)],
    ["GET", /^\/devices\/([^/]+)\/metrics$/, (_, query) => metrics((query.get("names") ?? "").split(",").filter(Boolean), Number(query.get("from")), Number(query.get("to")), Number(query.get("step") ?? 60))],
    ["GET", /^\/devices\/([^/]+)\/inventory\/(\w+)$/, ([, section]) => ({ at: iso(Date.now() - 900_000), entries: inventories[section] ?? {} })],
    ["GET", /^\/devices\/([^/]+)\/software$/, (_, query) => paged(Array.from({ length: 900 }, (_, index) => ({ manager: "dpkg", name: index === 3 ? "<script>alert(1)</script>" : `package-${index}`, version: `1.${index}.0-1` })).filter((item) => item.name.includes(query.get("q") ?? "")), query)],
    ["GET", /^\/devices\/([^/]+)\/timeline$/, ([id], query) => paged(timeline(one(world.devices, id, "device")), query)],
    ["GET", /^\/devices\/([^/]+)\/audit$/, (_, query) => paged(audit.slice(0, 9), query)],
    ["GET", /^\/devices\/([^/]+)\/tasks$/, ([id], query) => paged(world.tasks.filter((task) => task.targets.some((target) => target.device_id === id)).map(brief), query)],
    ["GET", /^\/tasks$/, (_, query) => paged(world.tasks.map(brief), query)],
    ["POST", /^\/tasks$/, (_, __, body) => ({ id: runTask(body).id })],
    ["GET", /^\/tasks\/([^/]+)$/, ([id]) => { const task = one(world.tasks, id, "task"); return { ...brief(task), targets: task.targets.slice(0, 100) }; }],
    ["GET", /^\/tasks\/([^/]+)\/groups$/, ([id]) => groups(one(world.tasks, id, "task"))],
    ["GET", /^\/tasks\/([^/]+)\/targets$/, ([id], query) => paged(one(world.tasks, id, "task").targets.filter((target) => !query.get("status") || target.status === query.get("status")), query)],
    ["GET", /^\/tasks\/([^/]+)\/targets\/([^/]+)\/output$/, ([id, device]) => Buffer.from(one(world.tasks, id, "task").targets.find((target) => target.device_id === device)?.output ?? "")],
    ["POST", /^\/tasks\/([^/]+)\/cancel$/, ([id]) => { const task = one(world.tasks, id, "task"); for (const target of task.targets) change(task, target, { status: "cancelled", finished_at: iso(Date.now()) }); task.status = "cancelled"; emit("task.changed", brief(task)); return null; }],
    ["GET", /^\/api-keys$/, (_, query) => paged(world.keys, query)],
    ["POST", /^\/api-keys$/, (_, __, body) => { const made = { id: randomUUID(), name: body.name, hint: "uak_Xy9zQ1", role: "admin", scope: "platform", created_by: "ada@example.com", parent_id: null, revoked_at: null, created_at: iso(Date.now()), last_used_at: null, expires_at: body.expires_in_s ? iso(Date.now() + body.expires_in_s * 1000) : null }; world.keys.push(made); return { ...made, key: `uak_${randomUUID()}` }; }],
    ["DELETE", /^\/api-keys\/([^/]+)$/, ([id]) => ((world.keys = world.keys.filter((key) => key.id !== id)), null)],
    ["GET", /^\/audit$/, (_, query) => paged(empty ? [] : audit.filter((item) => JSON.stringify(item).includes(query.get("q") ?? "")), query)],
    ["GET", /^\/users$/, (_, query) => paged(world.users, query)],
  ];

  const answer = async (request, response) => {
    const url = new URL(request.url, "http://mock");
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = chunks.length > 0 ? JSON.parse(Buffer.concat(chunks).toString()) : {};
    const path = url.pathname.replace(/^\/api\/v1/, "");
    try {
      if (path !== "/auth/login" && path !== "/auth/session" && !signedIn) throw fail(401, "Sign in first", null);
      for (const [method, pattern, handle] of routes) {
        const match = pattern.exec(path);
        if (method !== request.method || !match) continue;
        const result = handle(match.slice(1), url.searchParams, body);
        if (Buffer.isBuffer(result)) response.writeHead(200, { "Content-Type": "application/octet-stream" }).end(result);
        else if (result === null) response.writeHead(204).end();
        else response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(result));
        return;
      }
      throw fail(404, "Not found", null);
    } catch (error) {
      response.writeHead(error.status ?? 500, { "Content-Type": "application/problem+json" }).end(JSON.stringify(error.body ?? { title: String(error) }));
    }
  };
  const server = createServer((request, response) => {
    if (request.url.startsWith("/api/")) return void answer(request, response);
    const path = new URL(request.url, "http://mock").pathname;
    const file = join(dist, path);
    const found = existsSync(file) && statSync(file).isFile() ? file : join(dist, "index.html");
    response.writeHead(200, { "Content-Type": types[extname(found)] ?? "application/octet-stream", "Content-Security-Policy": csp });
    createReadStream(found).pipe(response);
  });
  const upgrades = new WebSocketServer({ noServer: true });
  server.on("upgrade", (request, socket, head) =>
    upgrades.handleUpgrade(request, socket, head, (ws) => {
      if (request.url.includes("/terminal")) return shell(ws);
      sockets.add(ws);
      let watch = { devices: [] };
      ws.on("message", (text) => ({ watch } = JSON.parse(text)));
      const timer = setInterval(() => {
        for (const id of watch.devices) ws.send(JSON.stringify({ kind: "device.sample", data: { device_id: id, at: iso(Date.now()), values: sampleValues() } }));
      }, 2000);
      ws.on("close", () => (clearInterval(timer), sockets.delete(ws)));
    }));
  const pulse = setInterval(() => {
    for (const device of world.devices.filter((each) => each.state === "online").slice(0, 15)) {
      device.cpu_pct = Math.max(1, Math.min(99, device.cpu_pct + (Math.random() - 0.5) * 10));
      device.last_seen = device.metrics_at = iso(Date.now());
      emit("device.changed", device);
    }
  }, 3000);
  return new Promise((done) => server.listen(port, "127.0.0.1", () => done({ url: `http://127.0.0.1:${server.address().port}`, world, emit, close: () => { clearInterval(pulse); timers.forEach(clearTimeout); server.closeAllConnections(); server.close(); } })));
}

function shell(ws) {
  ws.send(JSON.stringify({ type: "open" }));
  const write = (text) => ws.send(Buffer.from(text));
  write("\u001b[1;32mroot@web-01\u001b[0m:\u001b[1;34m~\u001b[0m# ");
  let line = "";
  ws.on("message", (data, binary) => {
    if (!binary) return;
    for (const character of data.toString()) {
      if (character !== "\r") { line += character; write(character); continue; }
      write("\r\n");
      if (line === "exit") { ws.send(JSON.stringify({ type: "closed", reason: "The shell ended with exit code 0." })); ws.close(); return; }
      if (line === "ls") write("\u001b[34mbin\u001b[0m  \u001b[34metc\u001b[0m  \u001b[32mrun.sh\u001b[0m  notes.txt\r\n");
      line = "";
      write("\u001b[1;32mroot@web-01\u001b[0m:\u001b[1;34m~\u001b[0m# ");
    }
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { url } = await startMock({ port: Number(process.argv[2] ?? 8090), devices: Number(process.argv[3] ?? 300) });
  console.log(`mock console: ${url} (any email, password "correct horse")`);
}
