import { execFile } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { converse } from "../support/converse.js";
import { SocketServer } from "../support/socket-server.js";

const run = promisify(execFile);
const { folder } = inject("packed");
const runtime = (path: string) => {
  const file = fileURLToPath(new URL(`node_modules/${path}`, import.meta.url));
  if (!existsSync(file)) throw new Error(`${file} is missing: run npm ci in test/runtimes`);
  return file;
};

/** Modules that run the conversation of `converse` and print what it returns. */
const CONVERSE = converse.toString();
const TELL = `${CONVERSE}
  const tell = (seen) => console.log(JSON.stringify(seen));
  const start = (library, WebSocket) => converse(library, process.argv[2], WebSocket).then(tell);
`;
const MODULES = {
  "module.mjs": `import * as library from "roomcast-client"; ${TELL} start(library);`,
  "module-ws.mjs": `import * as library from "roomcast-client"; import { WebSocket } from "ws"; ${TELL} start(library, WebSocket);`,
  "common.cjs": `${TELL} start(require("roomcast-client"));`,
  "common-ws.cjs": `${TELL} start(require("roomcast-client"), require("ws").WebSocket);`,
  "script.cjs": `
    const script = require.resolve("roomcast-client").replace("index.cjs", "roomcast-client.min.js");
    require("node:vm").runInThisContext(require("node:fs").readFileSync(script, "utf8"));
    ${TELL} start(RoomcastClient);
  `,
  "worker.mjs": `
    import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
    import * as library from "roomcast-client";
    import { WebSocket } from "ws";
    ${CONVERSE}
    if (isMainThread) {
      const worker = new Worker(new URL(import.meta.url), { workerData: process.argv[2] });
      worker.on("message", (seen) => console.log(JSON.stringify(seen)));
    } else {
      parentPort.postMessage(await converse(library, workerData, WebSocket));
    }
  `,
};

describe("the package", () => {
  let server: SocketServer;

  beforeAll(async () => {
    server = await SocketServer.start();
    for (const [name, source] of Object.entries(MODULES)) writeFileSync(join(folder, name), source);
  });
  afterAll(() => server.stop());

  const NODE_20 = [`node-20-${process.arch}/bin/node`];
  const NODE_22 = [`node-22-${process.arch}/bin/node`];
  const BUN = [`@oven/bun-linux-${process.arch === "arm64" ? "aarch64" : process.arch}/bin/bun`];
  const DENO = [
    `@deno/linux-${process.arch}-glibc/deno`,
    "run",
    "--quiet",
    "--cached-only",
    "--allow-all",
    "--node-modules-dir=manual",
  ];

  it.each([
    ["Node 20", "module-ws.mjs", NODE_20],
    ["Node 20", "common-ws.cjs", NODE_20],
    ["Node 20", "worker.mjs", NODE_20],
    ["Node 22", "module.mjs", NODE_22],
    ["Node 22", "common.cjs", NODE_22],
    ["Node 22", "script.cjs", NODE_22],
    ["Node 22", "worker.mjs", NODE_22],
    ["Bun", "module.mjs", BUN],
    ["Bun", "common.cjs", BUN],
    ["Deno", "module.mjs", DENO],
    ["Deno", "common.cjs", DENO],
  ])("converses in %s (%s)", async (_name, file, [command = "", ...flags]) => {
    const { stdout } = await run(runtime(command), [...flags, file, server.webSocketUrl], { cwd: folder });
    expect(JSON.parse(stdout)).toEqual(["one", "two", "three"]);
    await expect.poll(() => server.connections, { timeout: 20_000 }).toBe(0);
    server.server.logs.clear();
  });
});
