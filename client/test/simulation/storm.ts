import { type Message, Roomcast } from "../../src/index.js";
import { type History, violations } from "../support/history-checker.js";
import { Random } from "../support/random.js";
import { CALM, type Faults } from "./model/faults.js";
import { Model } from "./model/model.js";
import { VirtualTime } from "./virtual-time.js";
import { Watch } from "./watch.js";

const MINUTE = 60_000;
export const STORM_MS = 10 * MINUTE;
const CLIENTS = 10;
export const ROOMS = 20;
/** Time between two broadcasts of a room. */
const BROADCAST_MS = 5_000;

/** The conduct of `session` in a storm, and the fate of handshakes and of open connections. */
export interface Storm {
  session: Partial<Faults>;
  handshakes: Partial<Faults>;
  /** Every connection is cut when the storm has lasted a minute. */
  cuts: boolean;
}

/** Counts of one client. */
export interface Deeds {
  connections: number;
  joins: number;
  syncs: number;
}

interface StormOutcome {
  wrong: string[];
  /** Counts of each client in the storm and the minute after it. */
  stormy: Deeds[];
  /** Counts of each client in the minute after that. */
  after: Deeds[];
}

/** Lets clients live through a storm of ten minutes, in rooms with broadcasts, and for two minutes afterwards. */
export async function weather(seed: number, { session, handshakes, cuts }: Storm): Promise<StormOutcome> {
  const time = new VirtualTime(1_750_000_000_000);
  const random = new Random(seed);
  const faults: Faults = { ...CALM };
  const deeds = new Map<string, Deeds>();
  const watch = new Counting(time, deeds);
  const model = new Model(time, random, faults, watch, 24 * 60 * MINUTE);
  const restore = time.install(random.next);
  try {
    const rooms = Array.from({ length: ROOMS }, (_, index) => `room${index}`);
    const clients = Array.from({ length: CLIENTS }, (_, index) => {
      const name = `client${index}`;
      deeds.set(name, { connections: 0, joins: 0, syncs: 0 });
      return { name, client: new Roomcast({ url: "ws://simulated", token: name, WebSocket: model.gateway.WebSocket }) };
    });
    const histories = clients.flatMap(({ name, client }) => {
      client.on("error", () => {});
      client.connect().catch(() => {});
      return rooms.map((room) => {
        const history: History = { who: `${name}/${room}`, start: 0, seen: [], truncated: [] };
        client.room(room).on("message", (message: Message) => history.seen.push(message));
        client
          .room(room)
          .join({ after: 0 })
          .catch(() => {});
        return { room, history };
      });
    });
    for (const room of rooms) {
      const broadcast = () => {
        model.fanout.publish(room, 1);
        time.after(BROADCAST_MS, broadcast);
      };
      time.after(random.int(0, BROADCAST_MS), broadcast);
    }
    await time.pass(MINUTE);
    take(deeds);
    Object.assign(faults, session, handshakes);
    await time.pass(MINUTE);
    if (cuts) for (const socket of [...model.gateway.sockets.values()]) model.gateway.close(socket, 1006);
    await time.pass(STORM_MS - MINUTE);
    Object.assign(faults, CALM);
    await time.pass(MINUTE);
    const stormy = take(deeds);
    const wrong = clients
      .filter(({ client }) => client.state !== "open")
      .map(({ name, client }) => `${name} is ${client.state}`);
    for (const { room, history } of histories) {
      const { all } = model.messages.log(room);
      // The newest may be on its way.
      wrong.push(...violations(history, model.messages.log(room), all.at(-2)?.seq ?? 0));
    }
    await time.pass(MINUTE);
    const after = take(deeds);
    for (const { client } of clients) client.close();
    return { wrong: [...watch.wrong, ...wrong], stormy, after };
  } finally {
    restore();
  }
}

/** Counts of each client since the last call. */
function take(deeds: Map<string, Deeds>): Deeds[] {
  const taken = [...deeds.values()];
  for (const name of deeds.keys()) deeds.set(name, { connections: 0, joins: 0, syncs: 0 });
  return taken;
}

class Counting extends Watch {
  readonly #deeds: Map<string, Deeds>;

  constructor(time: VirtualTime, deeds: Map<string, Deeds>) {
    super(time, false);
    this.#deeds = deeds;
  }

  override dialled(client: string): void {
    const deeds = this.#deeds.get(client);
    if (deeds !== undefined) deeds.connections++;
  }

  override called(client: string, action: string, rooms: readonly string[]): ReturnType<Watch["called"]> {
    const deeds = this.#deeds.get(client);
    if (deeds !== undefined && action === "joinRoom") deeds.joins++;
    if (deeds !== undefined && action === "sync") deeds.syncs++;
    return super.called(client, action, rooms);
  }
}
