import { vi } from "vitest";
import { type Member, type Room, Roomcast, type RoomcastError } from "../../src/index.js";
import { CALM, FakeNetwork } from "./fake-network.js";
import type { Random } from "./random.js";
import { randomOptions } from "./random-runs.js";
import { membersOf } from "./room-members.js";
import { ScriptedServer } from "./scripted-server.js";

const ROOM = "presence:lobby";
const NAMES = ["ann", "bob", "cy", "dan", "eve"];

/** Codes with which a chaotic run may reject a call. */
const EXPECTED = ["timeout", "left", "closed", "bad_request"];

/** The observations of one client of a room's members. */
class Witness {
  readonly wrong: string[] = [];
  events = 0;
  readonly #name: string;
  readonly #room: Room;
  readonly #server: ScriptedServer;
  readonly #exact: boolean;
  /** The list that follows from the events. */
  #told = new Map<string, unknown>();
  /** The index of the newest published list that the client has shown. */
  #reached = 0;

  /** `exact`: lists come in one page, so that each that is shown is one that was published. */
  constructor(name: string, room: Room, server: ScriptedServer, exact: boolean) {
    this.#name = name;
    this.#room = room;
    this.#server = server;
    this.#exact = exact;
    const { presence } = room;
    presence.on("snapshot", (members) => {
      this.#told = new Map(members.map(({ id, data }) => [id, data]));
      this.#looks();
    });
    presence.on("joined", ({ id, data }) =>
      this.#hears(!this.#told.has(id), `${id} joined`, () => this.#told.set(id, data)),
    );
    presence.on("left", ({ id }) => this.#hears(this.#told.has(id), `${id} left`, () => this.#told.delete(id)));
    presence.on("updated", ({ id, data, previous }) =>
      this.#hears(text(this.#told.get(id)) === text(previous), `${id} updated`, () => this.#told.set(id, data)),
    );
  }

  settle(): void {
    const { members, count, listed } = this.#room.presence;
    const right = this.#server.list(ROOM).published.at(-1);
    if (listed !== (right !== undefined)) this.wrong.push(`${this.#name} has ${listed ? "a" : "no"} list`);
    const there = membersOf(this.#server.memberRows(ROOM)).size;
    if (count !== there) this.wrong.push(`${this.#name} counts ${count} of ${there}`);
    if (!listed || !right) return;
    const told = [...this.#told]
      .map(([id, data]) => (data === undefined ? { id } : { id, data }))
      .sort((a, b) => (a.id < b.id ? -1 : 1));
    // A tab that was handed over may have said something since.
    const [shown, published] = [this.#others(members), this.#others(right)];
    if (shown !== published) this.wrong.push(`${this.#name} lists ${shown} of ${published}`);
    if (text(members) !== text(told))
      this.wrong.push(`${this.#name} was told ${text(told)}, and lists ${text(members)}`);
  }

  #others(members: readonly Member[]): string {
    return text(members.filter(({ id }) => id !== this.#name));
  }

  #hears(fits: boolean, what: string, apply: () => void): void {
    this.events++;
    if (!fits) this.wrong.push(`${this.#name} was told that ${what}, which does not follow`);
    apply();
    this.#looks();
  }

  /**
   * Checks that the list is one of those that were published, with oneself, and none before the last that was shown.
   */
  #looks(): void {
    if (!this.#exact || !this.#room.presence.listed) return;
    const shown = this.#others(this.#room.presence.members);
    const lists = this.#server.list(ROOM).published;
    const at = lists.findIndex(
      (list, index) => index >= this.#reached && list !== undefined && this.#others(list) === shown,
    );
    if (at === -1) this.wrong.push(`${this.#name} lists ${shown}, which was not published`);
    else this.#reached = at;
    if (!this.#room.presence.members.some(({ id }) => id === this.#name))
      this.wrong.push(`${this.#name} does not list itself`);
  }
}

/** A random run of clients that come and go, while frames are lost and the list is read again. */
export class PresenceChaos {
  readonly #random: Random;
  readonly #server = new ScriptedServer();
  readonly #network = new FakeNetwork(this.#server);
  readonly #clients: { client: Roomcast; room: Room; witness: Witness }[] = [];
  readonly #unexpected: string[] = [];
  #errorRate = 0;
  #said = 0;

  constructor(random: Random) {
    this.#random = random;
    const server = this.#server;
    const exact = random.chance(0.5);
    const list = random.chance(0.5) ? random.int(2, 5) : 500;
    server.presence = { ...server.presence, page: exact ? 100 : random.int(1, 3), list, frame: random.int(1, 6) };
    const pace = random.int(100, 5_000);
    server.presenceDelay = () => random.int(100, pace);
    server.script = (frame) =>
      random.chance(this.#errorRate)
        ? { code: frame.action === "sync" ? "unavailable" : random.pick(["rate_limited", "unavailable"]) }
        : undefined;
    this.#setWeather();
    // Some subjects have several tabs.
    for (const name of NAMES)
      for (let tab = 0; tab < random.int(1, 2); tab++) this.#addClient(name, exact && tab === 0);
  }

  async run(steps: number): Promise<string[]> {
    for (let step = 0; step < steps; step++) {
      this.#act();
      if (this.#random.chance(0.05)) this.#setWeather();
      await vi.advanceTimersByTimeAsync(this.#random.int(0, 3_000));
    }
    this.#network.weather = CALM;
    this.#errorRate = 0;
    for (const { client, room } of this.#clients) {
      client.connect().catch(() => {});
      this.#join(room);
    }
    // Enough for a dead connection to be noticed by a beat, and for a beat after the last publication.
    await vi.advanceTimersByTimeAsync(1_300_000);
    // The server's check removes members whose connection has ended without a word.
    this.#server.presenceDelay = () => Infinity;
    this.#server.publishMembers(ROOM);
    await vi.advanceTimersByTimeAsync(60_000);
    for (const { witness } of this.#clients) witness.settle();
    const wrong = [...this.#unexpected, ...this.#clients.flatMap(({ witness }) => witness.wrong)];
    for (const { client } of this.#clients) client.close();
    await vi.advanceTimersByTimeAsync(60_000);
    if (vi.getTimerCount() > 0) wrong.push(`${vi.getTimerCount()} timers survive close()`);
    return wrong;
  }

  get activity(): { events: number; lists: number; pages: number } {
    const events = this.#clients.reduce((sum, { witness }) => sum + witness.events, 0);
    return {
      events,
      lists: this.#server.list(ROOM).published.length,
      pages: this.#server.received("getMembers").length,
    };
  }

  #addClient(name: string, exact: boolean): void {
    const random = this.#random;
    const client = new Roomcast({
      ...randomOptions(random),
      token: name,
      WebSocket: this.#network.WebSocket,
    });
    const room = client.room(ROOM);
    client.on("error", (error: RoomcastError) => {
      if (!error.retryable) this.#unexpected.push(`${name}: ${error.code} ${error.message}`);
    });
    room.on("error", (error) => this.#unexpected.push(`${name}: ${error.code} ${error.message}`));
    this.#clients.push({ client, room, witness: new Witness(name, room, this.#server, exact) });
    void client.connect();
    this.#join(room);
  }

  #join(room: Room): void {
    const data = this.#random.chance(0.3) ? true : { n: this.#said++ };
    this.#expect(room.join({ presence: data }));
  }

  #expect(promise: Promise<unknown>): void {
    promise.catch(({ code, message }: RoomcastError) => {
      if (!EXPECTED.includes(code)) this.#unexpected.push(`${code} ${message}`);
    });
  }

  #act(): void {
    const random = this.#random;
    const { client, room } = random.pick(this.#clients);
    const action = random.int(1, 100);
    if (action <= 25) return this.#expect(room.leave());
    if (action <= 55) return this.#join(room);
    if (action <= 65) return this.#expect(room.presence.update({ n: this.#said++ }));
    if (action <= 70) {
      client.close();
      setTimeout(() => void client.connect(), random.int(0, 5_000));
      return;
    }
    const { open } = this.#network;
    if (open.length === 0) return;
    const socket = random.pick(open);
    if (action <= 80) this.#server.loseRow(ROOM, socket);
    else if (action <= 95) socket.cut(random.pick([1001, 1006]), random.chance(0.7));
    else socket.freeze(random.chance(0.7));
  }

  #setWeather(): void {
    const random = this.#random;
    const slowest = random.int(1, 400);
    const loss = random.chance(0.4) ? 0 : random.next() * 0.5;
    const repeat = random.next() * 0.3;
    this.#errorRate = random.chance(0.6) ? 0 : random.next() * 0.3;
    this.#network.weather = {
      ...CALM,
      latency: () => random.int(0, slowest),
      losesBroadcast: () => random.chance(loss),
      repeatsBroadcast: () => random.chance(repeat),
      losesReply: () => random.chance(loss / 8),
    };
  }
}

function text(value: unknown): string {
  return JSON.stringify(value) ?? "";
}
