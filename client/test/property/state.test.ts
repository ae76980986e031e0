import { describe } from "vitest";
import { inRandomTime, itHolds } from "../support/random-runs.js";
import { StateChaos } from "../support/state-chaos.js";

/** Random runs of clients that watch a room's state; `ROOMCAST_SEED=n` replays one. */
describe("a room's state", () => {
  inRandomTime();

  itHolds("is what the log says, and no key of it goes back", 60, (random) => new StateChaos(random), [
    "seen",
    "pages",
  ]);
});
