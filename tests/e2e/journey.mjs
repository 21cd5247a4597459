/**
 * One technician's work in the console and one person's look at the local page,
 * in a real browser against a real stack. Each step waits for what it names.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { axeFaults, must, openBrowser, stackAt, steps, until, watchRequests } from "./support.mjs";

const results = process.env.RESULTS ?? "test-results";
const stack = await stackAt(process.argv[2]);
const url = stack.console;
const browser = await openBrowser();
const strangers = new Set();
const errors = new Set();
const { step, totals } = steps(results);

async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ignoreHTTPSErrors: true, ...options });
  watchRequests(context, strangers);
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on("pageerror", (error) => errors.add(error.message));
  return page;
}

const page = await open();
const get = (path) => page.evaluate(async (path) => (await fetch(`/api/v1${path}`)).json(), path);
const main = page.locator("#main");
const at = (pattern) => page.waitForURL(pattern);
/** The console moves without loading pages; only a fresh start loads one. */
const go = async (path) => {
  await page.goto(url + path);
  await main.waitFor();
};

async function write(script) {
  const editor = page.locator(".cm-content");
  await editor.click();
  await page.keyboard.press("Control+a");
  await page.keyboard.insertText(script);
}

/** The text that the terminal shows, one line a row. */
const screen = () => page.locator(".xterm-rows > div").evaluateAll((rows) => rows.map((row) => (row.textContent ?? "").replaceAll("\u00a0", " ").trimEnd()).join("\n"));
const shows = (what, pattern) => until(what, async () => pattern.exec(await screen()));

let real;
let all = 0;

await step("sign in by keyboard alone", page, async () => {
  await page.goto(`${url}/sign-in`);
  await page.locator("input[name=email]").waitFor();
  await until("the email field has the focus", () => page.evaluate(() => document.activeElement?.getAttribute("name") === "email"));
  await page.keyboard.type(stack.email);
  await page.keyboard.press("Tab");
  await page.keyboard.type(stack.password);
  await page.keyboard.press("Enter");
  await main.waitFor();
  all = await until("every device has joined", async () => {
    const { devices } = await get("/overview");
    return devices.total > Number(process.env.DEVICES ?? 20) && devices.online === devices.total && devices.total;
  }, 40_000);
  real = (await get(`/devices?q=${encodeURIComponent(hostname())}&limit=5`)).items.find((device) => device.hostname === hostname());
  must(real, "the real agent is not in the list");
});

await step("the overview counts the devices and says what happened in words", page, async () => {
  await go("/");
  await until("the count of devices online", async () => (await main.innerText()).includes(`${all}\nOnline`) || new RegExp(`\\b${all}\\s*Online`).test(await main.innerText()));
  await main.getByText("Signed in").first().waitFor();
  must(!/\b(user\.login|device\.enroll)\b/.test(await main.innerText()), "a raw verb is shown");
});

await step("find a device by search and filter, and share the address", page, async () => {
  await go("/devices");
  await main.getByText(`${all} devices`, { exact: true }).waitFor();
  await page.getByRole("searchbox", { name: "Search devices" }).fill(real.name);
  await at(new RegExp(`q=${real.name}`));
  await page.getByRole("button", { name: /^Online/ }).click();
  await at(/state=online/);
  await main.getByText(/\d+ devices? match/).waitFor();
  const shared = page.url();
  const other = await page.context().newPage();
  await other.goto(shared);
  await other.locator(`#device-${real.id}`).waitFor();
  must((await other.getByRole("searchbox", { name: "Search devices" }).inputValue()) === real.name, "the shared address lost the search");
  await other.close();
  await page.bringToFront();
});

