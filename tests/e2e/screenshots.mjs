/**
 * Takes a screenshot of every page and dialog of weight, of the console and of
 * the local UI, at three widths in both themes, for people to look at. Prints
 * what the browser complained about, and pages that scroll sideways.
 *
 * On a stack with devices it first does what fills the pages: runs a script on
 * all of them, and one that fails on some. WIDTHS, THEMES and ONLY narrow it
 * (comma-separated).
 */
import { mkdirSync } from "node:fs";
import { openBrowser, stackAt, until } from "./support.mjs";
import { moves } from "./world.mjs";

const list = (name, fallback) => (process.env[name] ?? fallback).split(",").filter(Boolean);
const widths = list("WIDTHS", "1440,768,390").map(Number);
const themes = list("THEMES", "light,dark");
const only = list("ONLY", "");
const out = `${process.env.RESULTS ?? "test-results"}/screenshots`;
mkdirSync(out, { recursive: true });

const SETTLE_MS = 400;
const complaints = new Set();
const stack = await stackAt(process.argv[2]);
const browser = await openBrowser();
const wanted = (name) => only.length === 0 || only.some((each) => name.startsWith(each));

/** A page of its own size and theme, with a camera. */
async function studio(width, theme) {
  const context = await browser.newContext({ viewport: { width, height: width < 500 ? 844 : 900 }, colorScheme: theme, ignoreHTTPSErrors: true });
  const page = await context.newPage();
  let where = "";
  page.on("pageerror", (error) => complaints.add(`${where}: ${error.message.slice(0, 300)}`));
  const shoot = async (name) => {
    where = `${name} ${width} ${theme}`;
    await page.waitForLoadState("networkidle", { timeout: 5000 }).catch(() => undefined);
    await page.evaluate(() => document.fonts.ready);
    await page.waitForTimeout(SETTLE_MS);
    await page.screenshot({ path: `${out}/${name}-${width}-${theme}.png` });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (wide > 0) complaints.add(`${where}: scrolls sideways by ${wide} px`);
  };
  return { context, page, shoot };
}

/** Work whose results the task pages show. */
async function work(page, get) {
  const devices = (await get("/devices?limit=500&state=online")).items;
  if (devices.length === 0 || (await get("/tasks?limit=5")).items.length >= 2) return devices;
  const token = await page.evaluate(async () => (await (await fetch("/api/v1/auth/session")).json()).csrf_token);
  const run = (name, body) => page.evaluate(async ([token, name, body, ids]) => (await fetch("/api/v1/tasks", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": token, "Idempotency-Key": crypto.randomUUID() },
    body: JSON.stringify({ name, targets: { device_ids: ids }, action: { kind: "script", interpreter: "bash", body }, expires_in_s: 3600 }),
  })).json(), [token, name, body, devices.map(({ id }) => id)]);
  await run("Free disk space", "df -h /\n");
  const { id } = await run("Check the kernel", "uname -r\n");
  await until("the work is done", async () => (await get(`/tasks/${id}`)).status !== "running", 60_000).catch(() => undefined);
  return devices;
}

async function console_(width, theme) {
  const { context, page, shoot } = await studio(width, theme);
  const { main, get, go, signIn } = moves(stack.console, page);
  await page.goto(`${stack.console}/sign-in`);
  await page.locator("input[name=email]").waitFor();
  if (wanted("sign-in")) await shoot("sign-in");
  await signIn(stack);
  const devices = await work(page, get);
  const real = devices.find(({ address, agent_version, os_family }) => address === "127.0.0.1" && agent_version && os_family === "linux") ?? devices[0];
  const site = (await get("/sites?limit=50")).items[0];
  const tasks = (await get("/tasks?limit=5")).items;
  const visit = async (name, path, ready) => {
    if (!wanted(name)) return false;
    await go(path);
    await main.locator("h1, [role=alert], [role=tablist], [role=grid], button").first().waitFor();
    if (ready) await ready().catch((error) => complaints.add(`${name}: ${error.message.split("\n")[0]}`));
    await shoot(name);
    return true;
  };
  const act = async (name, body) => {
    if (!wanted(name)) return;
    await body().then(() => shoot(name), (error) => complaints.add(`${name} ${width}: ${error.message.split("\n")[0]}`));
    await page.keyboard.press("Escape");
  };

  await visit("overview", "/");
  await act("palette", async () => { await page.keyboard.press("Control+k"); await page.getByRole("dialog").waitFor(); });
  await act("keyboard", () => page.keyboard.press("?"));
  await visit("devices", "/devices");
  await visit("devices-none", "/devices?q=nothing-is-called-this");
  if (real) {
    await visit("devices-panel", `/devices?peek=${real.id}`);
    await act("devices-selected", async () => { await go("/devices"); await page.locator("[role=grid]").waitFor(); await page.getByRole("checkbox", { name: "Select all that match" }).click(); });
    for (const tab of ["overview", "metrics", "hardware", "software", "services", "network", "tasks", "timeline", "audit"]) await visit(`device-${tab}`, `/devices/${real.id}${tab === "overview" ? "" : `?tab=${tab}`}`);
    await act("device-remove", async () => { await go(`/devices/${real.id}`); await page.getByRole("button", { name: "More" }).click(); await page.getByRole("menuitem").last().click(); await page.getByRole("alertdialog").or(page.getByRole("dialog")).waitFor(); });
    await visit("run", `/tasks/new?devices=${real.id}`, () => page.locator(".cm-content").waitFor());
    await visit("terminal-open", `/terminal?device=${real.id}`, () => page.locator(".xterm-rows").waitFor());
  }
  await visit("tasks", "/tasks");
  const task = tasks[0];
  if (task) {
    await visit("task", `/tasks/${task.id}`);
    await visit("task-devices", `/tasks/${task.id}?view=devices`);
    await visit("task-output", `/tasks/${task.id}?device=${(await get(`/tasks/${task.id}`)).targets[0]?.device_id}`);
  }
  await visit("terminal", "/terminal");
  await visit("sites", "/sites");
  if (site) for (const tab of ["overview", "cache", "install", "settings"]) await visit(`site-${tab}`, `/sites/${site.id}?tab=${tab}`);
  await visit("setup", "/sites/setup");
  await visit("api-keys", "/admin/api-keys");
  await act("api-key-new", async () => { await go("/admin/api-keys"); await page.getByRole("button", { name: "Create key" }).first().click(); await page.getByRole("dialog").waitFor(); });
  await visit("users", "/admin/users");
  await visit("audit", "/audit");
  await context.close();
}

async function local(width, theme) {
  if (!stack.relay_ui || !wanted("local")) return;
  const { context, page, shoot } = await studio(width, theme);
  await page.goto(stack.relay_ui);
  await page.locator("input").first().waitFor();
  await shoot("local-sign-in");
  await page.locator("input").first().fill(stack.relay_ui_pin);
  await page.keyboard.press("Enter");
  await page.locator("main h1, main h2").nth(1).waitFor();
  await shoot("local");
  await page.screenshot({ path: `${out}/local-whole-${width}-${theme}.png`, fullPage: true });
  await context.close();
}

for (const theme of themes) {
  for (const width of widths) {
    await console_(width, theme);
    await local(width, theme).catch((error) => complaints.add(`local ${width} ${theme}: ${error.message.split("\n")[0]}`));
    console.log(`${width} px, ${theme}: taken`);
  }
}
await browser.close();
console.log([...complaints].join("\n") || "no complaints");
console.log(`screenshots are in ${out}`);
