/** A small seeded generator (mulberry32): the same seed gives the same run. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 to 1. */
  next = (): number => {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };

  /** A whole number from `min` to `max`, both included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1));
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.int(0, items.length - 1)];
    if (item === undefined) throw new Error("nothing to pick from");
    return item;
  }
}

/**
 * The seeds to run: `ROOMCAST_SEED=n` for one, `ROOMCAST_SEEDS=n` for so many new ones, else always the same from
 * `usual` on.
 */
export function seeds(count: number, usual = 1): number[] {
  const one = process.env["ROOMCAST_SEED"];
  if (one !== undefined) return [Number(one)];
  const many = process.env["ROOMCAST_SEEDS"];
  const first = many === undefined ? usual : Math.floor(Math.random() * 1e9);
  return Array.from({ length: Number(many ?? count) }, (_, index) => first + index);
}
