import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";

const web = process.cwd();

it("has types made of the API document as it stands; otherwise run `npm run generate`", { timeout: 60_000 }, () => {
  const manifest = JSON.parse(readFileSync(join(web, "package.json"), "utf8")) as { scripts: { generate: string } };
  const [program, ...given] = manifest.scripts.generate.split(" ");
  const folder = mkdtempSync(join(tmpdir(), "unifyit-schema-"));
  try {
    const fresh = join(folder, "schema.gen.ts");
    const output = given.findIndex((word) => word === "-o") + 1;
    const kept = given[output] ?? "";
    execFileSync(join(web, "node_modules", ".bin", program ?? ""), given.with(output, fresh), { cwd: web, stdio: "pipe" });
    expect(readFileSync(join(web, kept), "utf8") === readFileSync(fresh, "utf8")).toBe(true);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
