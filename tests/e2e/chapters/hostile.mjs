/**
 * Devices whose every word is made to do harm: markup, terminal escapes, text
 * that turns its direction, bytes that are no text, great lengths. Wherever
 * their words are shown, nothing of them runs, asks elsewhere or deceives, and
 * no page grows wider than the window.
 */
import { must, until } from "../support.mjs";

const DEVICES = 5;
const TABS = ["overview", "metrics", "hardware", "software", "services", "network", "tasks", "timeline", "audit"];
const WIDTHS = [1440, 390];

/** Looks, in the page, for signs of text that was taken for something else. */
const signs = () => {
  const found = [];
  if (window.hostile !== undefined) found.push("a script of the device ran");
  if (document.querySelector("img[src*='hostile'], svg[onload], a[href^='javascript:'], script:not([src]):not([type])")) found.push("markup of the device became elements");
  found.push(...(window.refused ?? []).map((what) => `the page's policy had to refuse ${what}`));
  // Controls and direction overrides, in what is read, named and hovered over.
  const deceiving = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;
  if (deceiving.test(document.title)) found.push("deceiving characters in the title");
  for (const element of document.querySelectorAll("body *")) {
    if (element.closest(".xterm, script")) continue;
    const own = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data);
    const shown = [...own, element.getAttribute("title"), element.getAttribute("aria-label"), element.value].find((text) => typeof text === "string" && deceiving.test(text));
    if (shown !== undefined) found.push(`deceiving characters in ${element.tagName.toLowerCase()}.${String(element.className).slice(0, 40)}`);
  }
  const over = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (over > 0) found.push(`the page scrolls sideways by ${over} px`);
  const main = document.querySelector("#main");
  if (main && main.scrollWidth > main.clientWidth) found.push(`the main part is ${main.scrollWidth - main.clientWidth} px too wide`);
  return [...new Set(found)];
};