await step("keyboard alone: from anywhere to a device page", page, async () => {
  await go("/");
  await page.keyboard.press("g");
  await page.keyboard.press("d");
  await at(/\/devices(\?|$)/);
  await page.locator("[role=row][aria-rowindex]").nth(1).waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type(real.name);
  await at(new RegExp(`q=${real.name}`));
  await main.getByText(/^\d+ devices? match(es)?$/).waitFor();
  await page.locator(`#device-${real.id}`).waitFor();
  await page.keyboard.press("Enter");
  await page.keyboard.press("j");
  await page.locator("[role=row][data-active]").waitFor();
  await page.keyboard.press("Enter");
  await at(/peek=/);
  await page.keyboard.press("Enter");
  await at(/\/devices\/[0-9a-f-]{36}/);
  await page.getByRole("heading", { level: 1, name: real.name }).waitFor();
  await page.keyboard.press("Control+k");
  await page.locator("[cmdk-input]").waitFor();
  await page.keyboard.type("audit");
  await page.locator("[cmdk-item][data-selected=true]", { hasText: /audit/i }).waitFor();
  await page.keyboard.press("Enter");
  await at(/\/audit/);
});

await step("run a script on all devices and read the grouped results", page, async () => {
  await go("/devices");
  await page.locator("[role=row][aria-rowindex]").nth(1).waitFor();
  await page.getByRole("checkbox", { name: "Select all that match" }).click();
  await page.getByRole("button", { name: `Run script on ${all}` }).click();
  await write("echo the same everywhere\n");
  await page.getByRole("button", { name: `Run on ${all} devices` }).click();
  const dialog = page.getByRole("dialog").or(page.getByRole("alertdialog"));
  await dialog.waitFor();
  const typed = dialog.getByRole("textbox");
  if (await typed.count()) await typed.fill(String(all));
  await dialog.getByRole("button", { name: `Run on ${all} devices` }).click();
  await at(/\/tasks\/[0-9a-f-]{36}/);
  await main.getByText(/^Done/).first().waitFor({ timeout: 40_000 });
  await main.getByText(/\d+ (the same|different results)/).first().waitFor();
  const { counts, total } = await get(`/tasks/${/tasks\/([0-9a-f-]{36})/.exec(page.url())[1]}`);
  must(total === all && Object.values(counts).reduce((sum, value) => sum + value, 0) === all, `${total} targets, expected ${all}`);
  must(!counts.expired && !counts.indeterminate, "a command was lost");
});

await step("output of a script arrives line by line", page, async () => {
  await go(`/devices/${real.id}`);
  await page.getByRole("link", { name: "Run script" }).click();
  await at(/tasks\/new/);
  // The test lets the script go on, so that the order of things is certain.
  const gate = join(mkdtempSync(join(tmpdir(), "unifyit-e2e-gate.")), "open");
  await write(`echo first\nuntil [ -e '${gate}' ]; do sleep 0.1; done\necho second; exit 3\n`);
  await page.getByRole("button", { name: "Run on 1 device" }).click();
  await at(/\/tasks\/[0-9a-f-]{36}/);
  await main.getByText("first", { exact: true }).waitFor();
  must(!(await main.getByText("second", { exact: true }).count()), "all output came at once");
  writeFileSync(gate, "");
  await main.getByText("second", { exact: true }).waitFor();
  await main.getByText("exit code 3").first().waitFor();
  await main.getByText("Done, 1 failed").first().waitFor();
  rmSync(dirname(gate), { recursive: true });
});

