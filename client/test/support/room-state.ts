import type { KeyedValue, LoggedMessage, RemovedKey, StatePage } from "../../src/frames.js";
import { supersedes } from "../../src/rank.js";

/** A row of the table of state: the greatest message of a key, until it is forgotten. */
interface Row {
  message: LoggedMessage & { key: string };
  /** The time at which the value ends. */
  until: number;
  /** The time at which the row is deleted. */
  expiresAt: number;
}

/** The time at which a message's value ends, by the server's clock. */
export function untilOf({ sentAt, ttlSeconds }: Pick<LoggedMessage, "sentAt" | "ttlSeconds">): number {
  return ttlSeconds === undefined ? Infinity : sentAt + ttlSeconds * 1_000;
}

/**
 * The page for a client that knows the log up to `seq`. A key without a value is in it only if an older message of that
 * key could still come.
 */
export function meeting(page: StatePage, seq: number): StatePage {
  return { ...page, removed: (page.removed ?? []).filter((key) => key.version !== undefined || key.seq > seq) };
}

/** The fields of a `joined` that bring the first page, which may have place for `size` keys. */
export function firstOfState(page: StatePage, seq: number, size: number): object {
  const { entries, removed, next } = meeting(page, seq);
  const hasPage = size > 0 || next === undefined;
  return {
    ...(hasPage && { state: entries, stateRemoved: removed }),
    ...(next !== undefined && { stateNext: next }),
  };
}

/** Pages that were read for one client and are used again for others. */
export class StatePages {
  readonly #pages = new Map<string, { page: StatePage; time: number }>();

  /** A page that knows `seq` and is younger than `maxAgeMs`, or one that is read now. */
  get(id: string, seq: number, maxAgeMs: number, read: () => StatePage): StatePage {
    let kept = this.#pages.get(id);
    if (kept === undefined || kept.time + maxAgeMs <= Date.now() || kept.page.seq < seq) {
      kept = { page: read(), time: Date.now() };
      this.#pages.set(id, kept);
    }
    return kept.page;
  }

  clear(): void {
    this.#pages.clear();
  }
}

/** The state of one room, as the server keeps it. */
export class RoomState {
  readonly #rows = new Map<string, Row>();

  /**
   * Writes a batch that was appended at `time`, as `fanout` does. A message that was superseded must not come back
   * while the log has it.
   */
  write(batch: readonly LoggedMessage[], retentionSeconds: number, time: number): void {
    const logged = time + retentionSeconds * 1_000;
    for (const message of batch) {
      const { key } = message;
      const other = key === undefined ? undefined : this.#rows.get(key);
      if (key === undefined) continue;
      if (other && other.expiresAt > time && !supersedes(message, other.message)) {
        other.expiresAt = Math.max(other.expiresAt, logged);
      } else {
        const until = message.remove ? message.sentAt : untilOf(message);
        this.#rows.set(key, {
          message: { ...message, key },
          until,
          expiresAt: Math.max(until + retentionSeconds * 1_000, logged),
        });
      }
    }
  }

  /** A page of the state at `head` behind the key `after`, with every key that has no value any more. */
  page(head: number, after: string, size: number, time: number): StatePage & { removed: RemovedKey[] } {
    for (const [key, { expiresAt }] of this.#rows) if (expiresAt <= time) this.#rows.delete(key);
    const rows = [...this.#rows.values()]
      .filter(({ message }) => message.key > after)
      .sort((a, b) => (a.message.key < b.message.key ? -1 : 1));
    const entries: KeyedValue[] = [];
    const removed: RemovedKey[] = [];
    for (const { message, until } of rows.slice(0, size)) {
      const { key, version, remove, id: _id, ...value } = message;
      const versioned = version === undefined ? {} : { version };
      if (!remove && until > time) entries.push({ key, ...value, ...versioned });
      else removed.push({ key, seq: message.seq, ...versioned });
    }
    const next = rows.length > size ? (size === 0 ? after : rows[size - 1]?.message.key) : undefined;
    return { seq: head, entries, removed, ...(next !== undefined && { next }) };
  }

  /** The keys with a value at a time: the greatest message of each. */
  values(time: number): Map<string, LoggedMessage> {
    const values = [...this.#rows].filter(([, { message, until }]) => !message.remove && until > time);
    return new Map(values.map(([key, { message }]) => [key, message]));
  }
}
