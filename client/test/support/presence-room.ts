import { beforeEach } from "vitest";
import type { Room, Roomcast, RoomcastOptions } from "../../src/index.js";
import { during, inFakeTime } from "./world.js";

export const ROOM = "presence:lobby";

/** A world under fake time whose server publishes members 3.5 s after the first change. */
export function inPresenceRoom() {
  const fake = inFakeTime();
  beforeEach(() => {
    fake.world.server.presenceDelay = () => 3_500;
  });
  return {
    fake,
    /** A client of its own that joins the room as a member. */
    present: async (
      name: string,
      data: unknown = true,
      options: Partial<RoomcastOptions> = {},
    ): Promise<{ client: Roomcast; room: Room }> => {
      const client = await fake.world.connected({ token: name, ...options });
      const room = client.room(ROOM);
      await during(room.join({ presence: data }));
      return { client, room };
    },
  };
}

/** The ids of the members that a room shows. */
export function ids(room: Room): string[] {
  return room.presence.members.map(({ id }) => id);
}

/** Events of the members, in short. */
export function told(room: Room): string[] {
  const seen: string[] = [];
  const text = (data: unknown) => (data === undefined ? "" : ` ${JSON.stringify(data)}`);
  room.presence.on("joined", ({ id, data }) => seen.push(`+${id}${text(data)}`));
  room.presence.on("left", ({ id }) => seen.push(`-${id}`));
  room.presence.on("updated", ({ id, data, previous }) => seen.push(`${id}${text(previous)} ->${text(data)}`));
  room.presence.on("count", ({ count, previous }) => seen.push(`${previous} => ${count}`));
  room.presence.on("snapshot", (members) => seen.push(`[${members.map(({ id }) => id).join()}]`));
  return seen;
}
