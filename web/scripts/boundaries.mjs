/**
 * Holds the house's walls: a feature never imports another feature, the design
 * system and the API layer never import a feature, and only the API layer
 * touches the network. Prints each breach and exits non-zero.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

const web = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const source = join(web, "console", "src");

/** Every source file below a folder. */
function* files(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* files(path);
    else if (/\.(ts|tsx)$/.test(entry.name)) yield path;
  }
}

/** Modules named by static and dynamic imports and re-exports. */
function imports(text) {
  return [...text.matchAll(/(?:from|import)\s*\(?\s*["']([^"']+)["']/g)].map((match) => match[1]);
}

/** The path below `console/src` that an import means, or null for a package. */
function target(file, name) {
  if (name.startsWith("@/")) return name.slice(2);
  if (name.startsWith(".")) return relative(source, resolve(dirname(file), name)).split(sep).join("/");
  return null;
}

const breaches = [];
for (const file of files(source)) {
  const here = relative(source, file).split(sep).join("/");
  const feature = /^features\/([^/]+)\//.exec(here)?.[1];
  const text = readFileSync(file, "utf8");
  for (const name of imports(text)) {
    const there = target(file, name);
    const other = there && /^features\/([^/]+)/.exec(there)?.[1];
    if (feature && other && other !== feature) breaches.push(`${here}: feature "${feature}" imports feature "${other}"`);
    if (!feature && other && !/^(app|routes)(\/|\.)/.test(here)) breaches.push(`${here}: only src/app and src/routes may import a feature`);
    if (here.startsWith("api/") && there && /^(features|app|shell)\//.test(there)) breaches.push(`${here}: the API layer imports ${there}`);
  }
  const lines = text.split("\n").length;
  if (lines > 400 && !here.endsWith(".gen.ts")) breaches.push(`${here}: ${lines} lines, the house allows 400`);
}
for (const file of files(join(web, "ui", "src"))) {
  for (const name of imports(readFileSync(file, "utf8"))) {
    if (/console|site/.test(name) && name.startsWith(".")) breaches.push(`${relative(web, file)}: the design system imports ${name}`);
  }
}
if (breaches.length > 0) {
  console.error(breaches.join("\n"));
  process.exit(1);
}
console.log("boundaries: kept");
