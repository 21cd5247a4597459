/** Scripts: on every device with grouped results, line by line, cancelled. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { must, until } from "../support.mjs";

export default async function tasks({ step, page, main, get, at, go, dialog, write, runOnOne, found }) {
  const { all, real } = found;
  const simulated = all - 2;

  await step("run a script on all devices and read the grouped results", page, async () => {
    await go("/devices");
    await page.locator("[role=row][aria-rowindex]").nth(1).waitFor();
    await page.getByRole("checkbox", { name: "Select all that match" }).click();
    await page.getByRole("button", { name: `Run script on ${all}` }).click();
    // Simulated devices obey the first line, real ones the second.
    await write("# sim: print=alike\necho 'something else'\n");
    await page.getByRole("button", { name: `Run on ${all} devices` }).click();
    await dialog().waitFor();
    const start = dialog().getByRole("button", { name: `Run on ${all} devices` });
    if (all > 20) {
      must(await start.isDisabled(), "so many devices were not asked for by number");
      await dialog().getByRole("textbox").fill(String(all));
    }
    await start.click();
    await at(/\/tasks\/[0-9a-f-]{36}/);
    await main.getByText("Done", { exact: true }).first().waitFor({ timeout: 60_000 });
    await main.getByText(`${simulated} the same, 2 differ`).waitFor();
    await main.getByText("alike", { exact: true }).waitFor();
    await main.getByText("something else", { exact: true }).waitFor();
    const { counts, total } = await get(`/tasks/${/tasks\/([0-9a-f-]{36})/.exec(page.url())[1]}`);
    must(total === all && counts.succeeded === all, `${counts.succeeded} of ${total} succeeded, expected ${all}`);
    await main.getByRole("radio", { name: "By device" }).or(main.getByRole("button", { name: "By device" })).or(main.getByRole("tab", { name: "By device" })).first().click();
    await main.getByRole("button", { name: found.branch.name }).first().waitFor();
  }, 100_000);

  await step("output of a script arrives line by line", page, async () => {
    await go(`/devices/${real.id}`);
    await page.getByRole("link", { name: "Run script" }).click();
    await at(/tasks\/new/);
    // The test lets the script go on, so that the order of things is certain.
    const gate = join(mkdtempSync(join(tmpdir(), "unifyit-e2e-gate.")), "open");
    await write(`echo first\nuntil [ -e '${gate}' ]; do sleep 0.1; done\necho second; exit 3\n`);
    await runOnOne();
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
    const task = await runOnOne();
    await main.getByText("started", { exact: true }).waitFor();
    await page.getByRole("button", { name: "Cancel task" }).click();
    await dialog().getByRole("button", { name: "Cancel task" }).click();
    await main.getByText("Cancelled").first().waitFor();
    await until("the device has stopped it", async () => (await get(`/tasks/${task}`)).counts.cancelled === 1);
  });
}
