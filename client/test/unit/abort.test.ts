import { describe, expect, it } from "vitest";
import { during, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();

/** The reason of a rejection, which may be anything. */
function reasonOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => "resolved",
    (reason: unknown) => reason,
  );
}

describe("a signal", () => {
  it("that is aborted already keeps a call from doing anything", async () => {
    const { client, room } = await fake.world.joined();
    const signal = AbortSignal.abort("no");
    const before = fake.world.server.frames.length;
    const other = client.room("other");
    const calls = [
      other.join({ signal }),
      room.leave({ signal }),
      room.send(1, { signal }),
      room.history({ signal }),
      client.connect({ signal }),
    ];
    expect(await Promise.all(calls.map(reasonOf))).toEqual(["no", "no", "no", "no", "no"]);
    await pass(1_000);
    expect(fake.world.server.frames.slice(before).filter(({ action }) => action !== "sync")).toEqual([]);
    expect([room.status, other.status]).toEqual(["joined", "left"]);
  });

  it("ends the retries of a message, and lets the next one go", async () => {
    const { room } = await fake.world.joined();
    fake.world.server.script = (frame) => (frame["data"] === "bad" ? { code: "unavailable" } : undefined);
    const controller = new AbortController();
    const bad = reasonOf(room.send("bad", { signal: controller.signal }));
    const good = room.send("good");
    await pass(1_000);
    controller.abort();
    expect(await bad).toBe(controller.signal.reason);
    await during(good);
    const tried = fake.world.server.received("sendMessage").length;
    await pass(30_000);
    expect(fake.world.server.received("sendMessage")).toHaveLength(tried);
  });

  it("ends a wait at once, also while a reply is outstanding", async () => {
    const { room } = await fake.world.joined();
    fake.world.server.script = () => "silence";
    const controller = new AbortController();
    const waits = [room.history({ signal: controller.signal }), room.send(1, { signal: controller.signal })].map(
      reasonOf,
    );
    await pass(100);
    controller.abort("enough");
    expect(await Promise.all(waits)).toEqual(["enough", "enough"]);
  });

  it("ends the wait of connect() and join(), not what they began", async () => {
    const client = fake.world.client();
    const controller = new AbortController();
    const room = client.room("lobby");
    const waits = [client.connect({ signal: controller.signal }), room.join({ signal: controller.signal })].map(
      reasonOf,
    );
    controller.abort("enough");
    expect(await Promise.all(waits)).toEqual(["enough", "enough"]);
    await pass(1_000);
    expect(client.state).toBe("open");
    expect(room.status).toBe("joined");
  });

  it("without a reason, as old React Natives have it, rejects with `aborted`", async () => {
    const { room } = await fake.world.joined();
    const signal = { aborted: true, addEventListener: () => {}, removeEventListener: () => {} };
    expect(await reasonOf(room.send(1, { signal }))).toMatchObject({ code: "aborted", retryable: false });
  });

  it("is not held on to when the call is over", async () => {
    const { room } = await fake.world.joined();
    const listeners = new Set<() => void>();
    const signal = {
      aborted: false,
      addEventListener: (_: "abort", listener: () => void) => void listeners.add(listener),
      removeEventListener: (_: "abort", listener: () => void) => void listeners.delete(listener),
    };
    await during(room.send(1, { signal }));
    await during(room.history({ signal }));
    await pass(0);
    expect(listeners.size).toBe(0);
  });
});
