import { describe, expect, it } from "vitest";
import { seeds } from "../support/random.js";
import type { Faults } from "./model/faults.js";
import { type Deeds, ROOMS, type Storm, STORM_MS, weather } from "./storm.js";

const SESSIONS: Record<string, Partial<Faults>> = {
  "does not answer": { dies: () => "before it writes" },
  "does not answer beats": { dies: (action) => (action === "sync" ? "before it writes" : undefined) },
  "fails": { dies: () => "before it writes", tellsDeath: () => true },
  "is throttled by API Gateway": { throttlesFrame: () => true },
  "is throttled": { throttlesTable: () => true, retryAfterMs: () => undefined },
  "is throttled, and says for how long": { throttlesTable: () => true },
  "takes 12 s": { durationMs: () => 12_000 },
  "takes 25 s": { durationMs: () => 25_000 },
};

/** `session` is behind `$connect` too, so what it suffers from, handshakes suffer from. */
const HANDSHAKES: Record<string, Partial<Faults>> = {
  "open": {},
  "are refused": { handshake: () => "is refused" },
  "stall": { handshake: () => "stalls" },
};

/** How many waits with full jitter, below `base × 2^k` and `cap`, fill a time on average. */
function waits(ms: number, base: number, cap: number): number {
  let count = 1;
  for (let bound = base; bound < cap && ms > bound / 2; bound *= 2, count++) ms -= bound / 2;
  return count + ms / (cap / 2);
}

/** Full jitter spreads a count of ten minutes by less than a tenth: this is five times as much. */
const SPREAD = 1.4;
/** A connection or handshake that comes to nothing is followed by a wait, and no storm resets the backoff. */
const CONNECTIONS = SPREAD * waits(STORM_MS, 500, 30_000);
/** An attempt to join a room is followed by a wait too. A new connection joins each room once more. */
const JOINS = ROOMS * SPREAD * waits(STORM_MS, 200, 10_000);
/** All rooms share their beats. */
const SYNCS = SPREAD * waits(STORM_MS, 200, 10_000);

/** A beat after the joins is all that a calm minute may see. */
const CALM_SYNCS = 2;

describe("a storm", () => {
  const [seed = 0] = seeds(1);
  for (const [session, faults] of Object.entries(SESSIONS)) {
    for (const [handshakes, fate] of Object.entries(HANDSHAKES)) {
      for (const cuts of [false, true]) {
        // Without a new connection it does not matter.
        if (!cuts && handshakes !== "open") continue;
        const name = `in which session ${session}${cuts ? `, connections are cut, and handshakes ${handshakes}` : ""}`;
        it(name, () => endure({ session: faults, handshakes: fate, cuts }, name, seed));
      }
    }
  }
});

async function endure(storm: Storm, name: string, seed: number): Promise<void> {
  const { wrong, stormy, after } = await weather(seed, storm);
  const { connections, joins, syncs } = mostOf(stormy);
  console.info(`${name}: at most ${connections} connections, ${joins} joins and ${syncs} syncs a client`);
  expect(wrong.slice(0, 10), `replay with ROOMCAST_SEED=${seed}`).toEqual([]);
  expect(connections).toBeLessThanOrEqual(CONNECTIONS);
  expect(joins).toBeLessThanOrEqual(JOINS);
  expect(syncs).toBeLessThanOrEqual(SYNCS);
  const calm = mostOf(after);
  expect({ ...calm, syncs: Math.max(calm.syncs, CALM_SYNCS) }).toEqual({ connections: 0, joins: 0, syncs: CALM_SYNCS });
}

/** The most that any client did. */
function mostOf(deeds: readonly Deeds[]): Deeds {
  const most = (what: keyof Deeds) => Math.max(...deeds.map((each) => each[what]));
  return { connections: most("connections"), joins: most("joins"), syncs: most("syncs") };
}
