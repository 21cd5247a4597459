/**
 * Runs axe on every page in both themes and fails on serious or critical
 * faults. Against the mock, or a running stack by --url, --email, --password.
 */
import AxeBuilder from "@axe-core/playwright";
import { chromium } from "playwright-core";
import { startMock } from "./mock/server.mjs";
import { pagesOf, signIn, launch } from "./pages.mjs";

const args = process.argv.slice(2);
const option = (name, fallback) => (args.includes(`--${name}`) ? args[args.indexOf(`--${name}`) + 1] : fallback);
const external = option("url", "");
const mock = external ? null : await startMock({ devices: 120 });
const url = external || mock.url;
const browser = await launch(chromium);
let faults = 0;
let looked = 0;
for (const theme of ["light", "dark"]) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, colorScheme: theme, ignoreHTTPSErrors: true });
  const page = await context.newPage();
  const check = async (name) => {
    const { violations } = await new AxeBuilder({ page }).analyze();
    looked += 1;
    for (const violation of violations) {
      const bad = ["serious", "critical"].includes(violation.impact);
      faults += bad ? 1 : 0;
      console.log(`${bad ? "FAULT" : "note "} ${name} ${theme}: ${violation.id} (${violation.impact}) ${violation.help}`);
      for (const node of violation.nodes.slice(0, 3)) console.log(`        ${node.target.join(" ")} ${(node.any[0]?.message ?? node.all[0]?.message ?? "").slice(0, 160)}`);
    }
  };
  await page.goto(`${url}/sign-in`);
  await page.waitForSelector("input[name=email]").catch(() => undefined);
  if (theme === "light") await check("sign-in");
  const api = await signIn(page, url, option("email", "ada@example.com"), option("password", "correct horse"));
  for (const [name, path] of await pagesOf(api)) {
    await page.goto(url + path);
    await page.waitForSelector("#main h1, #main [role=alert]").catch(() => undefined);
    await page.waitForLoadState("networkidle").catch(() => undefined);
    await check(name);
  }
  await page.goto(`${url}/devices`);
  await page.waitForSelector("[role=gridcell]");
  await page.keyboard.press("Control+k");
  await page.waitForSelector("[cmdk-input]");
  await check("palette");
  await page.keyboard.press("Escape");
  await page.keyboard.press("?");
  await page.waitForSelector("[role=dialog]");
  await check("keyboard-help");
  await context.close();
}
await browser.close();
mock?.close();
console.log(`axe: ${looked} looks, ${faults} serious or critical faults`);
process.exit(faults > 0 ? 1 : 0);
