/**
 * What the builds of console, local UI and showcase have in common: React,
 * Tailwind, hashed names, no inlined assets, and the small script that sets
 * the theme before the first paint. Everything is served from the same origin
 * under `script-src 'self'`, so nothing is ever written inline.
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
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

/** The face of most of what is written: fetched with the page, not after its first layout. */
const FIRST_FONT = /inter-latin-wght-normal-[^/]*\.woff2$/;

/** Names the first font in the head. */
function preloadFont(): Plugin {
  return {
    name: "unifyit-preload-font",
    apply: "build",
    transformIndexHtml: {
      order: "post",
      handler(_html, { bundle }) {
        const font = Object.keys(bundle ?? {}).find((name) => FIRST_FONT.test(name));
        return font ? [{ tag: "link", attrs: { rel: "preload", as: "font", type: "font/woff2", crossorigin: "", href: `/${font}` }, injectTo: "head" as const }] : [];
      },
    },
  };
}

/** What is worth packing; fonts and pictures are packed already. */
const PACKED = /\.(html|js|css|svg|json|txt|map)$/;

/**
 * Leaves each text beside its Brotli and gzip form, made once and as small as can be, and puts Vite's manifest beside
 * the folder: the folder is embedded whole, and the manifest serves only the budget check.
 */
function packed(folder: string): Plugin {
  return {
    name: "unifyit-packed",
    apply: "build",
    closeBundle() {
      const manifest = join(folder, ".vite", "manifest.json");
      if (existsSync(manifest)) {
        renameSync(manifest, `${folder}.manifest.json`);
        rmSync(join(folder, ".vite"), { recursive: true });
      }
      for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
        if (!PACKED.test(name)) continue;
        const text = readFileSync(join(folder, name));
        const forms: [string, Buffer][] = [
          ["br", brotliCompressSync(text, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: text.length } })],
          ["gz", gzipSync(text, { level: 9 })],
        ];
        for (const [end, bytes] of forms) if (bytes.length < text.length) writeFileSync(join(folder, `${name}.${end}`), bytes);
      }
    },
  };
}

/** The shared part of a Vite configuration, building into `dist/<name>`. */
export function shared(name: string): UserConfig {
  const folder = fileURLToPath(new URL(`./dist/${name}`, import.meta.url));
  return {
    base: "/",
    plugins: [react(), tailwindcss(), themeBoot(), preloadFont(), packed(folder)],
    resolve: { dedupe: ["react", "react-dom"] },
    build: {
      outDir: folder,
      emptyOutDir: true,
      assetsInlineLimit: 0,
      target: "es2023",
      manifest: true,
      modulePreload: { polyfill: false },
      reportCompressedSize: false,
    },
  };
}
