import type { Room, RoomPorts } from "./room.js";

/** With fewer rooms it is not worth looking for those that nobody uses. */
const SWEEP_FROM = 100;

/** A room, held weakly (a `WeakRef`; old React Natives do not have it, and keep every room until it is released) or not. */
type Reference = { deref(): Room | undefined };

/**
 * A client's rooms by id. A room that is neither joined nor listened to is held weakly: as long as the application has it, it stays
 * the same object; when it does not, as after `client.room(id).send(...)`, it goes.
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

  /** Unless it was released, and perhaps replaced. */
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
