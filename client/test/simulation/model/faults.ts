/** The place in a function at which its environment dies. */
export type Death = "before it writes" | "after it has written" | "before it replies";

/** Faults of the network, API Gateway, the functions and the tables, asked each time that they could happen. */
export interface Faults {
  /** Milliseconds that one frame or reply takes; frames with different latencies overtake each other. */
  latencyMs(): number;
  /** Milliseconds that the `session` function takes; frames of one connection run side by side. */
  durationMs(): number;
  /** Milliseconds by which the room index is behind the table. */
  indexLagMs(): number;
  /** Milliseconds by which an eventually consistent read is behind. */
  staleMs(): number;
  /** Milliseconds that the functions behind a handshake take. */
  handshakeMs(): number;
  /** The fate of a handshake. One that stalls gets no answer. */
  handshake(): "opens" | "is refused" | "stalls";
  /** API Gateway answers a frame itself: it is out of rate. */
  throttlesFrame(): boolean;
  /** A client's frame does not reach the function. */
  losesFrame(): boolean;
  losesReply(): boolean;
  losesPush(): boolean;
  repeatsPush(): boolean;
  dies(action: string): Death | undefined;
  /** API Gateway tells the client that the function has died, rather than nothing. */
  tellsDeath(): boolean;
  /** One call to a table is refused for good, retries included. */
  throttlesTable(): boolean;
  /** The wait that a client is told when a table throttles. */
  retryAfterMs(): number | undefined;
  /** Time for which a living connection answers 410 from this post on; 0 for once, `undefined` for not at all. */
  falseGoneMs(): number | undefined;
  /** DeleteConnection closes a connection although posts to it are answered 410. */
  deletesGone(): boolean;
  /** A post is answered 429 or 5xx until its retries are used up. */
  missesPost(): boolean;
  /** The row of a join is lost although `joined` was answered. */
  losesRow(): boolean;
  /** `$disconnect` is not delivered. */
  losesDisconnect(): boolean;
}

export const CALM: Faults = {
  latencyMs: () => 20,
  durationMs: () => 10,
  indexLagMs: () => 50,
  staleMs: () => 0,
  handshakeMs: () => 30,
  handshake: () => "opens",
  throttlesFrame: () => false,
  losesFrame: () => false,
  losesReply: () => false,
  losesPush: () => false,
  repeatsPush: () => false,
  dies: () => undefined,
  tellsDeath: () => false,
  throttlesTable: () => false,
  retryAfterMs: () => 2_000,
  falseGoneMs: () => undefined,
  deletesGone: () => false,
  missesPost: () => false,
  losesRow: () => false,
  losesDisconnect: () => false,
};
