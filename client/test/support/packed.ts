import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { TestProject } from "vitest/node";

/** The package as npm would publish it, installed in a folder of its own. */
export interface Packed {
  /** The folder of a user's files: `node_modules/roomcast-client` is below it. */
  folder: string;
  /** The files of the package. */
  files: string[];
}

declare module "vitest" {
  interface ProvidedContext {
    packed: Packed;
  }
}

/** Packages that users have beside this one, in some of the tests. */
const NEIGHBOURS = ["react", "ws", "centrifuge", "@types/react", "@types/ws", "@types/node"];

const root = fileURLToPath(new URL("../..", import.meta.url));

export default function pack(project: TestProject): () => void {
  const folder = mkdtempSync(join(tmpdir(), "roomcast-client-"));
  const command = ["pack", "--json", "--pack-destination", folder];
  const output = execFileSync("npm", command, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  // npm 11 prints a list, later versions an object; what is needed is the same in both.
  const list = JSON.parse(output.slice(output.search(/^[[{]/m))) as { filename: string; files: { path: string }[] }[];
  const [packed] = Object.values(list);
  if (packed === undefined) throw new Error("npm pack has packed nothing");
  const target = join(folder, "node_modules/roomcast-client");
  mkdirSync(target, { recursive: true });
  execFileSync("tar", ["xzf", join(folder, packed.filename), "--strip-components=1", "-C", target]);
  for (const name of NEIGHBOURS) {
    const link = join(folder, "node_modules", name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(root, "node_modules", name), link);
  }
  writeFileSync(join(folder, "package.json"), '{"type":"module"}');
  project.provide("packed", { folder, files: packed.files.map(({ path }) => path) });
  return () => rmSync(folder, { recursive: true, force: true });
}
