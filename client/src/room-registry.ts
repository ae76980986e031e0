import type { Room, RoomPorts } from "./room.js";

/** Number of rooms from which on it is worth looking for those that nobody uses. */
const SWEEP_FROM = 100;

/**
 * A room that is held, weakly by a `WeakRef` or not. Old React Natives have no `WeakRef`, and keep every room until its
 * release.
 */
type Reference = { deref(): Room | undefined };

/**
 * A client's rooms by id. A room that is neither joined nor listened to is held weakly. It stays the same object as
 * long as the application has it, and goes when nobody has it any more, as after `client.room(id).send(...)`.
 */
export class RoomRegistry implements RoomPorts {
  readonly #rooms = new Map<string, Reference>();
  #sweepAt = SWEEP_FROM;

  find(id: string): Room | undefined {
    return this.#rooms.get(id)?.deref();
  }

  get(id: string, make: () => Room): Room {
    const room = this.find(id) ?? make();
    this.#rooms.set(id, { deref: () => room });
    if (this.#rooms.size > this.#sweepAt) this.#sweep();
    return room;
  }

  all(): Room[] {
    return [...this.#rooms.values()].flatMap((reference) => reference.deref() ?? []);
  }

  /** Holds a room that is in use, unless it was released, and perhaps replaced. */
  used(room: Room): void {
    if (this.find(room.id) === room) this.#rooms.set(room.id, { deref: () => room });
  }

  released(room: Room): void {
    if (this.find(room.id) === room) this.#rooms.delete(room.id);
  }

  #sweep(): void {
    const { WeakRef: Weak } = globalThis as { WeakRef?: new (room: Room) => Reference };
    for (const [id, reference] of this.#rooms) {
      const room = reference.deref();
      if (!room) this.#rooms.delete(id);
      else if (Weak && room.idle) this.#rooms.set(id, new Weak(room));
    }
    this.#sweepAt = Math.max(SWEEP_FROM, this.#rooms.size * 2);
  }
}
