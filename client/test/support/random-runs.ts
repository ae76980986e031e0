import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { RoomcastOptions } from "../../src/index.js";
import { CALM, type Weather } from "./fake-network.js";
import { Random, seeds } from "./random.js";

const START = 1_750_000_000_000;
const STEPS = 120;
/** Long enough for all runs on a machine that is busy with other things. */
const TIMEOUT_MS = 1_800_000;

/** A run in which everything follows from a generator. */
interface RandomRun<A> {
  /** Makes `steps` random steps, lets the network heal, and returns what is wrong. */
  run(steps: number): Promise<string[]>;
  /** Counts of what happened: a run in which nothing happens proves nothing. */
  readonly activity: A;
}

/** Fake time for each test of random runs. */
export function inRandomTime(): void {
  beforeEach(() => {
    vi.useFakeTimers({ now: START });
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });
}

/** A test of `count` runs in which nothing is wrong, and in all of which together each of `needed` happened. */
export function itHolds<A extends Record<keyof A, number>>(
  name: string,
  count: number,
  make: (random: Random) => RandomRun<A>,
  needed: (keyof A & string)[],
): void {
  const tried = seeds(count);
  const run = async () => {
    const total: Record<string, number> = {};
    for (const seed of tried) {
      vi.setSystemTime(START);
      const random = new Random(seed);
      vi.spyOn(Math, "random").mockImplementation(random.next);
      const chaos = make(random);
      const wrong = await chaos.run(STEPS);
      expect(wrong.slice(0, 10), `replay with ROOMCAST_SEED=${seed}`).toEqual([]);
      for (const [what, amount] of Object.entries<number>(chaos.activity)) total[what] = (total[what] ?? 0) + amount;
    }
    console.info(`${tried.length} seeds from ${tried[0]}: ${JSON.stringify(total)}`);
    expect(Math.min(...needed.map((what) => total[what] ?? 0))).toBeGreaterThan(0);
  };
  it(name, run, TIMEOUT_MS);
}

/** A network that delays, and perhaps loses, repeats and refuses. */
export function randomWeather(random: Random): Weather {
  const slowest = random.int(1, 400);
  const loss = random.chance(0.5) ? 0 : random.next() * 0.4;
  const repeat = random.next() * 0.3;
  const refuse = random.next() * 0.4;
  return {
    ...CALM,
    latency: () => random.int(0, slowest),
    losesBroadcast: () => random.chance(loss),
    repeatsBroadcast: () => random.chance(repeat),
    refuses: () => random.chance(refuse),
    losesReply: () => random.chance(loss / 8),
  };
}

/** Options of a client that is quick to try again, and hands over often or never. */
export function randomOptions(random: Random): Pick<RoomcastOptions, "url"> & Partial<RoomcastOptions> {
  return {
    url: "ws://fake",
    reconnect: { base: 200, cap: 5_000 },
    retry: { base: 100, cap: 5_000 },
    syncIntervalMs: random.int(5_000, 30_000),
    handoverAfterMs: random.chance(0.5) ? random.int(10_000, 60_000) : 7_200_000,
  };
}
