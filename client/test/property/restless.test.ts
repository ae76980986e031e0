import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { Room, Roomcast, RoomEvents } from "../../src/index.js";
import { Random, seeds } from "../support/random.js";
import { pass, World } from "../support/world.js";

const START = 1_750_000_000_000;
const EVENTS: readonly (keyof RoomEvents)[] = [
  "status",
  "joined",
  "left",
  "gap",
  "recovered",
  "truncated",
  "stalled",
  "message",
  "error",
];

/** Data that no application sends, so `parse` throws. */
const isBad = (data: unknown) => (data as number) % 13 === 0;

beforeEach(() => void vi.useFakeTimers({ now: START }));
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/**
 * An application that leaves, joins where it stopped, closes and connects at random moments, and from within its
 * listeners.
 */
class Restless {
  readonly wrong = new Set<string>();
  readonly #random: Random;
  readonly #world = new World();
  readonly #client: Roomcast;
  readonly #rooms: Room<number>[];
  readonly #seen = new Map<string, number[]>();
  readonly #wishes = new Map<string, boolean>();
  readonly #expires: boolean;
  #open = false;
  #depth = 0;
  #calm = false;

  constructor(seed: number) {
    this.#random = new Random(seed);
    const random = this.#random;
    vi.spyOn(Math, "random").mockImplementation(random.next);
    const { server, network } = this.#world;
    this.#expires = random.chance(0.5);
    server.pageSize = random.int(1, 8);
    network.weather = {
      ...network.weather,
      latency: () => random.int(1, 60),
      losesBroadcast: () => !this.#calm && random.chance(0.1),
    };
    if (random.chance(0.5)) this.#delayLeaves();
    this.#client = this.#world.client({
      bufferSize: random.chance(0.3) ? random.int(1, 6) : 1_000,
      handoverAfterMs: random.chance(0.3) ? random.int(10_000, 60_000) : 6_000_000,
    });
    const parse = (data: unknown): number => {
      if (isBad(data)) throw new Error("bad");
      return data as number;
    };
    this.#rooms = ["a", "b"].map((id) => this.#client.room(id, { parse }));
    for (const room of this.#rooms) this.#listen(room);
    this.#client.on("state", () => this.#react(0.15));
  }

  async run(): Promise<void> {
    const random = this.#random;
    const { server, network } = this.#world;
    for (let step = 0; step < 120; step++) {
      this.#act();
      const room = random.pick(this.#rooms);
      if (random.chance(0.5))
        server.publish(
          room.id,
          Array.from({ length: random.int(1, 6) }, () => ({ data: random.int(1, 1_000) })),
        );
      if (random.chance(0.04)) network.sockets.at(-1)?.cut();
      if (this.#expires && random.chance(0.03)) server.log(room.id).expire(random.int(0, 3));
      await pass(random.int(0, 1_500));
    }
    this.#calm = true;
    void this.#client.connect();
    await pass(90_000);
    for (const { id } of this.#rooms) server.publish(id, [{ data: 1 }]);
    await pass(60_000);
    this.#judge();
    this.#client.close();
    await pass(60_000);
    if (vi.getTimerCount() > 0) this.wrong.add("timers survive close()");
    vi.clearAllTimers();
  }

  #listen(room: Room<number>): void {
    const seen: number[] = [];
    this.#seen.set(room.id, seen);
    room.on("message", ({ seq }) => {
      if (room.status === "left") this.wrong.add("a message of a room that was left");
      if (seq <= (seen.at(-1) ?? 0)) this.wrong.add("a message twice, or out of order");
      seen.push(seq);
    });
    for (const event of EVENTS) room.on(event, () => this.#react(event === "message" ? 0.02 : 0.15));
  }

  #react(chance: number): void {
    if (this.#calm || this.#depth > 3 || !this.#random.chance(chance)) return;
    this.#depth++;
    this.#act();
    this.#depth--;
  }

  #act(): void {
    const random = this.#random;
    const room = random.pick(this.#rooms);
    const what = random.int(0, 5);
    if (what <= 1 && this.#open) {
      this.#wishes.set(room.id, true);
      void room.join(room.status === "left" && room.seq !== undefined ? { after: room.seq } : {});
    } else if (what === 2) {
      this.#wishes.set(room.id, false);
      void room.leave();
    } else if (what === 3 && random.chance(0.3)) {
      this.#open = false;
      this.#client.close();
    } else if (what >= 4) {
      this.#open = true;
      void this.#client.connect();
    }
  }

  /** Frames of one connection run side by side: a `leaveRoom` may be done long after it was sent. */
  #delayLeaves(): void {
    const { server } = this.#world;
    const random = this.#random;
    server.script = (frame, peer) => {
      if (frame.action !== "leaveRoom" || frame["late"] === true) return undefined;
      setTimeout(
        () => {
          const reply = server.handle(peer, JSON.stringify({ ...frame, late: true }));
          if (reply !== undefined) (peer as unknown as { inject(text: string): void }).inject(reply);
        },
        random.int(0, 20_000),
      );
      return "silence";
    };
  }

  #judge(): void {
    const { server } = this.#world;
    const { wrong } = this;
    if (this.#client.state !== "open") wrong.add(`the client is ${this.#client.state}`);
    for (const { id, status, seq } of this.#rooms) {
      const wished = this.#wishes.get(id) ?? false;
      if (status !== (wished ? "joined" : "left")) wrong.add(`a room is ${status} for a wish of ${wished}`);
      // During a hand-over a room has two members.
      if (server.members(id).length > 0 !== wished)
        wrong.add(`${server.members(id).length} members for a wish of ${wished}`);
      if (!wished) continue;
      const log = server.log(id).all;
      const seen = this.#seen.get(id) ?? [];
      if (seq !== log.at(-1)?.seq) wrong.add("room.seq is not the newest message's");
      const due = log.filter((message) => message.seq > (seen[0] ?? Infinity) && !isBad(message.data));
      if (!this.#expires && due.some((message) => !seen.includes(message.seq))) wrong.add("a message is lost");
    }
  }
}

it("an application whose listeners leave, join, close and connect sees each message once, while it is in the room", async () => {
  for (const seed of seeds(100)) {
    vi.setSystemTime(START);
    const application = new Restless(seed);
    await application.run();
    expect([...application.wrong], `replay with ROOMCAST_SEED=${seed}`).toEqual([]);
  }
}, 600_000);
