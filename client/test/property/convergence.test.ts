import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Chaos } from "../support/chaos.js";
import { Random, seeds } from "../support/random.js";

const START = 1_750_000_000_000;

/**
 * Random runs against a server and a network that drop, repeat and reorder frames, lose replies, refuse, cut and freeze
 * connections. `ROOMCAST_SEED=n` replays one.
 */
describe("every client converges to the log", () => {
  beforeEach(() => {
    vi.useFakeTimers({ now: START });
  });

  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  for (const { name, retention, count } of [
    { name: "while nothing expires", retention: false, count: 150 },
    { name: "with rooms silent past their retention", retention: true, count: 100 },
  ]) {
    const tried = seeds(count);
    const run = async () => {
      const total = { seen: 0, recovered: 0, connections: 0 };
      for (const seed of tried) {
        vi.setSystemTime(START);
        const random = new Random(seed);
        vi.spyOn(Math, "random").mockImplementation(random.next);
        const chaos = new Chaos(random, { retention });
        const wrong = await chaos.run(120);
        expect(wrong.slice(0, 10), `replay with ROOMCAST_SEED=${seed}`).toEqual([]);
        for (const [what, amount] of Object.entries(chaos.activity)) total[what as keyof typeof total] += amount;
      }
      console.info(`${tried.length} seeds from ${tried[0]}: ${JSON.stringify(total)}`);
      expect(total.recovered).toBeGreaterThan(0);
    };
    it(name, run, 60_000 + tried.length * 1_000);
  }
});
