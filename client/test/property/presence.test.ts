import { describe } from "vitest";
import { PresenceChaos } from "../support/presence-chaos.js";
import { inRandomTime, itHolds } from "../support/random-runs.js";

/** Random runs of clients that come and go; `ROOMCAST_SEED=n` replays one. */
describe("presence", () => {
  inRandomTime();

  itHolds(
    "is the list that was published, and its events are the differences",
    60,
    (random) => new PresenceChaos(random),
    ["events", "pages"],
  );
});
