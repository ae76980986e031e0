import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { converse } from "../support/converse.js";
import { SocketServer } from "../support/socket-server.js";
import { Browser } from "./browser.js";

const CONVERSE = converse.toString();
const answer = (library: string) =>
  `${CONVERSE} onmessage = ({ data }) => converse(${library}, data).then(postMessage);`;
const WORKERS = {
  "classic.js": `importScripts("/roomcast-client.min.js"); ${answer("RoomcastClient")}`,
  "module.js": `import * as library from "/index.js"; ${answer("library")}`,
};

/** The built files as a page gets them, without a bundler. */
describe("a page without a bundler", () => {
  let folder: string;
  let server: SocketServer;
  let browser: Browser;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "roomcast-script-"));
    for (const file of ["index.js", "roomcast-client.min.js"]) {
      copyFileSync(fileURLToPath(new URL(`../../dist/${file}`, import.meta.url)), join(folder, file));
    }
    for (const [name, source] of Object.entries(WORKERS)) writeFileSync(join(folder, name), source);
    const scripts = `<script src="/roomcast-client.min.js"></script><script>${CONVERSE}</script>`;
    writeFileSync(join(folder, "index.html"), `<!doctype html><link rel="icon" href="data:,">${scripts}`);
    server = await SocketServer.start(folder);
    browser = await Browser.launch();
  });

  beforeEach(() => server.server.logs.clear());

  afterAll(async () => {
    await browser?.close();
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const inPage = async (source: string): Promise<unknown> => {
    const page = await browser.open("page");
    await page.goto(server.origin);
    return page.evaluate(source);
  };
  const inWorker = (file: string, options: string): Promise<unknown> =>
    inPage(`new Promise((resolve, reject) => {
      const worker = new Worker("/${file}", ${options});
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = ({ message }) => reject(new Error(message));
      worker.postMessage("${server.webSocketUrl}");
    })`);
  const said = ["one", "two", "three"];

  it("loads the library by a script element", async () => {
    expect(await inPage(`converse(RoomcastClient, "${server.webSocketUrl}")`)).toEqual(said);
  });

  it("imports the library as it is", async () => {
    expect(await inPage(`import("/index.js").then((library) => converse(library, "${server.webSocketUrl}"))`)).toEqual(
      said,
    );
  });

  it("uses the library in a worker that loads a script", async () => {
    expect(await inWorker("classic.js", "{}")).toEqual(said);
  });

  it("uses the library in a worker that is a module", async () => {
    expect(await inWorker("module.js", '{ type: "module" }')).toEqual(said);
  });

  it("causes no errors", () => {
    expect(browser.problems).toEqual([]);
  });
});
