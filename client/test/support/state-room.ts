import type { Room, RoomcastOptions } from "../../src/index.js";
import { during, inFakeTime } from "./world.js";

/** A world under fake time with a room of keys, `fx`. */
export function inStateRoom() {
  const fake = inFakeTime();
  const publish = (key: string, data: unknown, more: object = {}): number =>
    fake.world.server.publish("fx", [{ key, data, ...more }])[0]?.seq ?? 0;
  return {
    fake,
    /** The room, joined with its state. */
    watched: async (options: Partial<RoomcastOptions> = {}, roomId = "fx"): Promise<Room> => {
      const client = await fake.world.connected(options);
      const room = client.room(roomId);
      await during(room.join({ state: true }));
      return room;
    },
    /** Publishes a value; returns its number. */
    put: publish,
    /** Publishes a removal; returns its number. */
    remove: (key: string, more: object = {}): number => publish(key, null, { remove: true, ...more }),
  };
}

/** The data of each key that a room's state has. */
export function shown(room: Room): Record<string, unknown> {
  return Object.fromEntries([...room.state].map(([key, { data }]) => [key, data]));
}

/** Events of the keys, in short. */
export function changes(room: Room): string[] {
  const told: string[] = [];
  room.state.on("change", ({ key, entry, previous, reason }) =>
    told.push(`${key} ${reason} ${previous?.data} -> ${entry?.data}`),
  );
  room.state.on("snapshot", (map) => told.push(`snapshot of ${map.size}`));
  return told;
}