await step("cancel a long script", page, async () => {
  await go(`/tasks/new?devices=${real.id}`);
  await write("echo started\nsleep 600\n");
  await page.getByRole("button", { name: "Run on 1 device" }).click();
  await at(/\/tasks\/[0-9a-f-]{36}/);
  await main.getByText("started", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Cancel task" }).click();
  const dialog = page.getByRole("dialog").or(page.getByRole("alertdialog"));
  await dialog.getByRole("button", { name: "Cancel task" }).click();
  await main.getByText("Cancelled").first().waitFor();
  await until("the device has stopped it", async () => (await get(`/tasks/${/tasks\/([0-9a-f-]{36})/.exec(page.url())[1]}`)).counts.cancelled === 1);
});

await step("a terminal draws colours, follows the window, and runs less", page, async () => {
  await go(`/terminal?device=${real.id}`);
  await page.getByRole("status").getByText("Connected").waitFor();
  await page.locator(".xterm-helper-textarea").focus();
  await shows("a prompt", /[#$%>]\s*$/m);
  await page.keyboard.type("printf '\\033[31mred\\033[0m\\n'\n");
  await until("red text", () => page.locator(".xterm-rows .xterm-fg-1", { hasText: /^red$/ }).count());
  const size = async (mark) => {
    await page.keyboard.type(`echo ${mark}=$(stty size | tr ' ' x)\n`);
    return (await shows(`the size ${mark}`, new RegExp(`^${mark}=(\\d+x\\d+)`, "m")))[1];
  };
  const wide = await size("before");
  await page.setViewportSize({ width: 1000, height: 620 });
  let tries = 0;
  const narrow = await until("a smaller terminal on the device", async () => {
    const now = await size(`after${(tries += 1)}`);
    return now !== wide && now;
  });
  must(Number(narrow.split("x")[1]) < Number(wide.split("x")[1]), `${wide} became ${narrow}`);
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.keyboard.type("seq 1 5000 | less\n");
  await shows("the first page of less", /^1\n2\n3\n/);
  await page.keyboard.press("G");
  await shows("the end in less", /^5000\n.*END/m);
  await page.keyboard.press("q");
  await shows("what was there before less", /after1=\d+x\d+/);
  await page.keyboard.type("exit\n");
  await page.getByRole("status").getByText(/^Closed/).waitFor();
});

await step("an install line for agents is made and revoked", page, async () => {
  await go(`/sites/${stack.site_id}?tab=install`);
  const makers = main.getByRole("button", { name: /create/i });
  await makers.first().click();
  await main.locator("code", { hasText: /enroll|token/ }).first().waitFor();
  await main.getByRole("button", { name: "Revoke" }).first().click();
  await main.getByText("Revoked").first().waitFor();
});

await step("a device page gains live points", page, async () => {
  await go(`/devices/${real.id}`);
  const chart = page.locator("[role=img][data-points]").first();
  await chart.waitFor({ timeout: 150_000 });
  const points = async () => Number(await chart.getAttribute("data-points"));
  const before = await points();
  await until("one more point in the chart", async () => (await points()) > before, 25_000);
});

for (const colorScheme of ["light", "dark"]) {
  await step(`the main pages have no serious accessibility faults, ${colorScheme}`, page, async () => {
    const faults = [];
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    for (const path of ["/", "/devices", `/devices/${real.id}`, "/audit"]) {
      await go(path);
      await page.locator("#main h1").first().waitFor();
      await until(`${path} is drawn`, async () => (await page.locator("#main .animate-pulse, #main [aria-busy=true]").count()) === 0);
      faults.push(...(await axeFaults(page, path)));
    }
    must(faults.length === 0, faults.join("; "));
  });
}

const local = await open();
await step("the local page answers on one screen after the PIN", local, async () => {
  await local.goto(stack.relay_ui);
  await local.locator("input[name=pin]").fill(stack.relay_ui_pin);
  await local.keyboard.press("Enter");
  await local.getByText(/The internet connection to your IT partner has been working/).waitFor();
  await local.getByText(/(All \d+ computers are|The one computer here is|\d+ of \d+ computers (is|are)) (not )?healthy\./).waitFor();
  await local.getByText(/Nobody is needed\.|needs? somebody\./).first().waitFor();
  const faults = await axeFaults(local, "local page");
  must(faults.length === 0, faults.join("; "));
});

await step("no request left this machine and no page broke", page, async () => {
  must(strangers.size === 0, `asked elsewhere: ${[...strangers].slice(0, 3).join(" ")}`);
  must(errors.size === 0, `errors in the page: ${[...errors].slice(0, 3).join("; ")}`);
});

await browser.close();
const { passed, failed } = totals();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
