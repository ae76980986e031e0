import { describe, expect, it } from "vitest";
import { Roomcast } from "../../src/index.js";
import { Random } from "../support/random.js";
import { CALM } from "./model/faults.js";
import type { Usage } from "./model/meter.js";
import { Model } from "./model/model.js";
import { cost, PRICES } from "./prices.js";
import { VirtualTime } from "./virtual-time.js";
import { Watch } from "./watch.js";

const HOUR = 60 * 60_000;
const DAYS = 30;
const SECONDS = DAYS * 24 * 60 * 60;
const ACCOUNT_PER_SECOND = 10_000;
/** Number of connections. Few are enough, because all do the same. `ROOMCAST_CONNECTIONS=1000` simulates as many. */
const CONNECTIONS = Number(process.env["ROOMCAST_CONNECTIONS"] ?? 20);

/** Time after a join within which a beat is a part of the join: it looks at the room once more. */
const CONFIRM_MS = 5_000;

class MonthWatch extends Watch {
  /** Beats that confirm joins. */
  confirmed = 0;
  readonly #joinedAt = new Map<string, number>();

  override called(client: string, action: string, rooms: readonly string[]): ReturnType<Watch["called"]> {
    if (action === "joinRoom") this.#joinedAt.set(client, Date.now());
    if (action === "sync" && Date.now() - (this.#joinedAt.get(client) ?? 0) < CONFIRM_MS) this.confirmed++;
    return super.called(client, action, rooms);
  }
}

/** Connections that are each in a room of their own, in which nothing is said for a month. */
async function month(seed: number): Promise<{ usage: ReadonlyMap<string, Usage>; confirmed: number; wrong: string[] }> {
  const time = new VirtualTime(1_750_000_000_000);
  const random = new Random(seed);
  const watch = new MonthWatch(time, false);
  const model = new Model(time, random, CALM, watch, 24 * HOUR);
  const restore = time.install(random.next);
  try {
    const clients = Array.from({ length: CONNECTIONS }, (_, index) => {
      const client = new Roomcast({
        url: "ws://simulated",
        token: `client${index}`,
        WebSocket: model.gateway.WebSocket,
      });
      client.on("error", (error) => watch.wrong.push(`client${index}: ${error.code} ${error.message}`));
      // The last message for a month.
      model.fanout.publish(`room${index}`, 1);
      // Nobody comes at the same moment.
      time.after(random.int(0, HOUR), () => {
        client.connect().catch((error: unknown) => watch.wrong.push(String(error)));
        const room = client.room(`room${index}`);
        // A room that nobody listens to is not read.
        room.on("message", () => {});
        room.join().catch((error: unknown) => watch.wrong.push(String(error)));
      });
      return client;
    });
    await time.pass(DAYS * 24 * HOUR);
    for (const [index, client] of clients.entries()) {
      if (client.state !== "open") watch.wrong.push(`client${index} is ${client.state}`);
      client.close();
    }
    return { usage: model.meter.kinds, confirmed: watch.confirmed, wrong: watch.wrong };
  } finally {
    restore();
  }
}

/** Number and cost of a kind of event, for 1,000 connections. */
function line(kind: string, used: Usage): string {
  const scale = 1_000 / CONNECTIONS;
  const counts = Object.entries(used).map(
    ([what, count]) => `${what} ${Math.round((count as number) * scale).toLocaleString("en")}`,
  );
  return `${kind}: ${counts.join(", ")}: $${(cost(used, kind) * scale).toFixed(2)}`;
}

describe("a month of silence", () => {
  const run = async () => {
    const { usage, confirmed, wrong } = await month(1);
    expect(wrong).toEqual([]);
    const syncs = usage.get("sync");
    const frames = syncs?.frames ?? 0;
    expect(frames - confirmed).toBeGreaterThan(0);
    // Every `sync`, those that confirm a join too.
    const dollars = cost(syncs as Usage, "sync") * (1_000 / CONNECTIONS);
    const minutes = ((SECONDS / 60) * 1_000 * PRICES.connectionMinutes) / 1e6;
    const perSecond = (frames / CONNECTIONS / SECONDS) * 100_000;
    console.info(
      [
        `1,000 idle connections for ${DAYS} days, from ${CONNECTIONS} simulated:`,
        ...[...usage].map(([kind, used]) => line(kind, used)),
        `all syncs $${dollars.toFixed(2)}, connection minutes $${minutes.toFixed(2)}`,
        `${((100 * confirmed) / frames).toFixed(1)}% of the syncs confirm joins`,
        `100,000 connections send ${perSecond.toFixed(0)} beats a second, and get as many replies`,
      ].join("\n"),
    );
    expect(dollars).toBeLessThanOrEqual(12);
    expect(perSecond / ACCOUNT_PER_SECOND).toBeLessThanOrEqual(0.02);
  };
  it("costs little", run);
});
