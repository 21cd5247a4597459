/**
 * Takes the README's pictures into web/screenshots, of a stack with simulated
 * devices: runs two scripts on all of them, waits until their charts show ten
 * minutes, and opens a terminal on the computer's own agent.
 */
import { fileURLToPath } from "node:url";
import { must, openBrowser, stackAt, until } from "./support.mjs";
import { moves } from "./world.mjs";

const out = fileURLToPath(new URL("../../web/screenshots", import.meta.url));
const MINUTES = Number(process.env.MINUTES ?? 10);
const SETTLE_MS = 600;

const stack = await stackAt(process.argv[2]);
const browser = await openBrowser();

/** A page in one theme, with a camera. */
async function studio(theme) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: theme, ignoreHTTPSErrors: true });
  const page = await context.newPage();
  const shoot = async (name) => {
    await page.waitForLoadState("networkidle", { timeout: 5000 }).catch(() => undefined);
    await page.evaluate(() => document.fonts.ready);
    await page.waitForTimeout(SETTLE_MS);
    await page.screenshot({ path: `${out}/${name}.png` });
  };
  return { context, page, shoot };
}

async function consoleIn(theme) {
  const made = await studio(theme);
  const on = moves(stack.console, made.page);
  await made.page.goto(`${stack.console}/sign-in`);
  await on.signIn(stack);
  return { ...made, ...on };
}

/** Runs a script on devices, and waits for its end. */
async function run({ page, get }, name, body, ids) {
  const task = await page.evaluate(async ([name, body, ids]) => {
    const { csrf_token } = await (await fetch("/api/v1/auth/session")).json();
    const headers = { "Content-Type": "application/json", "X-CSRF-Token": csrf_token, "Idempotency-Key": crypto.randomUUID() };
    const action = { kind: "script", interpreter: "bash", body };
    return (await fetch("/api/v1/tasks", { method: "POST", headers, body: JSON.stringify({ name, targets: { device_ids: ids }, action, expires_in_s: 3600 }) })).json();
  }, [name, body, ids]);
  await until(`${name} to end`, async () => (await get(`/tasks/${task.id}`)).status !== "running", 120_000);
  return task.id;
}

const light = await consoleIn("light");
const devices = await until("devices that have measured", async () => {
  const { items, total } = await light.get("/devices?limit=500&state=online");
  return total > 1 && items.every(({ metrics_at }) => metrics_at) && items;
}, 240_000);
const ids = devices.map(({ id }) => id);
const own = devices.find(({ name }) => !/-\d+$/.test(name));
const server = devices.find(({ name }) => /-(app|db|srv)-\d+$/.test(name));
must(own && server, "the stack needs this computer's own agent and simulated devices");

await until(`${MINUTES} minutes of charts`, async () => {
  const to = Date.now();
  const { series } = await light.get(`/devices/${server.id}/metrics?names=cpu.busy&from=${to - 900_000}&to=${to}&step=60`);
  return (series[0]?.avg.filter((value) => value !== null).length ?? 0) >= MINUTES;
}, (MINUTES + 5) * 60_000);
await run(light, "Free disk space", "# sim: print=/dev/sda1__128G__61G__67G__48%__/\ndf -h /\n", ids);
const checked = await run(light, "Is the clock kept right?", "#!/usr/bin/env bash\n# sim: print=NTPSynchronized=yes fail_one_in=60\ntimedatectl show --property NTPSynchronized\n", ids.filter((id) => id !== own.id));

await light.go("/");
await light.main.getByText("Is the clock kept right?").first().waitFor();
await light.shoot("overview");
await light.go(`/devices/${server.id}`);
await light.main.locator(".uplot").nth(3).waitFor();
await light.shoot("device");
await light.go(`/tasks/${checked}`);
await light.main.getByText("NTPSynchronized").first().waitFor();
await light.shoot("task-results");
await light.context.close();

const dark = await consoleIn("dark");
await dark.go(`/devices?state=online&peek=${devices[4].id}`);
await dark.page.getByRole("dialog").or(dark.page.getByRole("complementary")).first().waitFor();
await dark.shoot("devices");
await dark.go(`/terminal?device=${own.id}`);
await dark.page.getByRole("status").getByText("Connected").waitFor();
await dark.page.locator(".xterm-helper-textarea").focus();
await dark.page.keyboard.type("clear; ls -l --color=always /etc/apt /etc/systemd | head -24; df -h --output=size,used,avail,pcent,target /\n");
await until("the listing", async () => /Mounted/.test(await dark.page.locator(".xterm-rows").innerText()));
await dark.shoot("terminal");
await dark.context.close();

const site = await studio("dark");
await site.page.goto(stack.relay_ui);
await site.page.locator("input").first().fill(stack.relay_ui_pin);
await site.page.keyboard.press("Enter");
await site.page.locator("main h1, main h2").nth(1).waitFor();
await site.shoot("local-page");
await browser.close();
console.log(`six pictures are in ${out}`);
