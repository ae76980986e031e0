import { describe, expect, it } from "vitest";
import type { RoomcastError } from "../../src/index.js";
import { ConnectionStore } from "../../src/react/connection-store.js";
import { RoomStore } from "../../src/react/room-store.js";
import { collect, during, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();
const many = (count: number, first = 1) => Array.from({ length: count }, (_, at) => ({ data: first + at }));

describe("a held room", () => {
  it("is joined once however many hold it, and left when the last lets go", async () => {
    const client = await fake.world.connected();
    const room = client.room("lobby");
    const store = new RoomStore(client, room);
    const release = [store.hold(undefined), store.hold(undefined), store.hold(undefined)];
    await pass(100);
    expect(room.status).toBe("joined");
    release[0]?.();
    release[0]?.();
    release[1]?.();
    await pass(100);
    expect(room.status).toBe("joined");
    release[2]?.();
    await pass(100);
    expect(room.status).toBe("left");
    expect(fake.world.server.received("joinRoom")).toHaveLength(1);
    expect(fake.world.server.received("leaveRoom")).toHaveLength(1);
  });

  it("stays joined when its holder goes and comes back at once", async () => {
    const client = await fake.world.connected();
    const store = new RoomStore(client, client.room("lobby"));
    store.hold(undefined)();
    const release = store.hold(undefined);
    await pass(2_000);
    release();
    store.hold(undefined);
    await pass(2_000);
    expect(client.room("lobby").status).toBe("joined");
    expect(fake.world.server.received("joinRoom")).toHaveLength(1);
    expect(fake.world.server.received("leaveRoom")).toEqual([]);
  });

  it("is joined when the client connects, and again when it connects anew", async () => {
    const client = fake.world.client();
    const room = client.room("lobby");
    const store = new RoomStore(client, room);
    store.hold(undefined);
    await pass(100);
    expect(room.status).toBe("left");
    await during(client.connect());
    await pass(100);
    expect(room.status).toBe("joined");
    const seen = collect(room);
    client.close();
    await pass(100);
    fake.world.server.publish("lobby", many(2));
    await during(client.connect());
    await pass(100);
    expect(room.status).toBe("joined");
    expect(seen.map(({ data }) => data)).toEqual([1, 2]);
  });

  it("goes on where it stopped when it is joined again after a refusal", async () => {
    const { server, network } = fake.world;
    server.publish("lobby", many(3));
    const client = await fake.world.connected();
    new RoomStore(client, client.room("lobby")).hold(0);
    await pass(100);
    const seq = client.room("lobby").seq;
    server.script = ({ action }) => (action === "joinRoom" ? { code: "forbidden" } : undefined);
    network.last.cut();
    await pass(10_000);
    expect(client.room("lobby").status).toBe("left");
    server.script = () => undefined;
    client.close();
    await during(client.connect());
    await pass(100);
    expect(client.room("lobby").status).toBe("joined");
    expect(server.received("joinRoom").at(-1)).toMatchObject({ after: seq });
  });

  it("is not left when the application had joined it", async () => {
    const { client, room } = await fake.world.joined();
    new RoomStore(client, room).hold(undefined)();
    await pass(100);
    expect(room.status).toBe("joined");
  });

  it("stays joined while it is held, also when an application that had joined it before leaves it", async () => {
    const { client, room } = await fake.world.joined();
    new RoomStore(client, room).hold(undefined);
    await pass(1_000);
    void room.leave();
    await pass(5_000);
    expect(room.status).toBe("joined");
  });

  it("goes on where it stopped when the application leaves it, and is left when the last lets go", async () => {
    const { client, room } = await fake.world.joined();
    const release = new RoomStore(client, room).hold(undefined);
    const seen = collect(room);
    fake.world.server.publish("lobby", many(1));
    await pass(100);
    void room.leave();
    fake.world.server.publish("lobby", many(1, 2));
    await pass(1_000);
    expect(seen.map(({ data }) => data)).toEqual([1, 2]);
    release();
    await pass(1_000);
    expect(room.status).toBe("left");
  });

  it("stays left when the application releases it or closes the client", async () => {
    const { server } = fake.world;
    const client = await fake.world.connected();
    const [released, closed] = [client.room("released"), client.room("closed")];
    for (const room of [released, closed]) new RoomStore(client, room).hold(undefined);
    await pass(100);
    void released.release();
    await pass(1_000);
    expect([released.status, server.members("released").length]).toEqual(["left", 0]);
    client.close();
    await pass(1_000);
    expect(closed.status).toBe("left");
  });

  it("does not stop for want of a listener", async () => {
    const client = await fake.world.connected({ bufferSize: 10 });
    const room = client.room("lobby");
    new RoomStore(client, room).hold(undefined);
    await pass(100);
    const published = fake.world.server.publish("lobby", many(50));
    await pass(100);
    expect(room.seq).toBe(published.at(-1)?.seq);
  });

  it("is joined from where the first holder says", async () => {
    const client = await fake.world.connected();
    const store = new RoomStore(client, client.room("lobby"));
    store.hold(7);
    store.hold(9);
    await pass(100);
    expect(fake.world.server.received("joinRoom")).toMatchObject([{ after: 7 }]);
  });

  it("tells a refusal, and forgets it when it is joined", async () => {
    const client = await fake.world.connected();
    const room = client.room("lobby");
    const store = new RoomStore(client, room);
    let changes = 0;
    store.subscribe(() => changes++);
    fake.world.server.script = ({ action }) => (action === "joinRoom" ? { code: "forbidden" } : undefined);
    const release = store.hold(undefined);
    await pass(100);
    expect(store.snapshot()).toMatchObject({ status: "left", error: { code: "forbidden" } });
    expect(changes).toBeGreaterThan(0);
    release();
    await pass(100);
    fake.world.server.script = () => undefined;
    store.hold(undefined);
    await pass(100);
    expect(store.snapshot()).toEqual({ status: "joined", error: undefined });
    expect(store.snapshot()).toBe(store.snapshot());
  });
});

describe("a connection's store", () => {
  it("says why there is no connection, until there is one", async () => {
    const client = fake.world.client();
    const store = new ConnectionStore(client);
    const seen: string[] = [];
    store.subscribe(() => seen.push(store.snapshot().state));
    fake.world.network.weather = { ...fake.world.network.weather, refuses: () => true };
    void client.connect();
    await pass(100);
    expect(store.snapshot().state).toBe("connecting");
    expect((store.snapshot().error as RoomcastError).code).toBe("connect_failed");
    fake.world.network.weather = { ...fake.world.network.weather, refuses: () => false };
    await during(client.connect());
    expect(store.snapshot()).toEqual({ state: "open", error: undefined });
    expect(seen.at(-1)).toBe("open");
  });

  it("is right when it is read before anybody watches", async () => {
    const client = await fake.world.connected();
    const store = new ConnectionStore(client);
    expect(store.snapshot().state).toBe("open");
    expect(store.snapshot()).toBe(store.snapshot());
  });
});
