import { expect, it } from "vitest";
import { MessageList } from "../../src/react/message-list.js";
import { RoomStore } from "../../src/react/room-store.js";
import { Random, seeds } from "../support/random.js";
import { inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();

/** Makes pages of the past come late, show the log as it was `lag` ms ago, and fail now and then. */
function slowHistory(random: Random, lag: number): void {
  const { server, network } = fake.world;
  const log = server.log("lobby");
  server.script = ({ action, requestId, ...frame }) => {
    if (action !== "getHistory") return undefined;
    if (random.chance(0.05)) return { code: "unavailable" };
    const hidden = log.retained.find(({ sentAt }) => sentAt > Date.now() - lag)?.seq ?? Infinity;
    // With a `before` a page is exact: the server reads it again, consistently, if it does not end just before that.
    const before = (frame["before"] as number | undefined) ?? hidden;
    const page = log.history(before, frame["limit"] as number);
    const socket = network.last;
    const reply = JSON.stringify({ type: "history", requestId, roomId: "lobby", ...page });
    setTimeout(() => socket.readyState === 1 && socket.inject(reply), random.int(0, 80));
    return "silence";
  };
}

/** Seeds of runs that have failed once. */
const FAILED = [725_007_293, 596_019_542, 154_523_053];

/**
 * Components come and go, ask for older messages, and share the room with an application that joins, leaves and reads
 * it slowly, while the connection is cut and the client closed.
 */
it.each([...FAILED, ...seeds(100)])(
  "a list of messages ends as the end of the log, without a hole (ROOMCAST_SEED=%i)",
  async (seed) => {
    const random = new Random(seed);
    const { server, network } = fake.world;
    const publish = (count: number) =>
      server.publish(
        "lobby",
        Array.from({ length: count }, () => ({ data: "text" })),
      );
    publish(random.int(1, 120));
    slowHistory(random, random.int(0, 1_200));
    const client = await fake.world.connected();
    const room = client.room("lobby");
    const store = new RoomStore(client, room);
    const list = new MessageList(room, random.int(1, 100), random.chance(0.5) ? 0 : random.int(1, 130));
    const readers: AsyncIterator<unknown>[] = [];
    const stopReading = () => {
      for (const reader of readers.splice(0)) void reader.return?.();
    };
    let unwatch: (() => void) | undefined;
    let release: (() => void) | undefined;
    const toggleWatch = () => (unwatch = unwatch === undefined ? list.subscribe(() => {}) : void unwatch());
    const toggleHold = () => (release = release === undefined ? store.hold(undefined) : void release());
    const steps = [
      () => publish(random.int(1, 150)),
      () => publish(random.int(1, 4)),
      () => publish(1),
      toggleWatch,
      toggleHold,
      () => void list.loadOlder(),
      () => network.last.cut(),
      () => {
        client.close();
        void client.connect();
      },
      () => void room.join(),
      () => void room.leave(),
      () => readers.push(room[Symbol.asyncIterator]()),
      stopReading,
    ];
    for (let count = 0; count < 40; count++) {
      random.pick(steps)();
      await pass(random.chance(0.25) ? random.int(0, 2_000) : random.int(0, 60));
    }
    if (unwatch === undefined) toggleWatch();
    if (release === undefined) toggleHold();
    stopReading();
    await pass(60_000);
    publish(1);
    await pass(60_000);
    const { messages, more } = list.snapshot();
    const log = server.log("lobby").all;
    expect(messages.length).toBeGreaterThan(0);
    expect(messages.map(({ seq }) => seq)).toEqual(log.slice(-messages.length).map(({ seq }) => seq));
    expect(more || messages.length === log.length).toBe(true);
  },
);
