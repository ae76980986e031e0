import { describe, expect, it } from "vitest";
import { Roomcast } from "../../src/index.js";
import { Random, seeds } from "../support/random.js";
import { CALM, type Faults } from "./model/faults.js";
import { Model } from "./model/model.js";
import { VirtualTime } from "./virtual-time.js";
import { Watch } from "./watch.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
/** Longest time between two looks at a silent room (`SYNC_MAX_SECONDS`), with a second for the answer. */
const BEAT_MS = 541 * SECOND;
/** Time for a confirmed 410, a reconnect with its backoff, and a join. */
const RECONNECT_MS = 3 * SECOND;

/** A client in a room, and the delays of the messages that it got. */
interface Scene {
  time: VirtualTime;
  model: Model;
  watch: Watch;
  faults: Faults;
  /** Milliseconds from its broadcast until the client had each message. */
  delays: number[];
}

/** Runs `act` on a client in a room that has been silent for a random time of more than ten minutes. */
async function afterSilence(seed: number, act: (scene: Scene) => Promise<void>): Promise<void> {
  const time = new VirtualTime(1_750_000_000_000);
  const random = new Random(seed);
  const faults: Faults = { ...CALM };
  const watch = new Watch(time, true);
  const model = new Model(time, random, faults, watch, 60 * MINUTE);
  const restore = time.install(random.next);
  try {
    const client = new Roomcast({ url: "ws://simulated", token: "client", WebSocket: model.gateway.WebSocket });
    const delays: number[] = [];
    const room = client.room("room");
    room.on("message", ({ sentAt }) => delays.push(time.now - sentAt));
    room.once("joined", () => watch.joined("client", "room"));
    client.connect().catch(() => {});
    room.join().catch(() => {});
    await time.pass(random.int(11 * MINUTE, 40 * MINUTE));
    await act({ time, model, watch, faults, delays });
    client.close();
    expect(watch.wrong, watch.timeline.slice(-60).join("\n")).toEqual([]);
  } finally {
    restore();
  }
}

/** Has posts answered 410 for `ms` from the next one on, and none after that. */
function answerGone(faults: Faults, ms: number): void {
  faults.falseGoneMs = () => {
    faults.falseGoneMs = CALM.falseGoneMs;
    return ms;
  };
}

/** The longest delay; infinite unless there are `count` delays. */
function longest(delays: readonly number[], count: number): number {
  return delays.length === count ? Math.max(...delays) : Infinity;
}

describe("the first message after a long silence", () => {
  const tried = seeds(20);
  const each = async (act: (scene: Scene) => Promise<void>) => {
    for (const seed of tried) await afterSilence(seed, act);
  };

  it("comes at once when all is well", () =>
    each(async ({ time, model, delays }) => {
      model.fanout.publish("room", 1);
      await time.pass(SECOND);
      expect(longest(delays, 1)).toBeLessThan(SECOND);
    }));

  it("comes with a new connection when its post is answered 410", () =>
    each(async ({ time, model, faults, delays }) => {
      answerGone(faults, 4_000);
      faults.deletesGone = () => true;
      model.fanout.publish("room", 1);
      await time.pass(MINUTE);
      expect(longest(delays, 1)).toBeLessThan(RECONNECT_MS);
      expect(model.gateway.dials.get("client")).toBe(2);
    }));

  it("comes with a new connection when its post is given up", () =>
    each(async ({ time, model, faults, delays }) => {
      faults.missesPost = () => true;
      model.fanout.publish("room", 1);
      faults.missesPost = CALM.missesPost;
      await time.pass(MINUTE);
      expect(longest(delays, 1)).toBeLessThan(RECONNECT_MS);
    }));

  it("comes with the next beat when its push is lost", () =>
    each(async ({ time, model, faults, delays }) => {
      faults.losesPush = () => true;
      model.fanout.publish("room", 1);
      faults.losesPush = CALM.losesPush;
      await time.pass(10 * MINUTE);
      expect(longest(delays, 1)).toBeLessThan(BEAT_MS);
    }));

  it("comes with the next beat when its post and the deletion of the connection are answered 410", () =>
    each(async ({ time, model, faults, delays }) => {
      answerGone(faults, 4_000);
      model.fanout.publish("room", 1);
      await time.pass(10 * MINUTE);
      expect(longest(delays, 1)).toBeLessThan(BEAT_MS);
      expect(model.gateway.dials.get("client")).toBe(1);
    }));

  it("is followed by the others with the next beat, and by pushes from then on", () =>
    each(async ({ time, model, faults, watch, delays }) => {
      answerGone(faults, 4_000);
      for (let count = 0; count < 120; count++) {
        model.fanout.publish("room", 1);
        await time.pass(5 * SECOND);
      }
      await time.pass(SECOND);
      expect(longest(delays, 120)).toBeLessThan(BEAT_MS);
      // `Watch` measures from the beat on that shows the room active.
      expect(watch.longest).toBeLessThan(50 * SECOND);
    }));
});
