import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SocketServer } from "../support/socket-server.js";
import { Browser } from "./browser.js";

const at = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** The demo page in a real browser: at `ROOMCAST_DEMO_URL`, or else on the scripted server. */
describe("the demo page", () => {
  const room = `presence:test-${Date.now()}`;
  let browser: Browser;
  let scripted: SocketServer | undefined;
  let producer: ReturnType<typeof setInterval> | undefined;
  let url: string;
  let alice: Page;
  let bob: Page;

  beforeAll(async () => {
    const given = process.env["ROOMCAST_DEMO_URL"];
    if (given === undefined) {
      scripted = await SocketServer.start(at("demo/dist"));
      producer = producePrices(scripted);
    }
    url = given ?? `${scripted?.origin ?? ""}/`;
    browser = await Browser.launch({ viewport: { width: 1200, height: 940 }, colorScheme: "light" });
    alice = await open("alice");
    bob = await open("bob");
  });

  afterAll(async () => {
    clearInterval(producer);
    await browser?.close();
    await scripted?.stop();
  });

  async function open(name: string, before: (page: Page) => unknown = () => {}): Promise<Page> {
    const page = await browser.open(name);
    await before(page);
    await page.goto(`${url}?name=${name}&room=${room}`);
    await page.locator('#state[data-state="open"]').waitFor();
    await page.locator("#events", { hasText: `Joined ${room}` }).waitFor();
    return page;
  }

  async function say(page: Page, text: string): Promise<void> {
    await page.fill("#text", text);
    await page.press("#text", "Enter");
  }

  const texts = (page: Page) => page.locator("#message-list .text").allTextContents();
  const figure = async (page: Page, id: string) =>
    Number.parseInt((await page.locator(`#${id}`).textContent()) ?? "", 10);
  const until = (page: Page, text: string) => page.locator("#message-list .text", { hasText: text }).first().waitFor();

  it("shows two tabs the same chat, live", async () => {
    await say(alice, "Hello from tab one");
    await until(bob, "Hello from tab one");
    await say(bob, "Hi! I see you");
    await until(alice, "Hi! I see you");
    for (const page of [alice, bob]) expect(await texts(page)).toEqual(["Hello from tab one", "Hi! I see you"]);
    expect(await bob.locator("#message-list .from").allTextContents()).toEqual(["alice", "bob"]);
    expect(await figure(bob, "latency")).toBeGreaterThanOrEqual(0);
    expect(await figure(bob, "chat-seq")).toBeGreaterThan(1e15);
  });

  it("shows who is there, once for each", async () => {
    const faces = (page: Page) =>
      page.locator("#members [data-member]").evaluateAll((all) => all.map((one) => one.getAttribute("data-member")));
    for (const page of [alice, bob])
      await expect.poll(() => faces(page), { timeout: 20_000 }).toEqual(["alice", "bob"]);
    const second = await open("bob");
    await expect.poll(() => faces(second), { timeout: 20_000 }).toEqual(["alice", "bob"]);
    expect(await second.locator('[data-member="bob"]').textContent()).toBe("B");
    const cy = await open("Cy van Dam");
    for (const page of [alice, bob, second, cy])
      await expect.poll(() => faces(page), { timeout: 20_000 }).toEqual(["Cy van Dam", "alice", "bob"]);
    expect(await alice.locator(".face").allTextContents()).toEqual(["CV", "A", "B"]);
    expect(await alice.locator("#member-count").textContent()).toBe("3 people here");
    await cy.close();
    for (const page of [alice, bob, second])
      await expect.poll(() => faces(page), { timeout: 20_000 }).toEqual(["alice", "bob"]);
    await second.close();
  });

  it("shows who is typing, until the message comes, or else for four seconds", async () => {
    // The timers of four seconds fire only when the test says so.
    const page = await open("alice", (opened) =>
      opened.addInitScript(() => {
        const { setTimeout } = window;
        const held: (() => void)[] = [];
        const hold = (run: () => void, ms?: number) => (ms === 4_000 ? -held.push(run) : setTimeout(run, ms));
        Object.assign(window, { setTimeout: hold, fire: () => held.pop()?.() });
      }),
    );
    const notice = (text: string) =>
      expect.poll(() => page.locator("#typing").textContent(), { timeout: 20_000 }).toBe(text);
    // The first notice of each, because the next would have to wait for three seconds.
    const cy = await open("cy");
    await cy.fill("#text", "Wait for it");
    await notice("cy is typing…");
    expect(await cy.locator("#typing").textContent()).toBe("");
    await cy.press("#text", "Enter");
    await until(page, "Wait for it");
    await notice("");
    const dan = await open("dan");
    await dan.fill("#text", "Never mind");
    await notice("dan is typing…");
    await page.evaluate(() => (window as unknown as { fire: () => void }).fire());
    await notice("");
    for (const opened of [page, cy, dan]) await opened.close();
  });

  it("has all prices from the start, also those that nobody has told for long", async () => {
    const symbols = (of: Page) => of.locator("#legend li .symbol").allTextContents();
    await alice.locator("#legend li").nth(2).waitFor();
    const known = scripted ? ["ACME", "GLOBEX", "INITECH", "RARE"] : await symbols(alice);
    let first: string[] | undefined;
    const page = await open("dora", (opened) => {
      opened.on("websocket", (socket) => {
        socket.on("framereceived", ({ payload }) => (first ??= stateOfPrices(String(payload))));
      });
    });
    await page.locator("#legend li").first().waitFor();
    expect(await symbols(page)).toEqual(expect.arrayContaining(known));
    expect(first).toEqual(expect.arrayContaining(known));
    if (scripted) {
      const rare = page.locator("#legend li", { hasText: "RARE" });
      expect(await rare.locator(".price").textContent()).toBe("7.00");
      scripted.server.publish("prices", [{ data: null, key: "RARE", remove: true, version: 9_999_999 }]);
      await rare.waitFor({ state: "detached" });
      expect(await symbols(page)).toEqual(expect.arrayContaining(["ACME", "GLOBEX", "INITECH"]));
    }
    await page.close();
  });

  it("draws the prices as they come", async () => {
    await alice.locator("#legend li").nth(2).waitFor();
    const before = await figure(alice, "received");
    await expect.poll(() => figure(alice, "received"), { timeout: 20_000 }).toBeGreaterThan(before + 5);
    const lines = await alice
      .locator("#chart path.line")
      .evaluateAll((paths) => paths.map((path) => path.getAttribute("d") ?? ""));
    expect(lines.filter((line) => line !== "").length).toBeGreaterThanOrEqual(3);
    for (const line of lines.filter((each) => each !== "")) expect(line).toMatch(/^M[\d.]+ [\d.]+(L[\d.]+ [\d.]+)+$/);
  });

  it("recovers what was missed while the connection was dropped", async () => {
    const badges = alice.locator("#message-list .badge");
    const before = { seen: await texts(alice), badges: await badges.count() };
    const [recovered, connections] = [await figure(alice, "recovered"), await figure(alice, "connections")];
    await alice.click("#drop");
    await alice.locator('#state[data-state="recovering"]').waitFor();
    const missed = ["Are you there?", "You cannot see this yet", "But you will"];
    // All at once, so that they have been broadcast before the outage is over, on a slow stack too.
    for (const text of missed) await say(bob, text);
    await until(bob, "But you will");
    expect(await texts(alice)).toEqual(before.seen);
    await alice.locator('#state[data-state="open"]').waitFor();
    await until(alice, "But you will");
    expect(await texts(alice)).toEqual([...before.seen, ...missed]);
    expect(await figure(alice, "recovered")).toBeGreaterThanOrEqual(recovered + 3);
    expect(await badges.count()).toBe(before.badges + 3);
    expect(await figure(alice, "connections")).toBeGreaterThan(connections);
    await say(alice, "There it all is, in order");
    await until(bob, "There it all is, in order");
    await alice.locator("#drop:enabled").waitFor();
  });

  it("sends what was written during an outage when it is over", async () => {
    await bob.click("#drop");
    await bob.locator('#state[data-state="recovering"]').waitFor();
    await say(bob, "Written while offline");
    await until(alice, "Written while offline");
    expect((await texts(alice)).filter((text) => text === "Written while offline")).toHaveLength(1);
    await bob.locator('#state[data-state="open"]').waitFor();
  });

  it("fits a narrow screen, and is photographed for those who want to look", async () => {
    const folder = at("../target/screenshots");
    await alice.bringToFront();
    const drawn = alice.locator('#chart path.line:not([d=""])');
    await expect.poll(() => drawn.count(), { timeout: 20_000 }).toBeGreaterThanOrEqual(3);
    await alice.screenshot({ path: join(folder, "demo.png"), fullPage: true });
    await alice.emulateMedia({ colorScheme: "dark" });
    await alice.screenshot({ path: join(folder, "demo-dark.png"), fullPage: true });
    await alice.setViewportSize({ width: 390, height: 844 });
    await alice.screenshot({ path: join(folder, "demo-narrow.png"), fullPage: true });
    const overflow = await alice.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    expect(overflow).toBe(0);
  });

  it("shows what users send as text", async () => {
    const attack = '<img src=x onerror="document.title=1"><b>bold</b>';
    await say(alice, attack);
    await until(bob, "onerror");
    expect((await texts(bob)).at(-1)).toBe(attack);
    expect(await bob.locator("#message-list img, #message-list b").count()).toBe(0);
    expect(await bob.title()).toBe("Roomcast demo");
  });

  it("changes rooms, and finds the history again", async () => {
    await alice.setViewportSize({ width: 1200, height: 940 });
    await alice.fill("#room", `${room}-other`);
    await alice.press("#room", "Enter");
    await alice.locator("#events", { hasText: `Joined ${room}-other` }).waitFor();
    expect(await texts(alice)).toEqual([]);
    await say(bob, "Not for the other room");
    await alice.fill("#room", room);
    await alice.press("#room", "Enter");
    await until(alice, "Not for the other room");
    expect((await texts(alice))[0]).toBe("Hello from tab one");
  });

  it("has a name for every control, and no errors", async () => {
    const nameless = await alice.locator("input, button").evaluateAll((controls) =>
      controls
        .map((control) => control as HTMLInputElement | HTMLButtonElement)
        .filter((control) => (control.labels?.length ?? 0) === 0 && control.textContent?.trim() === "")
        .map(({ id }) => id),
    );
    expect(nameless).toEqual([]);
    expect(browser.problems).toEqual([]);
  });
});

