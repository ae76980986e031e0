import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const tsc = join(root, "node_modules/typescript/bin/tsc");

/** The bundle's budget in bytes, minified and compressed. Raise it knowingly. */
const BUDGET = 13.25 * 1024;

describe("the package", () => {
  let folder: string;
  let files: string[];

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "roomcast-client-"));
    const output = execFileSync("npm", ["pack", "--json", "--pack-destination", folder], { cwd: root, encoding: "utf8" });
    // npm 11 prints a list, later versions an object; what is needed is the same in both.
    const [packed] = Object.values(JSON.parse(output.slice(output.search(/^[[{]/m))) as { filename: string; files: { path: string }[] }[]);
    files = packed?.files.map(({ path }) => path) ?? [];
    const target = join(folder, "node_modules/roomcast-client");
    mkdirSync(target, { recursive: true });
    execFileSync("tar", ["xzf", join(folder, packed?.filename ?? ""), "--strip-components=1", "-C", target]);
    writeFileSync(join(folder, "package.json"), '{"type":"module"}');
  }, 60_000);

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("holds the library, its sources and its licences, and nothing else", () => {
    for (const file of ["README.md", "LICENSE-MIT", "LICENSE-APACHE", "dist/index.js", "dist/index.d.ts", "src/index.ts"]) {
      expect(files).toContain(file);
    }
    expect(files.filter((file) => !/^(dist|src)\/|^(README\.md|LICENSE-.*|package\.json)$/.test(file))).toEqual([]);
  });

  it("has no dependencies", () => {
    const { dependencies, peerDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Record<string, unknown>;
    expect([dependencies, peerDependencies]).toEqual([undefined, undefined]);
  });

  it("can be imported by plain Node", () => {
    const script = 'import { Roomcast, RoomcastError } from "roomcast-client"; console.log(typeof Roomcast, typeof RoomcastError);';
    writeFileSync(join(folder, "use.mjs"), script);
    expect(execFileSync(process.execPath, ["use.mjs"], { cwd: folder, encoding: "utf8" }).trim()).toBe("function function");
  });

  it("has types that need neither the DOM nor Node", () => {
    const source = `
      import { Roomcast, type Message, type RoomcastError } from "roomcast-client";
      const client = new Roomcast({ url: "wss://x", token: async ({ refused }) => (refused ? "a" : "b") });
      client.on("error", (error: RoomcastError) => error.retryable satisfies boolean);
      const room = client.room<{ text: string }>("lobby");
      await room.join({ after: 0 });
      const { id } = await room.send({ text: "hi" }, { key: "k", version: 1 });
      id satisfies string;
      room.on("message", (message: Message<{ text: string }>) => message.data.text satisfies string);
      for await (const { data } of room) data.text satisfies string;
      // @ts-expect-error: there is no such event
      room.on("nothing", () => {});
    `;
    writeFileSync(join(folder, "use.ts"), source);
    const compilerOptions = { noEmit: true, strict: true, target: "ES2022", lib: ["ES2022"], module: "NodeNext", types: [] };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["use.ts"] }));
    const { stdout } = spawnSync(process.execPath, [tsc], { cwd: folder, encoding: "utf8" });
    expect(stdout).toBe("");
  }, 60_000);

  it("stays small", async () => {
    const { outputFiles } = await build({
      entryPoints: [join(root, "src/index.ts")],
      bundle: true,
      minify: true,
      format: "esm",
      target: "es2022",
      write: false,
    });
    expect(gzipSync(outputFiles[0]?.contents ?? "", { level: 9 }).length).toBeLessThan(BUDGET);
  });

  it("names no registry in its lock file", () => {
    const lock = readFileSync(join(root, "package-lock.json"), "utf8");
    expect(lock).not.toContain('"resolved"');
  });
});
