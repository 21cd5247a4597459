/**
 * What the chapters share: the stack, the browser, the technician's page with
 * the moves that a person makes on it, and what earlier chapters have found.
 */
import { AxeBuilder, must, until, watchRequests } from "./support.mjs";

/** A world around a stack; `found` grows as chapters go on. */
export async function world({ stack, browser, steps, programs }) {
  const strangers = new Set();
  const errors = new Set();

  /** A page in a browser context of its own. */
  const open = async (options = {}) => {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ignoreHTTPSErrors: true, ...options });
    watchRequests(context, strangers);
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    page.on("pageerror", (error) => errors.add(error.message));
    return page;
  };

  const page = await open({ permissions: ["clipboard-read", "clipboard-write"] });
  return { stack, browser, programs, step: steps.step, strangers, errors, open, found: {}, ...moves(stack.console, page) };
}

/** The moves of a person on one page of the console. */
export function moves(url, page) {
  const main = page.locator("#main");
  const get = (path) => page.evaluate(async (path) => (await fetch(`/api/v1${path}`)).json(), path);
  const at = (pattern) => page.waitForURL(pattern);
  /** The console moves without loading pages; only a fresh start loads one. */
  const go = async (path) => {
    await page.goto(url + path);
    await main.waitFor();
  };
  const dialog = () => page.getByRole("dialog").or(page.getByRole("alertdialog"));
  const write = async (script) => {
    const editor = page.locator(".cm-content");
    await editor.click();
    await page.keyboard.press("Control+a");
    await page.keyboard.insertText(script);
  };
  /** Starts the written script on one device, and returns the task's id. */
  const runOnOne = async () => {
    await page.getByRole("button", { name: "Run on 1 device" }).click();
    await at(/\/tasks\/[0-9a-f-]{36}/);
    return /tasks\/([0-9a-f-]{36})/.exec(page.url())[1];
  };
  /** Presses the button that copies, and returns the token in the copied line. */
  const copyToken = async () => {
    await page.getByRole("button", { name: "Copy line" }).click();
    const line = await until("a line in the clipboard", () => page.evaluate(() => navigator.clipboard.readText()));
    // It goes to the installer by standard input: whoever lists processes does not see it.
    const token = /printf '%s\\n' ([\w.-]+)/.exec(line)?.[1];
    must(token, "the copied line holds no token");
    return token;
  };
  const signIn = async ({ email, password }) => {
    await page.locator("input[name=email]").fill(email);
    await page.locator("input[name=password]").fill(password);
    await page.keyboard.press("Enter");
    await main.waitFor();
  };
  return { page, main, get, at, go, dialog, write, runOnOne, copyToken, signIn };
}

/** Serious and critical faults on the page as it is. */
export async function axeFaults(page, where) {
  const { violations } = await new AxeBuilder({ page }).analyze();
  return violations.filter(({ impact }) => ["serious", "critical"].includes(impact)).map(({ id, nodes }) => `${where}: ${id} at ${nodes[0]?.target.join(" ")}`);
}
