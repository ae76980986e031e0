import { describe, expect, it } from "vitest";
import { type Message, Roomcast, type TokenProvider } from "../../src/index.js";
import { type History, violations } from "../support/history-checker.js";
import { Random, seeds } from "../support/random.js";
import { CALM } from "./model/faults.js";
import { Model } from "./model/model.js";
import { VirtualTime } from "./virtual-time.js";
import { Watch } from "./watch.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const CLIENTS = 4;
const ROOMS = ["one", "two", "three"];
/** Time between two broadcasts of a room, and between two messages of a client. */
const BROADCAST_MS = 5 * SECOND;
const SEND_MS = 7 * SECOND;
/** Hand-overs in the life of a token that is given again and again: see the README. */
const IN_VAIN = 5;
/**
 * A hand-over comes after three quarters of a token's time or two minutes before its end, and up to a tenth earlier.
 */
const EARLIEST = 0.9;

/** Makes the tokens of one client. */
type Issue = () => { token: string; endsAt: number };
const PROVIDERS: Record<string, (issue: Issue, time: VirtualTime) => TokenProvider> = {
  "fetches a token each time": (issue) => () => issue().token,
  "keeps a token until half a minute before its end, but not when it was refused": (issue, time) => {
    let kept: ReturnType<Issue> | undefined;
    return ({ refused }) => {
      if (kept === undefined || refused || kept.endsAt - time.now < 30 * SECOND) kept = issue();
      return kept.token;
    };
  },
  "keeps a token to its end, whatever it is told": (issue, time) => {
    let kept: ReturnType<Issue> | undefined;
    return () => {
      if (kept === undefined || kept.endsAt <= time.now) kept = issue();
      return kept.token;
    };
  },
};

interface Outcome {
  wrong: string[];
  longestDeafMs: number;
  /** Connections of the client that made the most. */
  connections: number;
  /** Connections of all clients. */
  allConnections: number;
  joins: number;
  sends: { made: number; frames: number };
  /** Frames that were refused because of the token. */
  expired: number;
  refusedHandshakes: number;
}

/** Some clients in rooms in which messages flow, with tokens of `ms`, for as long as `lives` of them. */
async function run(
  seed: number,
  ms: number,
  lives: number,
  provider: (issue: Issue, time: VirtualTime) => TokenProvider,
): Promise<Outcome> {
  const time = new VirtualTime(1_750_000_000_000);
  const random = new Random(seed);
  const watch = new Watch(time, false);
  const model = new Model(time, random, CALM, watch, 24 * 60 * MINUTE);
  const restore = time.install(random.next);
  const { wrong } = watch;
  const histories: { room: string; history: History }[] = [];
  let made = 0;
  try {
    const clients = Array.from({ length: CLIENTS }, (_, index) => {
      const name = `client${index}`;
      const issue = () => ({ token: model.tokens.issue(name, ms), endsAt: time.now + ms });
      const client = new Roomcast({
        url: "ws://simulated",
        token: provider(issue, time),
        WebSocket: model.gateway.WebSocket,
      });
      client.on("error", ({ code, retryable, message }) => retryable || wrong.push(`${name}: ${code} ${message}`));
      client.connect().catch((error: unknown) => wrong.push(String(error)));
      for (const room of ROOMS) {
        const history: History = { who: `${name}/${room}`, start: 0, seen: [], truncated: [] };
        histories.push({ room, history });
        client.room(room).on("message", (message: Message) => history.seen.push(message));
        client.room(room).once("joined", () => watch.joined(name, room));
        client
          .room(room)
          .join({ after: 0 })
          .catch((error: unknown) => wrong.push(String(error)));
      }
      const send = () => {
        made++;
        client
          .room(random.pick(ROOMS))
          .send("hello")
          .catch((error: unknown) => wrong.push(`${name}: ${String(error)}`));
        time.after(SEND_MS, send);
      };
      time.after(random.int(0, SEND_MS), send);
      return client;
    });
    for (const room of ROOMS) {
      const broadcast = () => {
        model.fanout.publish(room, 1);
        time.after(BROADCAST_MS, broadcast);
      };
      time.after(random.int(0, BROADCAST_MS), broadcast);
    }
    await time.pass(lives * ms);
    for (const { room, history } of histories) {
      const { all } = model.messages.log(room);
      // The newest messages may be on their way, or missed in a hand-over that is going on.
      wrong.push(...violations(history, model.messages.log(room), all.at(-8)?.seq ?? 0));
    }
    for (const client of clients) client.close();
    const { dials, refused, expired } = model.gateway;
    const sum = (counts: ReadonlyMap<string, number>) =>
      [...counts.values()].reduce((total, count) => total + count, 0);
    return {
      wrong,
      longestDeafMs: watch.longest,
      connections: Math.max(...dials.values()),
      allConnections: sum(dials),
      joins: model.meter.of("joinRoom").frames,
      sends: { made, frames: model.meter.of("sendMessage").frames },
      expired: sum(expired),
      refusedHandshakes: sum(refused),
    };
  } finally {
    restore();
  }
}

/** Shortest use of a connection. */
function lifeOf(ms: number): number {
  return EARLIEST * (ms - Math.min(ms / 4, 2 * MINUTE));
}

describe("tokens that expire", () => {
  const [seed = 0] = seeds(1);
  const lives = 12;
  for (const ms of [MINUTE, 5 * MINUTE, 20 * MINUTE]) {
    for (const [what, provider] of Object.entries(PROVIDERS)) {
      it(`after ${ms / MINUTE} min, where the provider ${what}`, async () => {
        const outcome = await run(seed, ms, lives, provider);
        console.info(`${ms / MINUTE} min, ${what}: ${JSON.stringify(outcome)}`);
        expect(outcome.wrong.slice(0, 10), `replay with ROOMCAST_SEED=${seed}`).toEqual([]);
        const renews = what !== Object.keys(PROVIDERS)[2];
        // A connection that ends with its token is followed by another within the first backoffs.
        expect(outcome.longestDeafMs).toBeLessThan(renews ? BROADCAST_MS + 2 * SECOND : 40 * SECOND);
        expect(outcome.connections).toBeLessThanOrEqual(
          1 + (renews ? (lives * ms) / lifeOf(ms) : lives * (1 + IN_VAIN)),
        );
        expect(outcome.joins).toBe(ROOMS.length * (outcome.allConnections - outcome.refusedHandshakes));
        expect(outcome.expired).toBe(0);
        // A token that is kept to its end may end during the handshake.
        expect(outcome.refusedHandshakes).toBeLessThanOrEqual(renews ? 0 : lives * CLIENTS);
        // A message is sent twice only if its connection ends meanwhile.
        expect(outcome.sends.frames - outcome.sends.made).toBeLessThanOrEqual(renews ? 0 : outcome.allConnections);
      });
    }
  }
});
