import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { PresenceChaos } from "../support/presence-chaos.js";
import { Random, seeds } from "../support/random.js";

const START = 1_750_000_000_000;
const COUNT = 60;

/** Random runs of clients that come and go; `ROOMCAST_SEED=n` replays one. */
describe("presence", () => {
  beforeEach(() => {
    vi.useFakeTimers({ now: START });
  });

  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  const tried = seeds(COUNT);
  const run = async () => {
    const total = { events: 0, lists: 0, pages: 0 };
    for (const seed of tried) {
      vi.setSystemTime(START);
      const random = new Random(seed);
      vi.spyOn(Math, "random").mockImplementation(random.next);
      const chaos = new PresenceChaos(random);
      const wrong = await chaos.run(120);
      expect(wrong.slice(0, 10), `replay with ROOMCAST_SEED=${seed}`).toEqual([]);
      for (const [what, amount] of Object.entries(chaos.activity)) total[what as keyof typeof total] += amount;
    }
    console.info(`${tried.length} seeds from ${tried[0]}: ${JSON.stringify(total)}`);
    expect(Math.min(total.events, total.pages)).toBeGreaterThan(0);
  };
  it("is the list that was published, and its events are the differences", run, 60_000 + tried.length * 1_000);
});
