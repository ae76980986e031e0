import type { VirtualTime } from "../virtual-time.js";

const SYNC_MIN_MS = 30_000;
const SYNC_MAX_MS = 540_000;
const MAX_STRETCH = 8;
/** Shortest time between two doublings of the stretch. */
const DOUBLING_MS = 1_000;
/** Time without a throttled call after which the stretch is halved. */
const HALVING_MS = 10_000;

/** Says when a client should sync next: the older the news, the later, and later still while the tables throttle. */
export class Beat {
  readonly #time: VirtualTime;
  readonly #jitter: () => number;
  #stretch = 1;
  #throttledAt = Number.NEGATIVE_INFINITY;
  #halvedAt = Number.NEGATIVE_INFINITY;

  /** `jitter`: from 0 to 1. */
  constructor(time: VirtualTime, jitter: () => number) {
    this.#time = time;
    this.#jitter = jitter;
  }

  /** A call to a table was throttled. */
  throttled(): void {
    const { now } = this.#time;
    this.#decay();
    if (now - this.#throttledAt >= DOUBLING_MS) {
      this.#stretch = Math.min(MAX_STRETCH, this.#stretch * 2);
      this.#throttledAt = this.#halvedAt = now;
    }
  }

  /** `syncAfterMs` for rooms whose newest message is from `newestAt`; `undefined`: there is none. */
  after(newestAt: number | undefined): number {
    this.#decay();
    const age = newestAt === undefined ? SYNC_MAX_MS : this.#time.now - newestAt;
    const ms = Math.min(SYNC_MAX_MS, Math.max(SYNC_MIN_MS, age) * this.#stretch);
    return Math.round(ms * (0.98 + this.#jitter() / 50));
  }

  #decay(): void {
    while (this.#stretch > 1 && this.#time.now - this.#halvedAt >= HALVING_MS) {
      this.#stretch /= 2;
      this.#halvedAt += HALVING_MS;
    }
  }
}
