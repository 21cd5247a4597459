import { fileURLToPath } from "node:url";
import { defineConfig, mergeConfig } from "vite";
import { shared } from "../vite.shared.ts";

/** Where `npm run dev` finds the cloud. */
const cloud = "http://127.0.0.1:8080";

export default defineConfig(
  mergeConfig(shared("console"), {
    resolve: { alias: { "@": fileURLToPath(new URL("./src", import.meta.url)) } },
    build: {
      rolldownOptions: {
        output: {
          codeSplitting: {
            // A screen is one file of its own beside what all share, instead of a dozen small ones that are asked for one after the other.
            groups: [
              { name: "base", test: /node_modules[\\/](react|react-dom|scheduler|@tanstack[\\/](query|react-query|router|react-router|history|store|react-store)[^\\/]*|@radix-ui|radix-ui|@floating-ui|sonner|clsx)[\\/]/, priority: 2 },
              { name: "shared", test: /(ui[\\/]src|console[\\/]src[\\/](api|components|lib|strings)|lucide-react)[\\/]/, minShareCount: 3, priority: 1 },
            ],
          },
        },
      },
    },
    server: { proxy: { "/api": { target: cloud, ws: true } } },
  }),
);
