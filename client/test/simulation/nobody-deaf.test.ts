import { describe, expect, it } from "vitest";
import { Random, seeds } from "../support/random.js";
import { LongRun, type Outcome } from "./long-run.js";
import { VirtualTime } from "./virtual-time.js";
import { DEAF_LIMIT_MS } from "./watch.js";

const START = 1_750_000_000_000;
const SEEDS = 2_000;
/**
 * The first seed of the everyday run: how long a client is deaf has a long tail, and a change must not be blamed for
 * chance. `ROOMCAST_SEEDS` tries new ones.
 */
const USUAL = 664_213_270;

async function simulate(seed: number, isTold = false): Promise<Outcome> {
  const time = new VirtualTime(START);
  const random = new Random(seed);
  const restore = time.install(random.next);
  try {
    return await new LongRun(time, random, isTold).run();
  } finally {
    restore();
  }
}

/** `ROOMCAST_SEED=n` replays one run, with its timeline. */
describe("nobody is deaf", () => {
  const tried = seeds(SEEDS, USUAL);
  const run = async () => {
    const total = { longestDeafMs: 0, seen: 0, recovered: 0, connections: 0, rowsDeleted: 0 };
    for (const seed of tried) {
      const outcome = await simulate(seed);
      if (outcome.wrong.length > 0) {
        const { wrong, timeline } = await simulate(seed, true);
        if (tried.length === 1) console.info(timeline.join("\n"));
        expect(wrong.slice(0, 10), `replay with ROOMCAST_SEED=${seed}`).toEqual([]);
      }
      total.longestDeafMs = Math.max(total.longestDeafMs, Math.round(outcome.longestDeafMs));
      total.seen += outcome.seen;
      total.recovered += outcome.recovered;
      total.connections += outcome.connections;
      total.rowsDeleted += outcome.rowsDeleted;
    }
    console.info(`${tried.length} seeds from ${tried[0]}: ${JSON.stringify(total)}`);
    // Runs in which nothing happens prove nothing; a single one may be quiet.
    if (tried.length > 10) expect(Math.min(total.recovered, total.rowsDeleted)).toBeGreaterThan(0);
    expect(total.longestDeafMs).toBeLessThanOrEqual(DEAF_LIMIT_MS);
  };
  it("in rooms active and silent by turns, while everything fails", run);
});