/** The keys in the answer to joining the room of the prices; `undefined` for any other frame. */
function stateOfPrices(text: string): string[] | undefined {
  const { type, roomId, state } = JSON.parse(text) as { type: string; roomId: string; state?: { key: string }[] };
  return type === "joined" && roomId === "prices" ? (state ?? []).map(({ key }) => key) : undefined;
}

/** Puts three prices, like the producer of the local stack. */
function producePrices({ server }: SocketServer): ReturnType<typeof setInterval> {
  const prices = new Map([
    ["ACME", 120],
    ["GLOBEX", 45.5],
    ["INITECH", 310],
  ]);
  let version = 0;
  const put = () => {
    version++;
    for (const [symbol, price] of prices) prices.set(symbol, price * (1 + (Math.random() - 0.5) / 100));
    const drafts = [...prices].map(([symbol, price]) => ({ data: { symbol, price }, key: symbol, version }));
    server.publish("prices", drafts);
  };
  server.publish("prices", [{ data: { symbol: "RARE", price: 7 }, key: "RARE", version }]);
  // A minute of the past, so that the chart has something to show from the start.
  const start = Date.now() - 60_000;
  for (let second = 0; second < 60; second++) {
    put();
    for (const message of server.log("prices").retained.slice(-prices.size)) message.sentAt = start + second * 1_000;
  }
  return setInterval(put, 500);
}
