import { describe, expect, it } from "vitest";
import { seeds } from "../support/random.js";
import type { Faults } from "./model/faults.js";
import { type Deeds, ROOMS, STORM_MS, type Storm, weather } from "./storm.js";

const SESSIONS: Record<string, Partial<Faults>> = {
  "does not answer": { dies: () => "before it writes" },
  "does not answer beats": { dies: (action) => (action === "sync" ? "before it writes" : undefined) },
  fails: { dies: () => "before it writes", tellsDeath: () => true },
  "is throttled by API Gateway": { throttlesFrame: () => true },
  "is throttled": { throttlesTable: () => true, retryAfterMs: () => undefined },
  "is throttled, and says for how long": { throttlesTable: () => true },
  "takes 12 s": { durationMs: () => 12_000 },
  "takes 25 s": { durationMs: () => 25_000 },
};

/** Fates of handshakes: `session` is behind `$connect` too, so its troubles are theirs. */
const HANDSHAKES: Record<string, Partial<Faults>> = {
  open: {},
  "are refused": { handshake: () => "is refused" },
  stall: { handshake: () => "stalls" },
};

/**
 * Number of attempts that fill a time on average, each `lostMs` long and followed by a wait with full jitter below
 * `base × 2^k` and `cap`.
 */
function attempts(ms: number, lostMs: number, base: number, cap: number): number {
  let count = 1;
  for (let bound = base; bound < cap && ms > 0; bound *= 2, count++) ms -= lostMs + bound / 2;
  return count + Math.max(0, ms) / (lostMs + cap / 2);
}

/** Factor by which a count may exceed its average. Full jitter spreads a count of ten minutes by less than a tenth. */
const SPREAD = 1.4;
/** The timeout of a handshake, and of the first request on a connection on which nothing is answered. */
const TIMEOUT_MS = 10_000;
const RECONNECT = [500, 30_000] as const;
const RETRY = [200, 10_000] as const;
const JOIN_CONCURRENCY = 8;
/**
 * Largest number of connections. A failed attempt is followed by a wait, and no storm resets the backoff: 64 when
 * handshakes are refused, else 39.
 */
const CONNECTIONS: Record<string, number> = {
  open: SPREAD * attempts(STORM_MS, TIMEOUT_MS, ...RECONNECT),
  "are refused": SPREAD * attempts(STORM_MS, 0, ...RECONNECT),
  stall: SPREAD * attempts(STORM_MS, TIMEOUT_MS, ...RECONNECT),
};
/**
 * Largest number of joins. All rooms share one backoff when joins fail, after the first eight at once. After the storm
 * each room is joined: 204.
 */
const JOINS = JOIN_CONCURRENCY + SPREAD * attempts(STORM_MS, 0, ...RETRY) + ROOMS;
/** Largest number of syncs. All rooms share their beats, and each is looked at once more after its join: 196. */
const SYNCS = SPREAD * attempts(STORM_MS, 0, ...RETRY) + ROOMS;

/** Number of syncs that the calm minute may see: the beats that follow the joins. */
const CALM_SYNCS = 2;

describe("a storm", () => {
  const [seed = 0] = seeds(1);
  for (const [session, faults] of Object.entries(SESSIONS)) {
    for (const [handshakes, fate] of Object.entries(HANDSHAKES)) {
      for (const cuts of [false, true]) {
        // Without a cut there are no handshakes.
        if (!cuts && handshakes !== "open") continue;
        const name = `in which session ${session}${cuts ? `, connections are cut, and handshakes ${handshakes}` : ""}`;
        it(name, () => endure({ session: faults, handshakes: fate, cuts }, name, seed, CONNECTIONS[handshakes] ?? 0));
      }
    }
  }
});

async function endure(storm: Storm, name: string, seed: number, mostConnections: number): Promise<void> {
  const { wrong, stormy, after } = await weather(seed, storm);
  const { connections, joins, syncs } = mostOf(stormy);
  console.info(`${name}: at most ${connections} connections, ${joins} joins and ${syncs} syncs a client`);
  expect(wrong.slice(0, 10), `replay with ROOMCAST_SEED=${seed}`).toEqual([]);
  expect(connections).toBeLessThanOrEqual(mostConnections);
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
