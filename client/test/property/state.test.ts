import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Random, seeds } from "../support/random.js";
import { StateChaos } from "../support/state-chaos.js";

const START = 1_750_000_000_000;
const COUNT = 60;

/** Random runs as those of the messages; `ROOMCAST_SEED=n` replays one. */
describe("a room's state", () => {
  beforeEach(() => {
    vi.useFakeTimers({ now: START });
  });

  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  const tried = seeds(COUNT);
  const run = async () => {
    const total = { seen: 0, pages: 0, joins: 0 };
    for (const seed of tried) {
      vi.setSystemTime(START);
      const random = new Random(seed);
      vi.spyOn(Math, "random").mockImplementation(random.next);
      const chaos = new StateChaos(random);
      const wrong = await chaos.run(120);
      expect(wrong.slice(0, 10), `replay with ROOMCAST_SEED=${seed}`).toEqual([]);
      for (const [what, amount] of Object.entries(chaos.activity)) total[what as keyof typeof total] += amount;
    }
    console.info(`${tried.length} seeds from ${tried[0]}: ${JSON.stringify(total)}`);
    expect(Math.min(total.seen, total.pages)).toBeGreaterThan(0);
  };
  it("is what the log says, and no key of it goes back", run, 60_000 + tried.length * 1_000);
});
