import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  resolve: { alias: { "@unifyit/ui": at("./ui/src/index.ts"), "@": at("./console/src") } },
  test: {
    environment: "happy-dom",
    include: ["{ui,console,site}/src/**/*.test.{ts,tsx}"],
    maxWorkers: 2,
  },
});
