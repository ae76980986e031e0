// What a room's events tell of messages that did not arrive.

/** Why an application cannot have a stretch of a room. */
export interface Truncation {
  /** The last `seq` that was delivered, or the `after` of the join. */
  after: number;
  /**
   * The first `seq` that the log still has; 0 if it has none. Below `after`: the position was of another log, one that was
   * restored or deleted; delivery goes on behind `seq`.
   */
  seq: number;
  /** False when the log does not tell whether anything is missing: then something may have been dropped, or nothing was sent. */
  certain: boolean;
}

/** A stretch that was missing has been read from the log. */
export interface Recovery {
  /** The last `seq` delivered before. */
  after: number;
  /** The last `seq` delivered now. */
  seq: number;
  /** How many of the messages between came from the log and not from a broadcast. */
  count: number;
}

/** Frames showed that messages after `after`, up to `seq` at most, are missing; they are being read from the log. */
export interface Gap {
  /** The last `seq` that was delivered. */
  after: number;
  /** The largest `seq` that frames have shown. */
  seq: number;
}
