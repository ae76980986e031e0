import { describe, expect, it } from "vitest";
import { MessageList } from "../../src/react/message-list.js";
import { RoomStore } from "../../src/react/room-store.js";
import { during, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();
const texts = (list: MessageList<unknown>) => list.snapshot().messages.map(({ data }) => data);
const many = (count: number, first = 1) => Array.from({ length: count }, (_, at) => ({ data: first + at }));

describe("a list of messages in a room that is left or started anew", () => {
  it("begins anew when the log was replaced by an older copy", async () => {
    const { server } = fake.world;
    server.publish("lobby", many(3));
    const { room } = await fake.world.joined();
    const list = new MessageList(room, 100, 50);
    list.subscribe(() => {});
    await pass(2_000);
    expect(texts(list)).toEqual([1, 2, 3]);
    const log = server.log("lobby");
    log.retained.splice(-2);
    log.all.splice(-2);
    await pass(600_000);
    server.publish("lobby", [{ data: "after the restore" }]);
    await pass(500);
    expect(texts(list)).toEqual([1, "after the restore"]);
  });

  it("begins anew where the room is joined when components let go of it for a while", async () => {
    const { server } = fake.world;
    const client = await fake.world.connected();
    const room = client.room("lobby");
    const store = new RoomStore(client, room);
    const list = new MessageList(room, 100, 50);
    list.subscribe(() => {});
    // `enabled` goes from true to false and back.
    const release = store.hold(undefined);
    await pass(2_000);
    server.publish("lobby", [{ data: 1 }]);
    await pass(100);
    release();
    await pass(1_000);
    server.publish("lobby", [{ data: 2 }]);
    await pass(1_000);
    store.hold(undefined);
    await pass(2_000);
    server.publish("lobby", [{ data: 3 }]);
    await pass(5_000);
    expect(texts(list)).toEqual([1, 2, 3]);
  });

  it("begins anew when the application joins the room again after a refusal", async () => {
    const { server, network } = fake.world;
    const client = await fake.world.connected();
    const room = client.room("lobby");
    new RoomStore(client, room).hold(undefined);
    const list = new MessageList(room, 100, 50);
    list.subscribe(() => {});
    await pass(2_000);
    server.publish("lobby", [{ data: 1 }]);
    await pass(100);
    server.script = ({ action }) => (action === "joinRoom" ? { code: "forbidden" } : undefined);
    network.last.cut();
    await pass(10_000);
    expect(room.status).toBe("left");
    server.publish("lobby", [{ data: 2 }]);
    server.script = () => undefined;
    await during(room.join());
    await pass(2_000);
    server.publish("lobby", [{ data: 3 }]);
    await pass(5_000);
    expect(texts(list)).toEqual([1, 2, 3]);
  });

  it("goes on, without reading the past again, where the client was closed and connects anew", async () => {
    const { server } = fake.world;
    server.publish("lobby", many(2));
    const { client, room } = await fake.world.joined();
    const list = new MessageList(room, 100, 50);
    list.subscribe(() => {});
    await pass(100);
    client.close();
    server.publish("lobby", many(1, 3));
    await during(client.connect());
    await pass(1_000);
    expect(texts(list)).toEqual([1, 2, 3]);
    expect(server.received("getHistory")).toHaveLength(1);
  });

  it("reads the past when the client connects anew if it was closed before the answer", async () => {
    const { server } = fake.world;
    server.publish("lobby", many(2));
    const { client, room } = await fake.world.joined();
    const list = new MessageList(room, 100, 50);
    list.subscribe(() => {});
    client.close();
    await pass(100);
    expect(list.snapshot()).toMatchObject({ messages: [], error: { code: "closed" } });
    await during(client.connect());
    await pass(1_000);
    expect(texts(list)).toEqual([1, 2]);
    expect(list.snapshot().error).toBeUndefined();
  });
});
