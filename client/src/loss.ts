// Events of a room about messages that did not arrive.

/** A stretch of a room that cannot be had. */
export interface Truncation {
  /** The last `seq` that was delivered, or the `after` of the join. */
  after: number;
  /**
   * The first `seq` that the log still has; 0 if it has none. A `seq` below `after` means that the position was of
   * another log, which was restored or deleted: delivery goes on behind `seq`.
   */
  seq: number;
  /** False if the log does not tell whether anything is missing: messages may have been dropped, or none were sent. */
  certain: boolean;
}

/** A stretch that was missing has been read from the log. */
export interface Recovery {
  /** The last `seq` delivered before. */
  after: number;
  /** The last `seq` delivered now. */
  seq: number;
  /** Number of the messages between that came from the log and not from a broadcast. */
  count: number;
}

/** A stretch that is missing, as later frames show, and is being read from the log. */
export interface Gap {
  /** The last `seq` that was delivered. */
  after: number;
  /** The largest `seq` that frames have shown. */
  seq: number;
}
