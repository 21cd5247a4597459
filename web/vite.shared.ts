/**
 * What the builds of console, local UI and showcase have in common: React,
 * Tailwind, hashed names, no inlined assets, and the small script that sets
 * the theme before the first paint. Everything is served from the same origin
 * under `script-src 'self'`, so nothing is ever written inline.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import type { Plugin, UserConfig } from "vite";

const themeFile = fileURLToPath(new URL("./ui/src/theme-boot.js", import.meta.url));

/** Emits `theme-boot.js` under a hashed name and loads it, blocking, in the head. */
function themeBoot(): Plugin {
  const source = readFileSync(themeFile, "utf8");
  const name = `assets/theme-${createHash("sha256").update(source).digest("hex").slice(0, 8)}.js`;
  return {
    name: "unifyit-theme-boot",
    configureServer(server) {
      server.middlewares.use(`/${name}`, (_request, response) => {
        response.setHeader("Content-Type", "text/javascript");
        response.end(source);
      });
    },
    generateBundle() {
      this.emitFile({ type: "asset", fileName: name, source });
    },
    transformIndexHtml(html) {
      return html.replace("<title>", `<script src="/${name}"></script>\n    <title>`);
    },
  };
}

/** The shared part of a Vite configuration, building into `dist/<name>`. */
export function shared(name: string): UserConfig {
  return {
    base: "/",
    plugins: [react(), tailwindcss(), themeBoot()],
    resolve: { dedupe: ["react", "react-dom"] },
    build: {
      outDir: fileURLToPath(new URL(`./dist/${name}`, import.meta.url)),
      emptyOutDir: true,
      assetsInlineLimit: 0,
      target: "es2023",
      manifest: true,
      modulePreload: { polyfill: false },
      reportCompressedSize: false,
    },
  };
}
