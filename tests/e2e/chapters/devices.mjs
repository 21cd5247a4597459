/** Finding devices: search, filters, an address that a colleague can open. */
import { must } from "../support.mjs";
import { moves } from "../world.mjs";

export default async function devices({ step, page, main, at, go, open, stack, found }) {
  const { all, real } = found;

  await step("find a device by search and filter, and share the address", page, async () => {
    await go("/devices");
    await main.getByText(`${all} devices`, { exact: true }).waitFor();
    await page.getByRole("searchbox", { name: "Search devices" }).fill(real.name);
    await at(new RegExp(`q=${real.name}`));
    await page.getByRole("button", { name: /^Online/ }).click();
    await at(/state=online/);
    await page.getByRole("button", { name: "System", exact: true }).or(page.locator(`#device-${real.id}`)).first().waitFor();
    await main.getByText(/\d+ devices? match(es)?$/).waitFor();
  });

  const colleague = await open();
  await step("a colleague opens the shared address in another browser and sees the same", colleague, async () => {
    await colleague.goto(page.url());
    await moves(stack.console, colleague).signIn(stack);
    await colleague.locator(`#device-${real.id}`).waitFor();
    must((await colleague.getByRole("searchbox", { name: "Search devices" }).inputValue()) === real.name, "the shared address lost the search");
    must((await colleague.getByRole("button", { name: /^Online/ }).getAttribute("aria-pressed")) === "true", "the shared address lost the filter");
  });
  await colleague.context().close();
}
