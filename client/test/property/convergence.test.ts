import { describe } from "vitest";
import { Chaos } from "../support/chaos.js";
import { inRandomTime, itHolds } from "../support/random-runs.js";

/**
 * Random runs against a server and a network that drop, repeat and reorder frames, lose replies, refuse, cut and freeze
 * connections. `ROOMCAST_SEED=n` replays one.
 */
describe("every client converges to the log", () => {
  inRandomTime();

  itHolds("while nothing expires", 150, (random) => new Chaos(random, { retention: false }), ["recovered"]);
  itHolds("with rooms silent past their retention", 100, (random) => new Chaos(random, { retention: true }), [
    "recovered",
  ]);
});
