/**
 * What the steps share: the browser, waiting for conditions with deadlines,
 * and a runner that counts steps and keeps a screenshot of each failure.
 */
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../web/package.json", import.meta.url));
export const { chromium } = require("playwright-core");
const axe = require("@axe-core/playwright");
export const AxeBuilder = axe.default ?? axe.AxeBuilder ?? axe;

const POLL_MS = 100;
const STEP_DEADLINE_MS = 70_000;

const pause = () => new Promise((done) => setTimeout(done, POLL_MS));

/** Polls until `probe` gives something true; fails by name at the deadline. */
export async function until(what, probe, deadlineMs = 20_000) {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const found = await probe();
    if (found) return found;
    if (Date.now() > end) throw new Error(`${what}: not within ${deadlineMs / 1000} s`);
    await pause();
  }
}

export function must(condition, what) {
  if (!condition) throw new Error(what);
}

/** Signs in at the page that asks for it, without a mouse. */
export async function signInByKeys(page, stack) {
  await page.locator("input[name=email]").waitFor();
  await until("the email field has the focus", () => page.evaluate(() => document.activeElement?.getAttribute("name") === "email"));
  await page.keyboard.type(stack.email);
  await page.keyboard.press("Tab");
  await page.keyboard.type(stack.password);
  await page.keyboard.press("Enter");
}

/** Waits for the stack's run file, and stops waiting when the stack has ended. */
export async function stackAt(path) {
  const pid = Number(process.env.STACK_PID ?? 0);
  await until(`the stack's ${path}`, () => {
    if (pid > 0) process.kill(pid, 0);
    return existsSync(path);
  }, 90_000);
  return JSON.parse(readFileSync(path, "utf8"));
}

/** How Chromium is started wherever this runs. */
export const flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

/** The distribution's Chromium, or the one that CHROMIUM names. */
export function chromiumPath() {
  const known = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
  const path = process.env.CHROMIUM ?? known.find((each) => existsSync(each));
  must(path, "No Chromium was found. Install one, or name it in CHROMIUM.");
  return path;
}

export const openBrowser = () => chromium.launch({ executablePath: chromiumPath(), args: flags });

/** Where requests went that left this machine, from every page of a context. */
export function watchRequests(context, strangers) {
  const local = (address) => ["data:", "blob:", "about:"].some((scheme) => address.startsWith(scheme)) || ["127.0.0.1", "localhost", "[::1]"].includes(new URL(address).hostname);
  const look = (address) => local(address) || strangers.add(address);
  context.on("request", (request) => look(request.url()));
  context.on("page", (page) => page.on("websocket", (socket) => look(socket.url())));
}

/** Runs named steps one after the other; a failed one does not stop the rest. */
export function steps(results) {
  let passed = 0;
  let failed = 0;
  const step = async (name, page, body, deadlineMs = STEP_DEADLINE_MS) => {
    const began = Date.now();
    let timer;
    try {
      const late = new Promise((_, fail) => { timer = setTimeout(() => fail(new Error(`the step took more than ${deadlineMs / 1000} s`)), deadlineMs); });
      await Promise.race([body(), late]);
      passed += 1;
      console.log(`ok    ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
    } catch (error) {
      failed += 1;
      const file = `${results}/${name.replace(/[^a-z0-9]+/gi, "-").toLowerCase()}.png`;
      await page.screenshot({ path: file, timeout: 5000 }).catch(() => undefined);
      console.log(`FAIL  ${name}: ${error.message}\n      ${file}`);
    } finally {
      clearTimeout(timer);
    }
  };
  return { step, totals: () => ({ passed, failed }) };
}
