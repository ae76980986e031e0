import type { Room, RoomPorts } from "./room.js";

/** With fewer rooms it is not worth looking for those that nobody uses. */
const SWEEP_FROM = 100;

/** The part of `WeakRef` that is used; old React Natives do not have it, and keep every room until it is released. */
type Weak = { deref(): Room | undefined };

/**
 * A client's rooms by id. A room that is neither joined nor listened to is held weakly: as long as the application has it, it stays
 * the same object; when it does not, as after `client.room(id).send(...)`, it goes.
 */
export class RoomRegistry {
  readonly #rooms = new Map<string, Room | { weak: Weak }>();
  #sweepAt = SWEEP_FROM;

  find(id: string): Room | undefined {
    const entry = this.#rooms.get(id);
    return entry !== undefined && "weak" in entry ? entry.weak.deref() : entry;
  }

  get(id: string, make: (ports: RoomPorts) => Room): Room {
    let room = this.find(id);
    if (room === undefined) {
      const made = make({ used: () => this.#keep(made), released: () => this.#drop(made) });
      room = made;
    }
    this.#rooms.set(id, room);
    if (this.#rooms.size > this.#sweepAt) this.#sweep();
    return room;
  }

  all(): Room[] {
    return [...this.#rooms.keys()].map((id) => this.find(id)).filter((room) => room !== undefined);
  }

  /** Unless it was released, and perhaps replaced. */
  #keep(room: Room): void {
    if (this.find(room.id) === room) this.#rooms.set(room.id, room);
  }

  #drop(room: Room): void {
    if (this.find(room.id) === room) this.#rooms.delete(room.id);
  }

  #sweep(): void {
    const { WeakRef } = globalThis as { WeakRef?: new (room: Room) => Weak };
    for (const [id, entry] of this.#rooms) {
      if ("weak" in entry) {
        if (entry.weak.deref() === undefined) this.#rooms.delete(id);
      } else if (entry.idle && WeakRef !== undefined) {
        this.#rooms.set(id, { weak: new WeakRef(entry) });
      }
    }
    this.#sweepAt = Math.max(SWEEP_FROM, this.#rooms.size * 2);
  }
}
