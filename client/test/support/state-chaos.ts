import { vi } from "vitest";
import type { LoggedMessage } from "../../src/frames.js";
import { type Room, Roomcast, type RoomcastError, type StateEntry } from "../../src/index.js";
import { supersedes } from "../../src/rank.js";
import { CALM, FakeNetwork } from "./fake-network.js";
import type { Random } from "./random.js";
import { randomOptions, randomWeather } from "./random-runs.js";
import type { RoomLog } from "./room-log.js";
import { untilOf } from "./room-state.js";
import { ScriptedServer } from "./scripted-server.js";

const ROOM = "fx";
const KEYS = ["a", "b", "c", "d", "e", "f", "g"];

/** Time by which a client may see the end of a value too late, or too early: that of a `now` under way. */
const CLOCK_MS = 1_000;

/** Codes with which a chaotic run may reject a call. */
const EXPECTED = ["timeout", "left", "closed"];

/** The observations of one client of a room's state, over all its joins. */
class Witness {
  readonly wrong: string[] = [];
  seen = 0;
  readonly #name: string;
  readonly #room: Room;
  readonly #server: ScriptedServer;
  /**
   * A stretch of the log was lost, and no snapshot has come since: of two versions the client may not know the larger
   * one.
   */
  #lacks = false;
  /** The greatest value of each key that the client has shown. */
  readonly #greatest = new Map<string, StateEntry>();
  /** The place, among the messages of each key, of the one whose value the client has shown last. */
  readonly #reached = new Map<string, number>();
  /** The state that follows from the events. */
  #told = new Map<string, StateEntry>();

