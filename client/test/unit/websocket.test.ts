import { afterEach, beforeEach, describe, expect, expectTypeOf, it, vi } from "vitest";
import { WebSocket } from "ws";
import { Roomcast, type RoomcastOptions, type WebSocketConstructor } from "../../src/index.js";
import { SocketServer } from "../support/socket-server.js";

it("has an option whose type takes the class of ws and that of the DOM, as `npm run check` sees", () => {
  expectTypeOf<typeof WebSocket>().toExtend<WebSocketConstructor>();
  expectTypeOf<typeof globalThis.WebSocket>().toExtend<WebSocketConstructor>();
});

/** Waits for an assertion to hold. Real sockets take real time, so the bound is one that only a hang reaches. */
const until = (assertion: () => void) => vi.waitFor(assertion, 20_000);

describe("over real sockets", () => {
  let server: SocketServer;
  const clients: Roomcast[] = [];

  function client(options: Partial<RoomcastOptions> = {}): Roomcast {
    const made = new Roomcast({
      url: server.webSocketUrl,
      token: "alice",
      WebSocket,
      reconnect: { base: 50 },
      ...options,
    });
    clients.push(made);
    return made;
  }

  beforeEach(async () => {
    server = await SocketServer.start();
  });

  afterEach(async () => {
    for (const made of clients.splice(0)) made.close();
    await server.stop();
  });

  it("sends, receives and iterates", async () => {
    const alice = client();
    const bob = client({ token: "bob" });
    await Promise.all([alice.connect(), bob.connect()]);
    const room = bob.room<{ n: number }>("lobby");
    await room.join();
    await Promise.all([1, 2, 3].map((n) => alice.room("lobby").send({ n })));
    const seen: [string, number][] = [];
    for await (const { from, data } of room) {
      seen.push([from, data.n]);
      if (seen.length === 3) break;
    }
    expect(seen).toEqual([
      ["alice", 1],
      ["alice", 2],
      ["alice", 3],
    ]);
  });

  it("recovers from a cut", async () => {
    const alice = client();
    await alice.connect();
    const room = alice.room("lobby");
    await room.join();
    await room.send("before");
    const seen: unknown[] = [];
    room.on("message", ({ data }) => seen.push(data));
    await until(() => expect(seen).toEqual(["before"]));
    server.cutAll();
    server.server.publish("lobby", [{ data: "missed" }]);
    await until(() => expect(seen).toEqual(["before", "missed"]));
    await until(() => expect(alice.state).toBe("open"));
  });

  it("reports a refused handshake and keeps trying", async () => {
    const messages: string[] = [];
    let tokens = 0;
    const alice = client({ token: () => (tokens++ < 2 ? "refused" : "alice") });
    alice.on("error", ({ message }) => messages.push(message));
    await alice.connect();
    expect(messages).toHaveLength(2);
    expect(messages[0]).toMatch(/401/);
  });

  it("may be closed while ws is connecting, which ws reports as an error", async () => {
    const alice = client();
    const connecting = alice.connect();
    await new Promise((resolve) => setImmediate(resolve));
    alice.close();
    await expect(connecting).rejects.toMatchObject({ code: "closed" });
    // The server deals with handshakes in turn: once it has Bob's, a connection of Alice's would be there too.
    await client({ token: "bob" }).connect();
    await until(() => expect(server.connections).toBe(1));
  });

  it("closes cleanly", async () => {
    const alice = client();
    await alice.connect();
    expect(server.connections).toBe(1);
    alice.close();
    await until(() => expect(server.connections).toBe(0));
  });
});
