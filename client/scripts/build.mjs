// Builds the package into dist: for import and for require, for a script element, and their types.
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
const inRoot = (path) => join(root, path);
const common = { bundle: true, sourcemap: true, target: "es2022", logLevel: "warning" };

rmSync(inRoot("dist"), { recursive: true, force: true });

/**
 * Builds one entry point for `import` and for `require`. Its sources are in the package, so the source maps need not
 * hold them.
 */
async function buildEntry(source, name) {
  const entry = { ...common, entryPoints: [inRoot(source)], external: ["react"], sourcesContent: false };
  await build({ ...entry, format: "esm", platform: "neutral", outfile: inRoot(`dist/${name}.js`) });
  // The platform is Node, so that `import` in Node sees the names of the exports too.
  await build({ ...entry, format: "cjs", platform: "node", outfile: inRoot(`dist/${name}.cjs`) });
}

await buildEntry("src/index.ts", "index");
await buildEntry("src/react/index.ts", "react");
await build({
  ...common,
  entryPoints: [inRoot("src/script.ts")],
  minify: true,
  format: "iife",
  outfile: inRoot("dist/roomcast-client.min.js"),
});

const typescript = dirname(createRequire(import.meta.url).resolve("typescript/package.json"));
execFileSync(process.execPath, [join(typescript, "bin/tsc"), "-p", inRoot("tsconfig.build.json")], {
  stdio: "inherit",
});

// Types for `require` are apart: TypeScript takes a .d.ts here for that of an ES module, which CommonJS may not
// require.
for (const path of readdirSync(inRoot("dist/types"), { recursive: true })) {
  if (!path.endsWith(".d.ts")) continue;
  const file = inRoot(`dist/types/${path}`);
  const commonJs = file.replace(/ts$/, "cts");
  const relative = /(["']\.\.?\/[^"']*)\.js(["'])/g;
  const types = readFileSync(file, "utf8").replace(relative, "$1.cjs$2");
  writeFileSync(commonJs, types.replace(/(sourceMappingURL=.*\.d)\.ts\.map/, "$1.cts.map"));
  const map = JSON.parse(readFileSync(`${file}.map`, "utf8"));
  writeFileSync(`${commonJs}.map`, JSON.stringify({ ...map, file: map.file.replace(/ts$/, "cts") }));
}