  constructor(name: string, room: Room, server: ScriptedServer) {
    this.#name = name;
    this.#room = room;
    this.#server = server;
    room.state.on("snapshot", (map) => {
      this.#told = new Map(map);
      this.#lacks = false;
      for (const key of KEYS) this.#sees(key, map.get(key));
    });
    room.on("truncated", () => {
      this.#lacks = true;
    });
    room.state.on("change", ({ key, entry, previous, reason }) => {
      if (this.#told.get(key) !== previous) this.wrong.push(`${name} was told of another value of ${key} than it had`);
      if ((entry === undefined) === (reason === "set")) this.wrong.push(`${name} was told that ${key} was ${reason}`);
      if (entry) this.#told.set(key, entry);
      else this.#told.delete(key);
      this.#sees(key, entry);
    });
  }

  /** Compares what is shown with what the server has. */
  settle(): void {
    const values = this.#server.state(ROOM).values(this.#server.now());
    const text = (map: ReadonlyMap<string, { seq: number; data: unknown }>) =>
      JSON.stringify([...map].map(([key, { seq, data }]) => [key, seq, data]).sort());
    if (!this.#room.state.isReady) this.wrong.push(`${this.#name} never had the state`);
    const [shown, told, right] = [text(this.#room.state), text(this.#told), text(values)];
    if (shown !== right) this.wrong.push(`${this.#name} shows ${shown} of ${right}`);
    if (told !== shown) this.wrong.push(`${this.#name} was told ${told}, and shows ${shown}`);
  }

  /** Checks that a key shows the value that it had after some message, and none before the message of the last look. */
  #sees(key: string, entry: StateEntry | undefined): void {
    this.seen++;
    const log = this.#server.log(ROOM);
    const time = this.#server.now();
    const from = this.#reached.get(key) ?? -1;
    const greatest = this.#greatest.get(key);
    const isGreater = entry !== undefined && (!greatest || supersedes(entry, greatest));
    if (isGreater) this.#greatest.set(key, entry);
    for (const [at, winner] of winners(log, key).entries()) {
      const isOver = winner !== undefined && (winner.remove === true || untilOf(winner) <= time + CLOCK_MS);
      if (at - 1 < from || (entry ? winner?.seq !== entry.seq : winner !== undefined && !isOver)) continue;
      this.#reached.set(key, at - 1);
      return;
    }
    if (this.#lacks && (isGreater || !entry)) return;
    this.wrong.push(
      `${this.#name} sees ${key} go back to ${entry ? `${entry.seq} (version ${entry.version})` : "nothing"}`,
    );
  }
}

/** The values of a key: at first none, then the one after each of its messages. */
function winners(log: RoomLog, key: string): (LoggedMessage | undefined)[] {
  const result: (LoggedMessage | undefined)[] = [undefined];
  for (const message of log.all) {
    if (message.key !== key) continue;
    const winner = result.at(-1);
    result.push(winner && !supersedes(message, winner) ? winner : message);
  }
  return result;
}

/** A random run of clients that watch a room's state, while everything fails. */
export class StateChaos {
  readonly #random: Random;
  readonly #server = new ScriptedServer();
  readonly #network = new FakeNetwork(this.#server);
  readonly #clients: { client: Roomcast; room: Room; witness: Witness; stop: (() => void) | undefined }[] = [];
  readonly #unexpected: string[] = [];
  #errorRate = 0;
  /**
   * True if messages expire. They do not where clients may have seen the log empty, and take its content for complete
   * for half its retention.
   */
  readonly #expires: boolean;
  #sent = 0;
  #isHealed = false;

  constructor(random: Random) {
    this.#random = random;
    const server = this.#server;
    server.pageSize = random.int(1, 20);
    server.packSize = random.int(1, 10);
    server.statePage = { joined: random.int(0, 4), next: random.int(1, 4) };
    server.stateCacheMs = random.chance(0.5) ? 1_000 : 0;
    server.clockAhead = random.pick([0, 300_000, -300_000]);
    server.log(ROOM).remembers = random.chance(0.7);
    const lag = random.int(0, 500);
    server.indexLag = () => random.int(0, lag);
    server.script = (frame) =>
      frame.action !== "sendMessage" && random.chance(this.#errorRate)
        ? { code: random.pick(["rate_limited", "unavailable"]) }
        : undefined;
    this.#setWeather();
    const count = random.int(0, 20);
    this.#expires = count > 0;
    this.#produce(count);
    for (let n = 0; n < random.int(1, 3); n++) this.#addClient(`client${n}`);
  }

  /** Runs `steps` random steps, lets the network heal, and returns what is wrong. */
  async run(steps: number): Promise<string[]> {
    for (let step = 0; step < steps; step++) {
      this.#act();
      if (this.#random.chance(0.05)) this.#setWeather();
      await vi.advanceTimersByTimeAsync(this.#random.int(0, this.#random.chance(0.3) ? 40 : 2_000));
    }
    this.#heal();
    // Enough for a dead connection to be noticed by a beat, and for values to end.
    await vi.advanceTimersByTimeAsync(700_000);
    for (const { witness } of this.#clients) witness.settle();
    const wrong = [...this.#unexpected, ...this.#clients.flatMap(({ witness }) => witness.wrong)];
    for (const { client } of this.#clients) client.close();
    await vi.advanceTimersByTimeAsync(60_000);
    if (vi.getTimerCount() > 0) wrong.push(`${vi.getTimerCount()} timers survive close()`);
    return wrong;
  }

  get activity(): { seen: number; pages: number; joins: number } {
    const seen = this.#clients.reduce((sum, { witness }) => sum + witness.seen, 0);
    return { seen, pages: this.#server.received("getState").length, joins: this.#server.received("joinRoom").length };
  }

  #addClient(name: string): void {
    const random = this.#random;
    const client = new Roomcast({
      ...randomOptions(random),
      token: name,
      WebSocket: this.#network.WebSocket,
      reorderWindowMs: random.int(0, 200),
      bufferSize: random.chance(0.5) ? random.int(1, 10) : 1_000,
    });
    const room = client.room(ROOM);
    client.on("error", (error: RoomcastError) => {
      if (!error.retryable) this.#unexpected.push(`${name}: ${error.code} ${error.message}`);
    });
    room.on("error", (error) => this.#unexpected.push(`${name}: ${error.code} ${error.message}`));
    this.#clients.push({ client, room, witness: new Witness(name, room, this.#server), stop: undefined });
    void client.connect();
    this.#join(room);
  }

  #join(room: Room): void {
    room.join({ state: true }).catch(({ code, message }: RoomcastError) => {
      if (!EXPECTED.includes(code)) this.#unexpected.push(`${code} ${message}`);
    });
  }

  #act(): void {
    const random = this.#random;
    const who = random.pick(this.#clients);
    const action = random.int(1, 100);
    if (action <= 55) return this.#produce(random.int(1, 8));
    if (action <= 60) return this.#produce(random.int(20, 60));
    if (action <= 70) return this.#expire();
    if (action <= 76) return this.#read(who);
    if (action <= 82) return this.#joinTwice(who.room);
    if (action <= 85) return this.#restart(who.client);
    const { open } = this.#network;
    if (open.length === 0) return;
    const socket = random.pick(open);
    if (action <= 90) this.#server.loseRow(ROOM, socket);
    else if (action <= 97) socket.cut(random.pick([1001, 1006, 1011]), random.chance(0.7));
    else socket.freeze(random.chance(0.7));
  }

  #expire(): void {
    const log = this.#server.log(ROOM);
    if (this.#expires) log.expire(this.#random.int(log.remembers ? 0 : 1, 10));
  }

  #produce(count: number): void {
    const random = this.#random;
    const drafts = Array.from({ length: count }, () => {
      if (random.chance(0.1)) return { data: this.#sent++ };
      const key = random.pick(KEYS);
      const version = random.chance(0.4) ? { version: random.int(0, 5) } : {};
      // Messages from the bus may come days late.
      const sent = random.chance(0.1) ? { sentAt: this.#server.now() - random.int(0, 200_000_000) } : {};
      if (random.chance(0.25)) return { key, data: null, remove: true, ...version, ...sent };
      return {
        key,
        data: this.#sent++,
        ...version,
        ...sent,
        ...(random.chance(0.2) && { ttlSeconds: random.int(1, 20) }),
      };
    });
    this.#server.publish(ROOM, drafts);
  }

  /** Begins to read messages, quickly or slowly, or stops. */
  #read(who: { room: Room; stop: (() => void) | undefined }): void {
    if (who.stop) {
      who.stop();
      who.stop = undefined;
    } else if (this.#random.chance(0.5)) {
      who.stop = who.room.on("message", () => {});
    } else {
      const iterator = who.room[Symbol.asyncIterator]();
      const pause = this.#random.int(1, 400);
      const read = async () => {
        for await (const _ of iterator) await new Promise((resolve) => setTimeout(resolve, pause));
      };
      read().catch(() => {});
      who.stop = () => void iterator.return();
    }
  }

  /** Leaves and joins again as StrictMode does, or a little later, so that answers to the first join come late. */
  #joinTwice(room: Room): void {
    room.leave().catch(() => {});
    const again = () => this.#join(room);
    if (this.#random.chance(0.5)) again();
    else setTimeout(() => this.#isHealed || again(), this.#random.int(0, 500));
  }

  #restart(client: Roomcast): void {
    client.close();
    setTimeout(() => void client.connect(), this.#random.int(0, 3_000));
  }

  #setWeather(): void {
    const random = this.#random;
    this.#errorRate = random.chance(0.6) ? 0 : random.next() * 0.3;
    this.#network.weather = randomWeather(random);
  }

  #heal(): void {
    this.#isHealed = true;
    this.#network.weather = CALM;
    this.#errorRate = 0;
    this.#server.indexLag = () => 0;
    for (const who of this.#clients) {
      who.stop?.();
      who.client.connect().catch(() => {});
      this.#join(who.room);
    }
    // Messages, so that every member has a beat due soon.
    this.#produce(5);
  }
}
