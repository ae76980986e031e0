import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import type { Page } from "playwright-core";
import { createElement, StrictMode } from "react";
import { renderToString } from "react-dom/server";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Roomcast } from "../../src/index.js";
import { ChatApp, type View } from "../support/chat-app.js";
import { SocketServer } from "../support/socket-server.js";
import { Browser } from "./browser.js";

function oldReact(name: string): string {
  const found = fileURLToPath(new URL(`../runtimes/node_modules/${name}`, import.meta.url));
  if (!existsSync(found)) throw new Error(`${found} is missing: run npm ci in test/runtimes`);
  return found;
}

/**
 * The hooks in React's development mode, where StrictMode mounts, unmounts and mounts again; in the oldest React and
 * the newest.
 */
describe.each([
  ["React 18", { react: oldReact("react"), "react-dom": oldReact("react-dom") }],
  ["React 19", {}],
])("the hooks in StrictMode, in %s,", (version, alias) => {
  let folder: string;
  let socketServer: SocketServer;
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "roomcast-react-"));
    await build({
      entryPoints: [fileURLToPath(new URL("react-page.ts", import.meta.url))],
      outfile: join(folder, "page.js"),
      bundle: true,
      format: "esm",
      target: "es2022",
      alias,
      define: { "process.env.NODE_ENV": '"development"' },
      logLevel: "warning",
    });
    const client = new Roomcast({ url: "ws://server.invalid", token: "server" });
    const app = createElement(
      StrictMode,
      undefined,
      createElement(ChatApp, { client, view: { rooms: ["lobby"], key: "a" } }),
    );
    const html = (content: string) =>
      `<!doctype html><link rel="icon" href="data:,"><div id="root">${content}</div><script type="module" src="/page.js"></script>`;
    writeFileSync(join(folder, "index.html"), html(""));
    writeFileSync(join(folder, "rendered.html"), html(renderToString(app)));
    browser = await Browser.launch();
  });

  beforeEach(async () => {
    // The page is closed first, because the server waits for its connections.
    await page?.close();
    await socketServer?.stop();
    socketServer = await SocketServer.start(folder);
    page = await browser.open("page");
  });

  afterAll(async () => {
    await browser?.close();
    await socketServer?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  async function open(path = "/"): Promise<void> {
    await page.goto(`${socketServer.origin}${path}`);
    await page.waitForFunction(() => window.app !== undefined);
  }
  const show = (view: View | undefined) => page.evaluate((given) => window.app.show(given), view);
  const chat = (state: string, room = "lobby") => page.locator(`section[data-room="${room}"][data-state="${state}"]`);
  const texts = (at = 0) => page.locator("ul").nth(at).locator("li").allTextContents();
  const until = (text: string) => page.locator("li", { hasText: text }).first().waitFor();
  const frames = (action: string) => socketServer.server.received(action).map(({ roomId }) => roomId);
  const publish = (...data: string[]) =>
    socketServer.server.publish(
      "lobby",
      data.map((text) => ({ data: text })),
    );
  const eventually = (what: () => unknown) => expect.poll(what, { timeout: 20_000 });

  it("join once, show the past and the present, and leave when unmounted", async () => {
    publish("one", "two");
    await open();
    await show({ rooms: ["lobby"], key: "a" });
    await chat("joined").waitFor();
    await until("two");
    await page.locator('button[name="send"]').click();
    await until("hi from lobby");
    expect(await texts()).toEqual(["one", "two", "hi from lobby"]);
    expect(await chat("joined").getAttribute("data-heard")).toBe("1");
    expect(frames("getHistory")).toEqual(["lobby"]);
    expect([frames("joinRoom"), frames("leaveRoom")]).toEqual([["lobby"], []]);
    await show(undefined);
    await eventually(() => frames("leaveRoom")).toEqual(["lobby"]);
    expect(frames("joinRoom")).toEqual(["lobby"]);
    expect(socketServer.connections).toBe(1);
  });

  it("share the room between components, which see the same at any time", async () => {
    await open();
    await show({ rooms: ["lobby", "lobby", "lobby"], key: "a" });
    await expect.poll(() => chat("joined").count(), { timeout: 20_000 }).toBe(3);
    for (let batch = 0; batch < 40; batch++) {
      publish(...Array.from({ length: 5 }, (_, at) => `m${batch * 5 + at}`));
      await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(resolve)));
    }
    await until("m199");
    const newest = Array.from({ length: 20 }, (_, at) => `m${180 + at}`);
    for (const at of [0, 1, 2]) expect(await texts(at)).toEqual(newest);
    expect(await page.evaluate(() => window.app.torn)).toEqual([]);
    await show({ rooms: ["lobby"], key: "a" });
    publish("still here");
    await until("still here");
    expect([frames("joinRoom"), frames("leaveRoom")]).toEqual([["lobby"], []]);
  });

  it("keep the room through a new key, and follow a new id", async () => {
    publish("one");
    await open();
    await show({ rooms: ["lobby"], key: "a" });
    await until("one");
    await show({ rooms: ["lobby"], key: "b" });
    publish("two");
    await until("two");
    expect([frames("joinRoom"), frames("leaveRoom")]).toEqual([["lobby"], []]);
    await show({ rooms: ["other"], key: "b" });
    await chat("joined", "other").waitFor();
    expect(await texts()).toEqual([]);
    await eventually(() => frames("leaveRoom")).toEqual(["lobby"]);
    // Back to `lobby`, while `other` is being left.
    await show({ rooms: ["lobby"], key: "b" });
    await chat("joined").waitFor();
    await until("two");
    expect(await texts()).toEqual(["one", "two"]);
    expect(frames("joinRoom")).toEqual(["lobby", "other", "lobby"]);
  });

  it("leave and join again in one go", async () => {
    await open();
    await show({ rooms: ["lobby"], key: "a" });
    await chat("joined").waitFor();
    await page.evaluate(async () => {
      window.app.show(undefined);
      await new Promise((resolve) => setTimeout(resolve, 1));
      window.app.show({ rooms: ["lobby"], key: "a" });
    });
    await chat("joined").waitFor();
    publish("after all");
    await until("after all");
  });

  it("stay out of the room while they are told to", async () => {
    await open();
    await show({ rooms: ["lobby"], key: "a", paused: true });
    await page.locator('#status[data-state="open"]').waitFor();
    await chat("left").waitFor();
    expect(frames("joinRoom")).toEqual([]);
    await show({ rooms: ["lobby"], key: "a" });
    await chat("joined").waitFor();
    await show({ rooms: ["lobby"], key: "a", paused: true });
    await chat("left").waitFor();
    await eventually(() => frames("leaveRoom")).toEqual(["lobby"]);
  });

  it("skip what is not what it should be", async () => {
    socketServer.server.publish("lobby", [{ data: "one" }, { data: 2 }, { data: "three" }]);
    await open();
    await show({ rooms: ["lobby"], key: "a" });
    await until("three");
    socketServer.server.publish("lobby", [{ data: 4 }, { data: "five" }]);
    await until("five");
    expect(await texts()).toEqual(["one", "three", "five"]);
    expect(await chat("joined").locator("h2").textContent()).toBe("lobby ");
  });

  it("read further into the past on demand", async () => {
    publish(...Array.from({ length: 12 }, (_, at) => `m${at}`));
    await open();
    await show({ rooms: ["lobby"], key: "a" });
    await until("m11");
    expect(await texts()).toEqual(["m7", "m8", "m9", "m10", "m11"]);
    // Two clicks at once read one page. Clicks by the browser could be far enough apart to read two.
    await page.locator('button[name="older"]').evaluate((button: HTMLButtonElement) => {
      button.click();
      button.click();
    });
    await page.locator('section[data-more="true"] li', { hasText: "m2" }).first().waitFor();
    await page.locator('button[name="older"]').click();
    await page.locator('section[data-more="false"][data-loading="false"]').waitFor();
    expect(await texts()).toEqual(Array.from({ length: 12 }, (_, at) => `m${at}`));
  });

  it("show what was missed while the connection was lost", async () => {
    publish("one");
    await open();
    await show({ rooms: ["lobby"], key: "a" });
    await until("one");
    socketServer.cutAll();
    publish("two");
    await until("two");
    await page.locator('#status[data-state="open"]').waitFor();
    expect(await texts()).toEqual(["one", "two"]);
  });

  it("keep the state and the members of a room through every mount, and leave nobody behind", async () => {
    const { server } = socketServer;
    server.presenceDelay = () => 100;
    server.statePage = { joined: 1, next: 1 };
    const put = (key: string, data: number) => server.publish("presence:fx", [{ key, data }]);
    for (const key of ["a", "b", "c"]) put(key, 1);
    await open();
    const board = (mood: string, key = "a") => show({ rooms: [], key, board: { room: "presence:fx", mood } });
    const values = () => page.locator("output b").textContent();
    const faces = () => page.locator("article li").allTextContents();
    await board("glad");
    await page.locator('output[data-ready="true"]').waitFor();
    await eventually(values).toBe("a=1 b=1 c=1");
    await eventually(faces).toEqual(["alice is glad"]);
    expect(await page.locator("output i").textContent()).toBe("1");
    for (let n = 2; n < 50; n++) put("a", n);
    await eventually(() => page.locator("output i").textContent()).toBe("49");
    await eventually(values).toBe("a=49 b=1 c=1");
    await board("calm");
    await eventually(faces).toEqual(["alice is calm"]);
    await board("calm", "b");
    socketServer.cutAll();
    put("b", 2);
    await eventually(values).toBe("a=49 b=2 c=1");
    expect(await page.locator("article").getAttribute("data-count")).toBe("1");
    expect(frames("leaveRoom")).toEqual([]);
    await show(undefined);
    await eventually(() => frames("leaveRoom")).toEqual(["presence:fx"]);
    await eventually(() => server.list("presence:fx").count).toBe(0);
    await board("back");
    await eventually(faces).toEqual(["alice is back"]);
    await eventually(values).toBe("a=49 b=2 c=1");
  });

  it("take over what a server has rendered", async () => {
    publish("one");
    await open("/rendered.html");
    await chat("joined").waitFor();
    await until("one");
    expect(frames("joinRoom")).toEqual(["lobby"]);
  });

  it("are those of that version", async () => {
    await open();
    expect(`React ${await page.evaluate(() => window.app.version)}`).toMatch(version);
  });

  it("cause no errors and no warnings", () => {
    expect(browser.problems).toEqual([]);
  });
});