export default async function hostile({ step, open, page, main, get, go, copyToken, programs, stack, dialog, write, at }) {
  const dialogs = [];
  page.on("dialog", (box) => {
    // The page itself asks before unsaved work and open terminals are left.
    if (box.type() !== "beforeunload") dialogs.push(`${box.type()}: ${box.message()}`);
    void box.accept();
  });
  await page.context().addInitScript(() => {
    window.refused = [];
    document.addEventListener("securitypolicyviolation", (event) => window.refused.push(event.violatedDirective));
  });

  /** Fails when the page, at any width, was touched by what a device said. */
  const unharmed = async (where, on = page) => {
    const faults = [];
    for (const width of WIDTHS) {
      await on.setViewportSize({ width, height: 900 });
      await until(`${where} is drawn`, async () => (await on.locator("#main .animate-pulse, #main [aria-busy=true]").count()) === 0);
      faults.push(...(await on.evaluate(signs)).map((fault) => `${where} at ${width} px: ${fault}`));
    }
    await on.setViewportSize({ width: WIDTHS[0], height: 900 });
    must(dialogs.length === 0, `${where}: a dialog said ${dialogs[0]}`);
    return faults;
  };
  const none = (faults) => must(faults.length === 0, faults.join("; "));

  let lying = [];
  await step("devices that lie join a site", page, async () => {
    await go(`/sites/${stack.site_id}?tab=install`);
    await main.getByRole("button", { name: "Create an agent line" }).click();
    programs.simulate(await copyToken(), "--hostile", "--devices", String(DEVICES));
    lying = await until("all of them with what they report", async () => {
      const { items } = await get("/devices?q=hostile-&limit=50");
      return items.length === DEVICES && items.every((device) => device.state === "online" && device.os_name) && items;
    }, 60_000);
  });

  await step("their words are harmless in the list, its panel and its filters", page, async () => {
    const faults = [];
    await go("/devices?q=hostile-");
    for (const { id } of lying) await page.locator(`#device-${id}`).waitFor();
    const heights = await page.locator("[role=row][aria-rowindex][id]").evaluateAll((rows) => [...new Set(rows.map((row) => row.getBoundingClientRect().height))]);
    must(heights.length === 1, `rows of ${heights.join(" and ")} px`);
    faults.push(...(await unharmed("list")));
    await page.getByRole("search").getByRole("button", { name: "System" }).click();
    faults.push(...(await unharmed("filter")));
    for (const { id } of lying) {
      await go(`/devices?q=hostile-&peek=${id}`);
      faults.push(...(await unharmed("panel")));
    }
    none(faults);
  }, 110_000);

  await step("their words are harmless on every tab of a device page", page, async () => {
    const faults = [];
    for (const tab of TABS) {
      await go(`/devices/${lying[0].id}?tab=${tab}`);
      await main.getByRole("heading", { level: 1 }).waitFor();
      faults.push(...(await unharmed(`tab ${tab}`)));
    }
    for (const { id } of lying.slice(1)) {
      await go(`/devices/${id}`);
      await main.getByRole("heading", { level: 1 }).waitFor();
      faults.push(...(await unharmed("device page")));
    }
    none(faults);
  }, 110_000);

  await step("their output and their reasons are harmless in a task", page, async () => {
    const faults = [];
    await go(`/tasks/new?devices=${lying.map(({ id }) => id).join(",")}`);
    faults.push(...(await unharmed("new task")));
    await write("true\n");
    await page.getByRole("button", { name: `Run on ${DEVICES} devices` }).click();
    await dialog().getByRole("button", { name: `Run on ${DEVICES} devices` }).click();
    await at(/\/tasks\/[0-9a-f-]{36}/);
    await main.getByText(`Done, ${DEVICES} failed`).waitFor();
    await main.getByText("begin of hostile output").first().waitFor();
    faults.push(...(await unharmed("grouped results")));
    const task = /tasks\/([0-9a-f-]{36})/.exec(page.url())[1];
    await go(`/tasks/${task}?view=devices&device=${lying[0].id}`);
    await main.getByText("begin of hostile output").first().waitFor();
    must(!(await main.locator("a", { hasText: "press me" }).count()), "output became a link");
    must(!(await main.getByRole("region", { name: /^Output of/ }).innerText()).includes("hostile title"), "an escape sequence is shown as text");
    faults.push(...(await unharmed("results by device")));
    none(faults);
  }, 110_000);

  await step("what they print cannot take over a terminal", page, async () => {
    await page.evaluate(() => navigator.clipboard.writeText("mine"));
    await go(`/terminal?device=${lying[0].id}`);
    await page.getByRole("status").getByText("Connected").waitFor();
    await until("the end of their greeting", () => page.locator(".xterm-rows", { hasText: "end of hostile output" }).count());
    must((await page.evaluate(() => navigator.clipboard.readText())) === "mine", "the device wrote the clipboard");
    must(!(await page.title()).includes("hostile title"), "the device set the title");
    none(await unharmed("terminal"));
  });

  await step("their words are harmless in the palette, the overview, tasks and audit", page, async () => {
    const faults = [];
    for (const path of ["/", "/audit", "/tasks", "/sites"]) {
      await go(path);
      await main.getByRole("heading", { level: 1 }).first().waitFor();
      faults.push(...(await unharmed(path)));
    }
    await page.keyboard.press("Control+k");
    await page.locator("[cmdk-input]").fill("hostile-");
    await page.locator("[cmdk-item]", { hasText: "hostile-" }).nth(DEVICES - 1).waitFor();
    faults.push(...(await unharmed("palette")));
    none(faults);
  }, 110_000);

  const local = await open();
  await step("their words are harmless on the local page", local, async () => {
    await local.goto(stack.relay_ui);
    await local.locator("input[name=pin]").fill(stack.relay_ui_pin);
    await local.keyboard.press("Enter");
    await local.getByRole("searchbox", { name: "Find a computer" }).fill("hostile-");
    await local.getByText(/hostile-1/).first().waitFor();
    none(await unharmed("local page", local));
  });
  await local.context().close();
}
