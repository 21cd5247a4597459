/**
 * Takes a screenshot of every page in both themes at three widths, against the
 * mock or against a running stack, and prints what the browser complained about.
 * Usage: node e2e/shots.mjs OUT [--only name,name] [--widths 1440,390] [--themes light] [--url URL --email E --password P] [--empty]
 */
import { mkdirSync } from "node:fs";
import { chromium } from "playwright-core";
import { startMock } from "./mock/server.mjs";
import { launch, pagesOf } from "./pages.mjs";

const args = process.argv.slice(2);
const out = args[0] ?? "test-results/shots";
const option = (name, fallback) => (args.includes(`--${name}`) ? args[args.indexOf(`--${name}`) + 1] : fallback);
const only = option("only", "").split(",").filter(Boolean);
const widths = option("widths", "1440,768,390").split(",").map(Number);
const themes = option("themes", "light,dark").split(",");
const empty = args.includes("--empty");
mkdirSync(out, { recursive: true });

const external = option("url", "");
const mock = external ? null : await startMock({ devices: Number(option("devices", "300")), empty });
const url = external || mock.url;
const email = option("email", "ada@example.com");
const password = option("password", "correct horse");

const browser = await launch(chromium);
const complaints = new Set();

let seeded = false;
for (const theme of themes) {
  for (const width of widths) {
    const context = await browser.newContext({ viewport: { width, height: width < 500 ? 844 : 900 }, colorScheme: theme, ignoreHTTPSErrors: true });
    const page = await context.newPage();
    let where = "";
    page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.add(`${where}: ${message.text().slice(0, 300)}`));
    page.on("pageerror", (error) => complaints.add(`${where}: ${error.message.slice(0, 500)}`));
    await page.goto(`${url}/sign-in`);
    await page.waitForSelector("form, main");
    const shoot = (name) => page.screenshot({ path: `${out}/${name}-${width}-${theme}.png` });
    if (await page.locator("input[name=email]").count()) {
      if (only.length === 0 || only.includes("sign-in")) await shoot("sign-in");
      await page.fill("input[name=email]", email);
      await page.fill("input[name=password]", password);
      await page.keyboard.press("Enter");
    }
    await page.waitForSelector("#main");
    const api = (path, init) => page.evaluate(async ([path, init]) => (await fetch(`/api/v1${path}`, init)).json(), [path, init]);
    if (mock && !seeded && !empty) {
      seeded = true;
      const ids = mock.world.devices.map((device) => device.id);
      const post = (body) => api("/tasks", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ expires_in_s: 3600, ...body }) });
      await post({ name: "Disk check", targets: { device_ids: ids }, action: { kind: "script", interpreter: "bash", body: "df -h" } });
      await post({ targets: { device_ids: [ids[8]] }, action: { kind: "script", interpreter: "python", body: "print(1)" } });
      await page.waitForTimeout(6000);
    }
    for (const [name, path] of await pagesOf(api)) {
      if (only.length > 0 && !only.includes(name)) continue;
      where = `${name} ${width} ${theme}`;
      await page.goto(url + path);
      await page.waitForSelector("#main h1, #main [role=alert], #main [role=tablist]", { timeout: 10_000 }).catch(() => complaints.add(`${where}: nothing was drawn`));
      await page.waitForLoadState("networkidle").catch(() => undefined);
      await page.waitForTimeout(name.includes("device-") || name.includes("terminal") ? 700 : 250);
      await shoot(name);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (overflow > 0) complaints.add(`${where}: the page scrolls sideways by ${overflow} px`);
    }
    await context.close();
  }
}
await browser.close();
mock?.close();
console.log([...complaints].join("\n") || "no complaints");
