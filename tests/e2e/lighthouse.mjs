/**
 * Lighthouse on the signed-in console: overview, list and device page, three
 * times each, the middle score counts. Prints the scores and what is lacking;
 * fails below the goal. Desktop settings: technicians sit at one.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import lighthouse, { desktopConfig } from "lighthouse";
import { chromium, chromiumPath, flags, must, stackAt, until } from "./support.mjs";
import { moves } from "./world.mjs";

const GOAL = 95;
const RUNS = 3;
const categories = ["performance", "accessibility", "best-practices"];
const results = process.env.RESULTS ?? "test-results";

const stack = await stackAt(process.argv[2]);
// Lighthouse opens pages of its own in the browser's first context: that one signs in.
const profile = mkdtempSync(join(tmpdir(), "unifyit-lighthouse."));
const context = await chromium.launchPersistentContext(profile, { executablePath: chromiumPath(), args: [...flags, "--remote-debugging-port=0"], viewport: { width: 1350, height: 940 } });
const port = await until("the browser's port", () => {
  try {
    return Number(readFileSync(join(profile, "DevToolsActivePort"), "utf8").split("\n")[0]);
  } catch {
    return 0;
  }
});

const page = await context.newPage();
const { get, signIn } = moves(stack.console, page);
await page.goto(`${stack.console}/sign-in`);
await signIn(stack);
const device = await until("a device that has measured", async () => (await get("/devices?limit=50")).items.find((each) => each.state === "online" && each.metrics_at), 120_000);
await page.close();

let lacking = 0;
for (const [name, path] of [["overview", "/"], ["list", "/devices"], ["device page", `/devices/${device.id}`]]) {
  const runs = [];
  for (let run = 0; run < RUNS; run += 1) {
    const look = () => lighthouse(stack.console + path, { port, output: "json", onlyCategories: categories, disableStorageReset: true, logLevel: "error" }, desktopConfig);
    let { lhr, report } = await look();
    // Now and then the browser's trace lacks its beginning; then it is taken again.
    if (lhr.runtimeError) ({ lhr, report } = await look());
    must(!lhr.runtimeError, `${name}: ${lhr.runtimeError?.message}`);
    must(new URL(lhr.finalDisplayedUrl).pathname === path.split("?")[0], `${name}: ended at ${lhr.finalDisplayedUrl}`);
    runs.push({ lhr, report });
  }
  const score = (run, category) => Math.round((run.lhr.categories[category].score ?? 0) * 100);
  const middle = (category) => runs.map((run) => score(run, category)).sort((a, b) => a - b)[Math.floor(RUNS / 2)];
  const last = runs.at(-1);
  writeFileSync(join(results, `lighthouse-${name.replace(" ", "-")}.json`), last.report);
  console.log(`${name.padEnd(12)} ${categories.map((category) => `${category} ${middle(category)}`).join(", ")}`);
  for (const category of categories.filter((each) => middle(each) < GOAL)) {
    lacking += 1;
    const audits = last.lhr.categories[category].auditRefs.map(({ id, weight }) => ({ weight, ...last.lhr.audits[id] }));
    for (const audit of audits.filter(({ weight, score }) => weight > 0 && score !== null && score < 0.9)) console.log(`             ${category}: ${audit.title} ${audit.displayValue ?? ""} (${audit.id}, weight ${audit.weight})`);
  }
}
await context.close();
rmSync(profile, { recursive: true, force: true });
console.log(lacking === 0 ? `every score is ${GOAL} or more` : `${lacking} scores are below ${GOAL}`);
process.exit(lacking === 0 ? 0 : 1);
