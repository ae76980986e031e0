import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { runInNewContext } from "node:vm";
import { gzipSync } from "node:zlib";
import { build, type Plugin, transform } from "esbuild";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { describe, expect, inject, it } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { folder, files } = inject("packed");
const installed = join(folder, "node_modules/roomcast-client");
const read = (file: string) => readFileSync(join(installed, file), "utf8");

/** Largest sizes of the library and of the hooks in bytes, minified and compressed. Raise them knowingly. */
const BUDGET = 17_450;
const HOOKS_BUDGET = 3_600;

/**
 * Largest size of the library without the parts that not every room needs: its state, its members, its ephemeral
 * messages.
 */
const CORE_BUDGET = 14_350;
const EXTRAS = /\/(state-map|presence|ephemeral)\.js$/;

/**
 * Licences of the packages that are used in development. Nothing of them is in the package, so a licence that asks for
 * changes back does no harm.
 */
const LICENCES = new Set([
  "0BSD",
  "Apache-2.0",
  "BlueOak-1.0.0",
  "BSD-2-Clause",
  "BSD-3-Clause",
  "ISC",
  "MIT",
  "MPL-2.0",
  "Python-2.0",
]);

function node(name: string, source: string): string {
  writeFileSync(join(folder, name), source);
  return execFileSync(process.execPath, [name], { cwd: folder, encoding: "utf8" }).trim();
}

describe("the package", () => {
  it("holds the library, its sources, its pages and its licences, and nothing else", () => {
    for (const file of [
      "README.md",
      "LICENSE-MIT",
      "LICENSE-APACHE",
      "CHANGELOG.md",
      "docs/react.md",
      "src/index.ts",
    ]) {
      expect(files).toContain(file);
    }
    const expected =
      /^(dist|src)\/|^(README\.md|CHANGELOG\.md|docs\/[a-z]+\.md|LICENSE-.*|package\.json|react\/package\.json)$/;
    expect(files.filter((file) => !expected.test(file))).toEqual([]);
  });

  it("has no dependencies, and React only for those who have it", () => {
    const { dependencies, peerDependencies, peerDependenciesMeta } = JSON.parse(read("package.json")) as Record<
      string,
      unknown
    >;
    expect([dependencies, peerDependencies]).toEqual([undefined, { react: ">=18" }]);
    expect(peerDependenciesMeta).toEqual({ react: { optional: true } });
  });

  it("is laid out as package managers, bundlers and TypeScript expect", async () => {
    const { messages, pkg } = await publint({ pkgDir: installed, strict: true });
    expect(messages.map((message) => formatMessage(message, pkg as never))).toEqual([]);
  });

  it("can be imported", () => {
    const script = `
      import { Roomcast, RoomcastError } from "roomcast-client";
      import { useRoom } from "roomcast-client/react";
      console.log(typeof Roomcast, typeof RoomcastError, typeof useRoom);
    `;
    expect(node("use.mjs", script)).toBe("function function function");
  });

  it("can be required", () => {
    const script = `
      const { Roomcast, RoomcastError } = require("roomcast-client");
      const { useRoom } = require("roomcast-client/react");
      console.log(typeof Roomcast, typeof RoomcastError, typeof useRoom);
    `;
    expect(node("use.cjs", script)).toBe("function function function");
  });

  it("names the exports of what can be required, for imports from it", () => {
    const script =
      'import { Roomcast } from "./node_modules/roomcast-client/dist/index.cjs"; console.log(typeof Roomcast);';
    expect(node("use-names.mjs", script)).toBe("function");
  });

  it("is a script for a page, with one global", () => {
    const page: { RoomcastClient?: Record<string, unknown> } = {};
    runInNewContext(read("dist/roomcast-client.min.js"), page);
    expect(Object.keys(page)).toEqual(["RoomcastClient"]);
    expect(Object.keys(page.RoomcastClient ?? {}).sort()).toEqual([
      "MAX_CLIENT_FRAME_BYTES",
      "Roomcast",
      "RoomcastError",
    ]);
  });

  it("has source maps that lead to sources", () => {
    const maps = files.filter((file) => file.endsWith(".map"));
    for (const bundle of ["index.js", "index.cjs", "react.js", "react.cjs", "roomcast-client.min.js"]) {
      expect(maps).toContain(`dist/${bundle}.map`);
    }
    const lost = maps.flatMap((file) => {
      const { sources, sourcesContent } = JSON.parse(read(file)) as { sources: string[]; sourcesContent?: string[] };
      expect(sources.length).toBeGreaterThan(0);
      return sources.filter(
        (source, at) => sourcesContent?.[at] === undefined && !existsSync(join(installed, dirname(file), source)),
      );
    });
    expect(lost).toEqual([]);
  });

  it("marks the hooks as code for the client, and keeps the library out of them", () => {
    for (const file of ["dist/react.js", "dist/react.cjs"]) {
      expect(read(file)).toMatch(/^("use strict";\s*)?"use client";/);
      expect(read(file)).not.toContain("joinRoom");
    }
  });

  it("stays small", () => {
    expect(gzipSync(read("dist/roomcast-client.min.js"), { level: 9 }).length).toBeLessThan(BUDGET);
  });

  it("has a small core", async () => {
    const leaveOut: Plugin = {
      name: "without extras",
      setup: ({ onResolve }) => onResolve({ filter: EXTRAS }, ({ path }) => ({ path, external: true })),
    };
    const entryPoints = [join(root, "src/script.ts")];
    const { outputFiles } = await build({
      entryPoints,
      bundle: true,
      minify: true,
      format: "esm",
      target: "es2022",
      write: false,
      plugins: [leaveOut],
    });
    expect(gzipSync(outputFiles[0]?.contents ?? "", { level: 9 }).length).toBeLessThan(CORE_BUDGET);
  });

  it("has small hooks", async () => {
    const { code } = await transform(read("dist/react.js"), { minify: true });
    expect(gzipSync(code, { level: 9 }).length).toBeLessThan(HOOKS_BUDGET);
  });

  it("is developed with packages under free licences, from any registry", () => {
    for (const file of ["package-lock.json", "test/runtimes/package-lock.json"]) {
      const lock = readFileSync(join(root, file), "utf8");
      expect(lock).not.toContain('"resolved"');
      const { packages } = JSON.parse(lock) as { packages: Record<string, { license?: string }> };
      const others = Object.entries(packages).filter(
        ([path, { license }]) => path !== "" && !(license ?? "").split(" OR ").some((each) => LICENCES.has(each)),
      );
      expect(others.map(([path, { license }]) => `${path}: ${license ?? "none"}`)).toEqual([]);
    }
  });
});
