/**
 * A technician's work in the console and a look at the local page, in a real
 * browser against a real stack, chapter by chapter. Each step waits for what it
 * names; a step that fails leaves a screenshot and does not stop the rest.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import access from "./chapters/access.mjs";
import devices from "./chapters/devices.mjs";
import hostile from "./chapters/hostile.mjs";
import keyboard from "./chapters/keyboard.mjs";
import outage from "./chapters/outage.mjs";
import setup, { setupDone } from "./chapters/setup.mjs";
import signIn from "./chapters/sign-in.mjs";
import tasks from "./chapters/tasks.mjs";
import terminal from "./chapters/terminal.mjs";
import { programs } from "./programs.mjs";
import { must, openBrowser, stackAt, steps } from "./support.mjs";
import { world } from "./world.mjs";

const chapters = { signIn, setup, devices, tasks, terminal, setupDone, keyboard, access, outage, hostile };

const folder = mkdtempSync(join(tmpdir(), "unifyit-journey."));
const own = programs(process.env.BIN_DIR, folder);
const runner = steps(process.env.RESULTS ?? "test-results");
const stack = await stackAt(process.argv[2]);
const browser = await openBrowser();
const all = await world({ stack, browser, steps: runner, programs: own });

/** CHAPTERS=signIn,hostile tells some only. */
const chosen = process.env.CHAPTERS?.split(",") ?? Object.keys(chapters);
for (const [name, chapter] of Object.entries(chapters).filter(([name]) => chosen.includes(name))) {
  // What a chapter does outside its steps fails as a step of its own.
  await chapter(all).catch((error) => all.step(`the chapter ${name} goes on to its end`, all.page, () => Promise.reject(error)));
}

await all.step("no request left this machine and no page broke", all.page, async () => {
  must(all.strangers.size === 0, `asked elsewhere: ${[...all.strangers].slice(0, 3).join(" ")}`);
  must(all.errors.size === 0, `errors in the page: ${[...all.errors].slice(0, 3).join("; ")}`);
});

await browser.close();
await own.stopAll();
const { passed, failed } = runner.totals();
if (failed === 0) rmSync(folder, { recursive: true });
else console.log(`The logs of what the journey started are in ${folder}.`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
