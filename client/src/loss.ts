import type { CatchUp } from "./frames.js";

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

/**
 * The hole that an answer of the log leaves behind `position`. Both connections of a hand-over show the same hole, and
 * the second finds the position behind it. `emptied` means that the log was last seen empty, and `mayHaveDropped` that
 * this is so long ago that messages may have come and gone since.
 */
export function holeIn(
  { truncated, seq, messages }: CatchUp,
  asked: number,
  position: number,
  emptied: boolean,
  mayHaveDropped: boolean,
): Truncation | undefined {
  const first = messages[0]?.seq;
  if (first === undefined) {
    return truncated && seq === 0 && asked === position && !emptied ? { after: asked, seq, certain: false } : undefined;
  }
  if (truncated) {
    return asked <= position && position < first - 1 ? { after: position, seq: first, certain: true } : undefined;
  }
  // The log, asked for all that is retained, does not say what it has dropped since it was seen empty.
  const isDoubtful = asked === 0 && emptied && mayHaveDropped;
  return isDoubtful ? { after: position, seq: first, certain: false } : undefined;
}
