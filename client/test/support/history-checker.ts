import type { Message } from "../../src/index.js";
import type { Truncation } from "../../src/loss.js";
import type { RoomLog } from "./room-log.js";

/** The messages that one application saw of one room, from one join on. */
export interface History {
  who: string;
  /** The room's log begins here for this application: it must see what comes after. */
  start: number;
  seen: Pick<Message, "seq" | "id" | "data" | "recovered">[];
  truncated: Truncation[];
}

/**
 * Checks that what was seen is exactly the log from the join on: nothing lost, nothing twice, nothing out of order,
 * nothing invented. Two things may be absent: what a broadcast conflated, and what retention dropped, if the
 * application was told. `until` is the last `seq` that must have arrived. Returns what is wrong.
 */
export function violations(history: History, log: RoomLog, until = log.all.at(-1)?.seq ?? 0): string[] {
  const { who, start, seen, truncated } = history;
  const wrong: string[] = [];
  const bySeq = new Map(log.all.map((message) => [message.seq, message]));
  let previous = start;
  for (const { seq, id, data } of seen) {
    if (seq === previous) wrong.push(`${who} saw ${seq} twice`);
    else if (seq < previous) wrong.push(`${who} saw ${seq} after ${previous}`);
    previous = Math.max(previous, seq);
    const logged = bySeq.get(seq);
    if (logged === undefined) wrong.push(`${who} saw ${seq}, which the log never had`);
    else if (logged.id !== id || JSON.stringify(logged.data) !== JSON.stringify(data))
      wrong.push(`${who} saw another ${seq}`);
  }
  const seqs = new Set(seen.map(({ seq }) => seq));
  const retained = new Set(log.retained.map(({ seq }) => seq));
  for (const { seq } of log.all) {
    if (seq <= start || seq > until || seqs.has(seq) || log.conflated.has(seq)) continue;
    const told = truncated.some((hole) => hole.after < seq && (hole.seq === 0 || seq < hole.seq));
    if (!told || retained.has(seq)) wrong.push(`${who} missed ${seq}`);
  }
  return wrong;
}
