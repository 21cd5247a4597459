/** One whole path without a mouse: sign in, find a device, run a script, read what it said. */
import { must, signInByKeys, until } from "../support.mjs";
import { moves } from "../world.mjs";

/** No page needs more presses of Tab than this to reach anything. */
const MOST_TABS = 60;

export default async function keyboard({ step, open, stack, found }) {
  const page = await open();
  const { main, at } = moves(stack.console, page);
  const { name } = found.branch;

  /** Presses Tab until `probe`, run in the page, is true of what has the focus. */
  const tabTo = async (what, probe, argument) => {
    for (let press = 0; press < MOST_TABS; press += 1) {
      if (await page.evaluate(probe, argument)) return;
      await page.keyboard.press("Tab");
    }
    throw new Error(`${what} was not reached with ${MOST_TABS} presses of Tab`);
  };

  await step("keyboard alone: sign in and go to a device by the palette", page, async () => {
    await page.goto(stack.console);
    await signInByKeys(page, stack);
    await main.waitFor();
    await page.keyboard.press("Control+k");
    await page.locator("[cmdk-input]").waitFor();
    await page.keyboard.type(name);
    await page.locator("[cmdk-item]", { hasText: name }).first().waitFor();
    // Devices come after what matched at once, which then has the selection.
    await page.keyboard.press("Home");
    await page.locator("[cmdk-item][data-selected=true]", { hasText: name }).waitFor();
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { level: 1, name }).waitFor();
  });

  await step("keyboard alone: run a script there and read its output", page, async () => {
    await tabTo("the link Run script", () => document.activeElement?.tagName === "A" && document.activeElement.textContent === "Run script");
    must(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle !== "none"), "what has the focus does not show it");
    await page.keyboard.press("Enter");
    await at(/tasks\/new/);
    await page.locator(".cm-content").waitFor();
    await tabTo("the editor", () => document.activeElement?.shadowRoot?.activeElement?.classList.contains("cm-content") ?? false);
    await page.keyboard.press("Control+End");
    await page.keyboard.type("echo by keyboard alone\n");
    await page.keyboard.press("Control+Enter");
    await at(/\/tasks\/[0-9a-f-]{36}/);
    await main.getByText("by keyboard alone", { exact: true }).waitFor();
    await tabTo("the output", (label) => document.activeElement?.getAttribute("aria-label") === label, `Output of ${name}`);
    must(await page.evaluate(() => document.activeElement.textContent.includes("by keyboard alone")), "the output is not in what has the focus");
  });

  await step("keyboard alone: through the list to a device and on to the audit log", page, async () => {
    await page.keyboard.press("g");
    await page.keyboard.press("d");
    await at(/\/devices(\?|$)/);
    await page.locator("[role=row][aria-rowindex]").nth(1).waitFor();
    await page.keyboard.press("/");
    await page.keyboard.type(name);
    await at(new RegExp(`q=${name}`));
    await main.getByText(/^\d+ devices? match(es)?$/).waitFor();
    await page.locator(`#device-${found.branch.device}`).waitFor();
    await page.keyboard.press("Enter");
    await page.keyboard.press("j");
    await page.locator("[role=row][data-active]").waitFor();
    await page.keyboard.press("Enter");
    await at(/peek=/);
    await page.keyboard.press("Enter");
    await at(/\/devices\/[0-9a-f-]{36}/);
    await page.keyboard.press("g");
    await page.keyboard.press("a");
    await at(/\/audit/);
  });
  await page.context().close();
}
