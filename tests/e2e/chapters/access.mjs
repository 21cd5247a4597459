/** No serious accessibility fault on the main pages with real data, in both themes. */
import { must, until } from "../support.mjs";
import { axeFaults } from "../world.mjs";

export default async function access({ step, page, go, found }) {
  for (const colorScheme of ["light", "dark"]) {
    await step(`the main pages have no serious accessibility faults, ${colorScheme}`, page, async () => {
      const faults = [];
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      for (const path of ["/", "/devices", `/devices/${found.real.id}`, "/audit"]) {
        await go(path);
        await page.locator("#main h1").first().waitFor();
        await until(`${path} is drawn`, async () => (await page.locator("#main .animate-pulse, #main [aria-busy=true]").count()) === 0);
        faults.push(...(await axeFaults(page, path)));
      }
      must(faults.length === 0, faults.join("; "));
    }, 120_000);
  }
  await page.emulateMedia({ colorScheme: null, reducedMotion: null });
}
