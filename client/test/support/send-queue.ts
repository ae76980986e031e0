import type { Draft } from "./room-log.js";

/** Largest batch of messages that are broadcast together. */
const BATCH = 10;

/** The queue of messages from clients, which are published a while after they were accepted. */
export class SendQueue {
  readonly #publish: (roomId: string, batch: Draft[]) => void;
  readonly #delay: () => number;
  readonly #queues = new Map<string, Draft[]>();
  readonly #accepted = new Set<string>();
  #nextId = 1;

  constructor(publish: (roomId: string, batch: Draft[]) => void, delay: () => number) {
    this.#publish = publish;
    this.#delay = delay;
  }

  newId(): string {
    return `m${this.#nextId++}`;
  }

  /** Accepts a message, once if it comes again with the same id. */
  accept(sub: string, roomId: string, frame: { [field: string]: unknown }): object {
    const id = (frame["id"] as string | undefined) ?? this.newId();
    const deduplication = JSON.stringify([roomId, sub, id]);
    if (!this.#accepted.has(deduplication)) {
      this.#accepted.add(deduplication);
      const { data, key, version, remove, ttlSeconds } = frame as Partial<Draft>;
      const queue = this.#queues.get(roomId) ?? [];
      this.#queues.set(roomId, queue);
      queue.push({
        id,
        from: sub,
        data,
        ...(key !== undefined && { key }),
        ...(version !== undefined && { version }),
        ...(remove && { remove }),
        ...(ttlSeconds !== undefined && { ttlSeconds }),
      });
      if (queue.length === 1) setTimeout(() => this.#drain(roomId), this.#delay());
    }
    return { type: "accepted", roomId, id };
  }

  #drain(roomId: string): void {
    const queue = this.#queues.get(roomId) ?? [];
    const batch = queue.splice(0, BATCH);
    if (queue.length > 0) setTimeout(() => this.#drain(roomId), this.#delay());
    this.#publish(roomId, batch);
  }
}
