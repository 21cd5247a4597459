/**
 * A computer that goes and comes back, and an internet connection that is cut:
 * console and local page must tell the truth all along, and mend by themselves.
 */
import { must, until } from "../support.mjs";
import { axeFaults } from "../world.mjs";

const UP = /The internet connection to your IT partner has been working since \d/;
const DOWN = /The internet connection to your IT partner has been down since \d/;

export default async function outage(world) {
  await goesAndReturns(world);
  const local = await localPage(world);
  await cut(world, local);
  await mended(world, local);
  await local.context().close();
}

async function goesAndReturns({ step, page, main, go, found }) {
  const { branch } = found;
  const band = main.getByText(/This device has been offline since \d/);

  await step("a device goes offline before one's eyes", page, async () => {
    await go(`/devices/${branch.device}`);
    await main.getByText("Online", { exact: true }).first().waitFor();
    await branch.agent.stop();
    await band.waitFor();
    await main.getByText("Offline", { exact: true }).first().waitFor();
    must(!(await page.getByRole("link", { name: "Terminal", exact: true }).count()), "a terminal is offered on a device that is off");
  });

  await step("the list finds what is offline, and sees it return", page, async () => {
    await go("/devices?state=offline");
    await page.locator(`#device-${branch.device}`).waitFor();
    await go(`/devices/${branch.device}`);
    await band.waitFor();
    branch.agent.start();
    await band.waitFor({ state: "detached" });
    await main.getByText("Online", { exact: true }).first().waitFor();
  });
}

async function localPage({ step, open, found }) {
  const local = await open();
  await step("the local page answers on one screen after the PIN", local, async () => {
    await enter(local, found.branch);
    await local.getByText(UP).waitFor();
    await local.getByText(/(All \d+ computers are|The one computer here is|\d+ of \d+ computers (is|are)) (not )?healthy\./).waitFor();
    await local.getByText(/Nobody is needed\.|needs? somebody\./).first().waitFor();
    const faults = await axeFaults(local, "local page");
    must(faults.length === 0, faults.join("; "));
  });
  return local;
}

async function enter(page, { ui, pin }) {
  await page.goto(ui);
  await page.locator("input[name=pin]").fill(pin);
  await page.keyboard.press("Enter");
}

async function cut({ step, page, main, get, go, write, runOnOne, open, stack, found }, local) {
  const { branch } = found;

  await step("the internet is cut: the console says since when, by itself", page, async () => {
    await go(`/sites/${branch.site}`);
    await main.getByText("Healthy", { exact: true }).first().waitFor();
    process.kill(stack.pid, "SIGUSR1");
    await main.getByText(/The relay has had no contact with the cloud since \d/).waitFor({ timeout: 60_000 });
    await main.getByText("Unreachable", { exact: true }).first().waitFor();
  }, 80_000);

  await step("nothing pretends to be current while a site cannot be reached", page, async () => {
    await until("every site unreachable", async () => (await get("/overview")).sites.unreachable === 2, 40_000);
    await go(`/devices/${branch.device}`);
    await main.getByText(/The site's relay has had no contact with the cloud since \d/).waitFor();
    await main.getByText("Unreachable", { exact: true }).first().waitFor();
    must(await main.locator("time[datetime][title]").count(), "no age is shown");
    must(!(await page.getByRole("link", { name: "Terminal", exact: true }).count()), "a terminal is offered where nothing can be reached");
    await go("/devices?state=unreachable");
    await main.getByText(`${found.all} devices match`).waitFor();
    await go("/");
    await until("the overview's counts", async () => new RegExp(`\\b${found.all}\\s*Unreachable`).test(await main.innerText()));
    await main.getByText("Branch office").first().waitFor();
  }, 80_000);

  await step("a script for a site that cannot be reached is queued, and says until when", page, async () => {
    await go(`/tasks/new?devices=${branch.device}`);
    await write("echo after the outage\n");
    branch.queued = await runOnOne();
    await main.getByText(/queued until/).first().waitFor();
  });

  await step("the local page says that the internet is down", local, async () => {
    await local.bringToFront();
    await local.getByText(DOWN).waitFor({ timeout: 40_000 });
    await local.getByText("Computers here keep being looked after.").waitFor();
  });

  const visitor = await open({ viewport: { width: 390, height: 844 } });
  await step("without the internet, a phone at the site can sign in and read it", visitor, async () => {
    await enter(visitor, branch);
    await visitor.getByText(DOWN).waitFor();
    await visitor.getByText(/computer/).first().waitFor();
    const wide = await visitor.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    must(wide <= 0, `the local page scrolls sideways by ${wide} px on a phone`);
  });
  await visitor.context().close();
}

async function mended({ step, page, main, get, go, stack, found }, local) {
  const { branch } = found;

  await step("the internet returns: the queued script runs, without a reload", page, async () => {
    await page.bringToFront();
    process.kill(stack.pid, "SIGUSR2");
    await main.getByText("after the outage", { exact: true }).waitFor({ timeout: 90_000 });
    await main.getByText("Done", { exact: true }).first().waitFor();
  }, 110_000);

  await step("sites and devices are whole again everywhere", page, async () => {
    await go(`/sites/${branch.site}`);
    await main.getByText("Healthy", { exact: true }).first().waitFor({ timeout: 60_000 });
    must(!(await main.getByText(/no contact with the cloud/).count()), "the band stayed");
    await until("every device online", async () => {
      const { devices, sites } = await get("/overview");
      return devices.online === found.all && sites.healthy === 2;
    }, 60_000);
    await local.bringToFront();
    await local.getByText(UP).waitFor();
    await page.bringToFront();
  }, 130_000);
}
