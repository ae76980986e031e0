import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const path = fileURLToPath(new URL("../../node_modules/typescript/bin/tsc", import.meta.url));

/** The outcome of a run of the compiler. One that does not start has a status other than 0, and no messages. */
export interface Compilation {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** The outcome for a project without a fault. */
export const CLEAN: Compilation = { status: 0, stdout: "", stderr: "" };

/** Compiles the project in a folder. */
export function runTsc(project: string): Compilation {
  const { status, stdout, stderr } = spawnSync(process.execPath, [path, "--pretty", "false"], {
    cwd: project,
    encoding: "utf8",
  });
  return { status, stdout, stderr };
}
