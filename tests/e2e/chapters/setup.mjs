/**
 * The guided first minutes of a second site: the lines that the page shows are
 * copied and run with the real relay and the real agent, and the page goes on
 * by itself. What was set up is used, and broken, by later chapters.
 */
import { must, until } from "../support.mjs";

/** Name and PIN of the second site. */
const NAME = "Branch office";
const PIN = "482915";

export default async function setup({ step, page, main, get, at, go, dialog, copyToken, programs, stack, found }) {
  const relay = programs.relay("branch-relay");
  const agent = programs.agent("branch-agent");
  found.branch = { relay, agent, pin: PIN, name: "branch-pc" };

  await step("set up a second site: the relay's line is shown and copied", page, async () => {
    await go("/");
    await page.getByRole("link", { name: "Set up a site" }).first().click();
    await at(/\/sites\/setup/);
    await main.getByRole("button", { name: "Go on" }).click();
    await main.getByLabel("Name").fill(NAME);
    await main.getByRole("button", { name: "Create", exact: true }).click();
    await at(/site=[0-9a-f-]{36}/);
    found.branch.site = new URL(page.url()).searchParams.get("site");
    await main.getByRole("button", { name: "Create a relay line" }).click();
    await main.getByText("Waiting for the relay to connect.").waitFor();
    found.branch.token = await copyToken();
  });

  await step("the page sees the relay come by itself", page, async () => {
    await relay.enroll(found.branch.token, "--pin", PIN);
    relay.start();
    await main.getByText(/ is connected\.$/).waitFor();
    const { ui } = await relay.runtime();
    found.branch.ui = `https://${ui}`;
  });

  await step("the agent's line brings a live device", page, async () => {
    await main.getByRole("button", { name: "Create an agent line" }).click();
    await main.getByText("Waiting for a computer to join.").waitFor();
    await agent.enroll(await copyToken());
    agent.start();
    await main.getByText(/ has joined\.$/).waitFor();
    const device = await until("the new device online", async () => (await get(`/devices?site_id=${found.branch.site}`)).items.find(({ state }) => state === "online"));
    found.branch.device = device.id;
    found.all += 1;
  });

  // Left open: it must go on to the end while other things are done.
  found.branch.page = await page.context().newPage();
  await found.branch.page.goto(page.url());

  await step("the new device is given a name and its charts move", page, async () => {
    await go(`/devices/${found.branch.device}`);
    await page.getByRole("button", { name: "More" }).click();
    await page.getByRole("menuitem", { name: "Rename and tags" }).click();
    await dialog().getByLabel("Name").fill(found.branch.name);
    await dialog().getByRole("button", { name: "Save" }).click();
    await page.getByRole("heading", { level: 1, name: found.branch.name }).waitFor();
    const chart = page.locator("[role=img][data-points]").first();
    await chart.waitFor({ timeout: 100_000 });
    const points = async () => Number(await chart.getAttribute("data-points"));
    const before = await points();
    await until("one more point in the chart", async () => (await points()) > before, 30_000);
  }, 140_000);

  await step("an install line is made, counted and revoked", page, async () => {
    await go(`/sites/${stack.site_id}?tab=install`);
    await main.getByRole("button", { name: "Create an agent line" }).click();
    await copyToken();
    const lines = main.getByRole("row", { name: /Agent/ });
    const before = await lines.count();
    must(before > 0, "the list of lines does not show the new one");
    await main.getByRole("button", { name: "Revoke" }).first().click();
    await main.getByText("Revoked").first().waitFor();
  });
}

/** Looks, late, at the page that was left open. */
export async function setupDone({ step, found }) {
  const { page: left } = found.branch;
  await step("the set-up page left open has come to its end by itself", left, async () => {
    await left.bringToFront();
    await left.getByText("The site is set up").waitFor({ timeout: 120_000 });
    await left.getByRole("link", { name: "Open the device" }).waitFor();
    await left.close();
  }, 130_000);
}
