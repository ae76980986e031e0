import { describe, expect, it } from "vitest";
import { inStateRoom, shown } from "../support/state-room.js";
import { during, failure, pass } from "../support/world.js";

const { fake, put, watched } = inStateRoom();

describe("a room's state", () => {
  it("is read once, however many stretches of the log are missing", async () => {
    const { server, network } = fake.world;
    put("a", 0);
    const room = await watched();
    await pass(2_000);
    const truncated: number[] = [];
    room.on("truncated", ({ seq }) => truncated.push(seq));
    let isLost = false;
    network.weather = { ...network.weather, losesBroadcast: () => isLost };
    for (let n = 1; n <= 12; n++) {
      isLost = n % 3 !== 0;
      put(isLost ? "lost" : "a", n);
    }
    server.log("fx").expire();
    await pass(5_000);
    expect([truncated.length, shown(room)]).toEqual([4, { a: 12, lost: 11 }]);
    expect(server.received("getState")).toHaveLength(1);
  });

  it("is awaited anew by a join after one that failed", async () => {
    const { server, network } = fake.world;
    put("a", 1);
    put("b", 1);
    server.statePage = { joined: 1, next: 1 };
    server.script = ({ action }) => (action === "getState" ? { code: "forbidden" } : undefined);
    const room = await watched();
    expect(await failure(room.state.ready)).toMatchObject({ code: "forbidden" });
    server.script = () => undefined;
    network.last.cut();
    await pass(5_000);
    await during(room.state.ready);
    expect([room.state.isReady, shown(room)]).toEqual([true, { a: 1, b: 1 }]);
  });
});
