// Bundles the demo page into demo/dist.
import { cpSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const folder = (path) => fileURLToPath(new URL(`../demo/${path}`, import.meta.url));

rmSync(folder("dist"), { recursive: true, force: true });
await build({
  entryPoints: [folder("src/app.ts")],
  outfile: folder("dist/app.js"),
  bundle: true,
  minify: true,
  sourcemap: true,
  format: "esm",
  target: "es2022",
  logLevel: "warning",
});
cpSync(folder("public"), folder("dist"), { recursive: true });
