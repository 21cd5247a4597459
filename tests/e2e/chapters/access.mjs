/** No serious accessibility fault on the main pages with real data, in both themes, nor while they load. */
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
  await step("a list that still loads has no serious accessibility faults", page, async () => {
    let answer;
    const answered = new Promise((resolve) => (answer = resolve));
    // The page that is left behind asked, too, and takes no answer any more.
    const held = async (route) => {
      await answered;
      await route.continue().catch(() => undefined);
    };
    const devices = /\/api\/v1\/devices\?/;
    await page.route(devices, held);
    try {
      // Anew, so that nothing is there from before.
      await go("/devices");
      await page.reload();
      await page.locator("[role=grid][aria-busy=true]").waitFor();
      const faults = await axeFaults(page, "/devices while it loads");
      must(faults.length === 0, faults.join("; "));
    } finally {
      answer();
    }
    await page.locator("[role=grid]:not([aria-busy])").waitFor();
    await page.unroute(devices, held);
  });
}
