import { fileURLToPath } from "node:url";
import { defineConfig, mergeConfig } from "vite";
import { shared } from "../vite.shared.ts";

/** Where `npm run dev` finds the cloud. */
const cloud = "http://127.0.0.1:8080";

export default defineConfig(
  mergeConfig(shared("console"), {
    resolve: { alias: { "@": fileURLToPath(new URL("./src", import.meta.url)) } },
    server: { proxy: { "/api": { target: cloud, ws: true } } },
  }),
);
