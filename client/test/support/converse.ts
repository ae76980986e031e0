import type { Roomcast, RoomcastOptions } from "../../src/index.js";

/**
 * An application from start to end. Returns the texts that it has seen. Its source is run in other places than this, so
 * it refers to nothing but its arguments.
 */
export async function converse(
  library: { Roomcast: new (options: RoomcastOptions) => Roomcast },
  url: string,
  WebSocket?: RoomcastOptions["WebSocket"],
): Promise<string[]> {
  const client = new library.Roomcast({ url, token: "alice", ...(WebSocket !== undefined && { WebSocket }) });
  const connected = client.connect();
  const room = client.room<{ text: string }>("lobby");
  await room.join();
  for (const text of ["one", "two", "three"]) await room.send({ text });
  const seen: string[] = [];
  for await (const { data } of room) {
    seen.push(data.text);
    if (seen.length === 3) break;
  }
  await room.leave();
  await connected;
  client.close();
  return seen;
}
