import type { Random } from "../support/random.js";
import { CALM, type Death, type Faults } from "./model/faults.js";

/** Chances of faults, from 0 to 1. */
interface Rates {
  throttledFrame: number;
  lostFrame: number;
  lostReply: number;
  lostPush: number;
  repeatedPush: number;
  death: number;
  slowCall: number;
  throttledTable: number;
  missedPost: number;
  lostRow: number;
  refusedHandshake: number;
  stalledHandshake: number;
}

const NONE: Rates = {
  throttledFrame: 0,
  lostFrame: 0,
  lostReply: 0,
  lostPush: 0,
  repeatedPush: 0,
  death: 0,
  slowCall: 0,
  throttledTable: 0,
  missedPost: 0,
  lostRow: 0,
  refusedHandshake: 0,
  stalledHandshake: 0,
};

/** Faults by chance, at rates that change. One post in a hundred begins to answer 410 although its connection lives. */
export class Weather implements Faults {
  readonly #random: Random;
  #rates = NONE;
  #slowestMs = 200;
  #isCalm = false;

  constructor(random: Random) {
    this.#random = random;
    this.change();
  }

  /** Draws new rates: each kind of fault is absent half of the time. */
  change(): void {
    const random = this.#random;
    const upTo = (most: number) => (random.chance(0.5) ? 0 : random.next() * most);
    this.#slowestMs = random.int(20, 400);
    this.#rates = {
      throttledFrame: upTo(0.1),
      lostFrame: upTo(0.05),
      lostReply: upTo(0.05),
      lostPush: upTo(0.05),
      repeatedPush: upTo(0.1),
      death: upTo(0.1),
      slowCall: upTo(0.1),
      throttledTable: random.chance(0.8) ? 0 : random.next() * 0.5,
      missedPost: upTo(0.02),
      lostRow: upTo(0.3),
      refusedHandshake: upTo(0.2),
      stalledHandshake: upTo(0.05),
    };
  }

  /** Nothing goes wrong any more. */
  heal(): void {
    this.#rates = NONE;
    this.#isCalm = true;
  }

  // Most frames are fast, and a few overtake many.
  latencyMs = (): number => 1 + this.#random.next() ** 3 * this.#slowestMs;
  durationMs = (): number => {
    // API Gateway waits for 29 s.
    if (this.#chance("slowCall")) return this.#random.int(2_000, 29_000);
    return 2 + this.#random.next() ** 3 * this.#slowestMs;
  };
  handshakeMs = (): number => this.durationMs();
  retryAfterMs = (): number | undefined => (this.#random.chance(0.5) ? 2_000 : undefined);
  indexLagMs = (): number => (this.#isCalm ? CALM.indexLagMs() : this.#random.next() * 300);
  staleMs = (): number => (this.#isCalm || this.#random.chance(0.5) ? 0 : this.#random.next() * 500);
  throttlesFrame = (): boolean => this.#chance("throttledFrame");
  losesFrame = (): boolean => this.#chance("lostFrame");
  losesReply = (): boolean => this.#chance("lostReply");
  losesPush = (): boolean => this.#chance("lostPush");
  repeatsPush = (): boolean => this.#chance("repeatedPush");
  throttlesTable = (): boolean => this.#chance("throttledTable");
  deletesGone = (): boolean => this.#random.chance(0.3);
  missesPost = (): boolean => this.#chance("missedPost");
  losesRow = (): boolean => this.#chance("lostRow");
  tellsDeath = (): boolean => this.#random.chance(0.5);
  losesDisconnect = (): boolean => !this.#isCalm && this.#random.chance(0.1);

  handshake(): ReturnType<Faults["handshake"]> {
    if (this.#chance("refusedHandshake")) return "is refused";
    return this.#chance("stalledHandshake") ? "stalls" : "opens";
  }

  dies(): Death | undefined {
    if (!this.#chance("death")) return undefined;
    return this.#random.pick(["before it writes", "after it has written", "before it replies"]);
  }

  falseGoneMs(): number | undefined {
    if (this.#isCalm || !this.#random.chance(0.01)) return undefined;
    return this.#random.chance(0.5) ? 0 : this.#random.next() * 4_000;
  }

  #chance(fault: keyof Rates): boolean {
    const rate = this.#rates[fault];
    return rate > 0 && this.#random.chance(rate);
  }
}
