import { afterEach, beforeEach, vi } from "vitest";
import { type Message, type Room, Roomcast, type RoomcastOptions } from "../../src/index.js";
import { FakeNetwork } from "./fake-network.js";
import { ScriptedServer } from "./scripted-server.js";

/** A server, a network and clients under fake time. */
export class World {
  readonly server = new ScriptedServer();
  readonly network = new FakeNetwork(this.server);
  readonly #clients: Roomcast[] = [];

  client(options: Partial<RoomcastOptions> = {}): Roomcast {
    const client = new Roomcast({
      url: "ws://fake/prod",
      token: "alice",
      WebSocket: this.network.WebSocket,
      ...options,
    });
    this.#clients.push(client);
    return client;
  }

  /** A client whose connection is open. */
  async connected(options: Partial<RoomcastOptions> = {}): Promise<Roomcast> {
    const client = this.client(options);
    await during(client.connect());
    return client;
  }

  /** A room that is joined. */
  async joined(options: Partial<RoomcastOptions> = {}, roomId = "lobby"): Promise<{ client: Roomcast; room: Room }> {
    const client = await this.connected(options);
    const room = client.room(roomId);
    await during(room.join());
    return { client, room };
  }

  /** Appends to a room's log without broadcasting. */
  append(roomId: string, ...values: unknown[]): { seq: number }[] {
    const drafts = values.map((value, n) => ({ id: `${String(value)}-${n}`, from: "x", data: value }));
    return this.server.log(roomId).append(drafts);
  }

  get clients(): readonly Roomcast[] {
    return this.#clients;
  }

  closeAll(): void {
    for (const client of this.#clients) client.close();
  }
}

/** Fake time and a new world for each test; jitter always takes `jitter` of its range. */
export function inFakeTime(jitter = 0.5): { readonly world: World } {
  let world: World;
  beforeEach(() => {
    vi.useFakeTimers({ now: 1_750_000_000_000 });
    vi.spyOn(Math, "random").mockReturnValue(jitter);
    world = new World();
  });
  afterEach(() => {
    world.closeAll();
    vi.useRealTimers();
    vi.restoreAllMocks();
    vi.unstubAllGlobals();
  });
  return {
    get world() {
      return world;
    },
  };
}

export function pass(ms: number): Promise<unknown> {
  return vi.advanceTimersByTimeAsync(ms);
}

/** Lets time pass until the promise settles, a minute at most. */
export async function during<T>(promise: Promise<T>): Promise<T> {
  let settled = false;
  const done = () => {
    settled = true;
  };
  promise.then(done, done);
  for (let elapsed = 0; !settled && elapsed < 60_000; elapsed += 5) await pass(5);
  if (!settled) throw new Error("the promise did not settle within a minute");
  return promise;
}

/** Messages of a room's listeners, as a growing list. */
export function collect(room: Room): Message[] {
  const seen: Message[] = [];
  room.on("message", (message) => seen.push(message));
  return seen;
}

/** The data of messages. */
export function dataOf(seen: readonly { data: unknown }[]): unknown[] {
  return seen.map((message) => message.data);
}

/** Events of a room, as a growing list: its status, and `gap!`, `recovered n!`, `truncated!`. */
export function events(room: Room): string[] {
  const seen: string[] = [];
  room.on("status", ({ status }) => seen.push(status));
  room.on("gap", () => seen.push("gap!"));
  room.on("recovered", ({ count }) => seen.push(`recovered ${count}!`));
  room.on("truncated", ({ certain }) => seen.push(certain ? "truncated!" : "perhaps truncated!"));
  return seen;
}

/** The error that a promise rejects with. */
export async function failure(
  promise: Promise<unknown>,
): Promise<{ code: string; retryable: boolean; message: string }> {
  try {
    await during(promise);
  } catch (error) {
    return error as { code: string; retryable: boolean; message: string };
  }
  throw new Error("expected a rejection");
}
