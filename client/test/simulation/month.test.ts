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
/** Few are enough: each does for itself what all do. `ROOMCAST_CONNECTIONS=1000` simulates as many. */
const CONNECTIONS = Number(process.env["ROOMCAST_CONNECTIONS"] ?? 20);

/** Connections that are each in a room of their own, in which nothing is said for a month. */
async function month(seed: number): Promise<{ usage: Map<string, Usage>; wrong: string[] }> {
  const time = new VirtualTime(1_750_000_000_000);
  const random = new Random(seed);
  const watch = new Watch(time, false);
  const model = new Model(time, random, CALM, watch, 24 * HOUR);
  const restore = time.install(random.next);
  try {
    const clients = Array.from({ length: CONNECTIONS }, (_, index) => {
      const client = new Roomcast({ url: "ws://simulated", token: `client${index}`, WebSocket: model.gateway.WebSocket });
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
    return { usage: new Map(model.meter.kinds), wrong: watch.wrong };
  } finally {
    restore();
  }
}

describe("a month of silence", () => {
  it(
    "costs little",
    async () => {
      const { usage, wrong } = await month(1);
      expect(wrong).toEqual([]);
      const scale = 1_000 / CONNECTIONS;
      const lines: Record<string, string> = {};
      for (const [kind, used] of usage) {
        const each = used.tableCalls / used.frames || 0;
        const dollars = cost(used, kind === "connect" || kind === "disconnect") * scale;
        lines[kind] =
          `${Math.round(used.frames * scale)} frames, ${Math.round(used.replies * scale)} replies, ${Math.round(used.invocations * scale)} ` +
          `invocations, ${each.toFixed(2)} table calls each, ${Math.round(used.readUnits * scale)} read and ` +
          `${Math.round(used.writeUnits * scale)} write units: $${dollars.toFixed(2)}`;
      }
      const beats = usage.get("sync") as Usage;
      const dollars = cost(beats) * scale;
      const perSecond = (beats.frames / CONNECTIONS / SECONDS) * 100_000;
      const minutes = ((SECONDS / 60) * 1_000 * PRICES.connectionMinutes) / 1e6;
      console.info(
        [
          `1,000 idle connections for ${DAYS} days, from ${CONNECTIONS} simulated: beats $${dollars.toFixed(2)}, connection minutes $${minutes.toFixed(2)}`,
          ...Object.entries(lines).map(([kind, line]) => `${kind}: ${line}`),
          `100,000 connections: ${perSecond.toFixed(0)} beats a second, and as many replies`,
        ].join("\n"),
      );
      expect(beats.frames).toBeGreaterThan(0);
      expect(dollars).toBeLessThanOrEqual(12);
      expect(perSecond / ACCOUNT_PER_SECOND).toBeLessThanOrEqual(0.02);
    },
    60_000 + CONNECTIONS * 2_000,
  );
});
