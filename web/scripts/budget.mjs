/**
 * Adds up the JavaScript that a first load fetches (the entry and what it
 * imports statically, gzipped) and fails above the budget. Reads Vite's
 * manifest, so lazily loaded chunks do not count.
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const dist = resolve(dirname(fileURLToPath(import.meta.url)), "..", "dist");
const budgets = { console: 250_000, site: 120_000 };
/** Texts that only the terminal, the editor and the charts contain: those stay out of the first load. */
const lazyOnly = ["xterm-helper-textarea", "cm-content", "u-cursor-pt"];

let failed = false;
for (const [name, budget] of Object.entries(budgets)) {
  const folder = join(dist, name);
  const file = `${folder}.manifest.json`;
  if (!existsSync(file)) {
    if (name === "site") continue;
    console.error(`budget: ${name} is not built; run npm run build`);
    process.exit(1);
  }
  const manifest = JSON.parse(readFileSync(file, "utf8"));
  const seen = new Set();
  const visit = (key) => {
    if (seen.has(key)) return;
    seen.add(key);
    for (const next of manifest[key].imports ?? []) visit(next);
  };
  for (const [key, chunk] of Object.entries(manifest)) if (chunk.isEntry) visit(key);
  let total = 0;
  for (const key of seen) {
    const chunk = manifest[key];
    if (!chunk.file.endsWith(".js")) continue;
    const text = readFileSync(join(folder, chunk.file), "utf8");
    total += gzipSync(text, { level: 9 }).length;
    const heavy = lazyOnly.filter((word) => text.includes(word));
    if (heavy.length > 0) {
      console.error(`budget: ${chunk.file} (${heavy.join(", ")}) is part of the first load of ${name}`);
      failed = true;
    }
  }
  const html = readFileSync(join(folder, "index.html"), "utf8");
  if (/<script(?![^>]*\bsrc=)[^>]*>/i.test(html)) {
    console.error(`budget: ${name}/index.html holds an inline script, which the Content-Security-Policy blocks`);
    failed = true;
  }
  const verdict = total <= budget ? "within" : "ABOVE";
  console.log(`budget: ${name} first load ${(total / 1000).toFixed(1)} kB gzipped, ${verdict} ${budget / 1000} kB`);
  if (total > budget) failed = true;
}
process.exit(failed ? 1 : 0);
