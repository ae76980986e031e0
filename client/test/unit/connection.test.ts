import { describe, expect, it } from "vitest";
import { during, failure, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();

/** The frame of API Gateway when an integration fails. Its request id is not the client's. */
const INTERNAL_ERROR = JSON.stringify({ message: "Internal server error", connectionId: "c=", requestId: "aws" });

describe("a connection", () => {
  it("gives API Gateway's own error to the only request it can be about", async () => {
    const { room } = await fake.world.joined();
    let errors = 1;
    fake.world.server.script = (frame) => {
      if (frame.action !== "sendMessage" || errors-- <= 0) return undefined;
      fake.world.network.last.inject(INTERNAL_ERROR);
      return "silence";
    };
    const start = Date.now();
    await during(room.send("x"));
    expect(Date.now() - start).toBeLessThan(1_000);
  });

  it("gives API Gateway's own error to none of two requests, because it may be about either", async () => {
    const client = await fake.world.connected();
    const errors: string[] = [];
    client.on("error", ({ code }) => errors.push(code));
    fake.world.server.script = () => "silence";
    const sends = ["a", "b"].map((id) => client.room(id).send("x"));
    await pass(50);
    fake.world.network.last.inject(INTERNAL_ERROR);
    await pass(1_000);
    expect(errors).toEqual(["unavailable"]);
    expect(fake.world.server.received("sendMessage")).toHaveLength(2);
    fake.world.server.script = () => undefined;
    await during(Promise.all(sends));
  });

  it("reports an error that is about no request", async () => {
    const client = await fake.world.connected();
    const errors: string[] = [];
    client.on("error", ({ code }) => errors.push(code));
    fake.world.network.last.inject(INTERNAL_ERROR);
    fake.world.network.last.inject(
      JSON.stringify({ type: "error", code: "bad_request", message: "?", requestId: "r999" }),
    );
    await pass(50);
    expect(errors).toEqual(["unavailable", "bad_request"]);
  });

  it("closed for a frame too large rejects the largest message and repeats the others", async () => {
    const client = await fake.world.connected();
    fake.world.server.script = () => "silence";
    const big = failure(client.room("a").send("x".repeat(30_000)));
    const small = client.room("b").send("x");
    await pass(50);
    fake.world.server.script = () => undefined;
    fake.world.network.last.cut(1009);
    expect(await big).toMatchObject({ code: "too_large", retryable: false });
    await during(small);
  });

  it("closed for a frame too large knows the largest by its bytes, not its characters", async () => {
    const client = await fake.world.connected();
    fake.world.server.script = () => "silence";
    const big = failure(client.room("a").send("€".repeat(9_000)));
    const long = client.room("b").send("x".repeat(10_000));
    await pass(50);
    fake.world.server.script = () => undefined;
    fake.world.network.last.cut(1009);
    expect(await big).toMatchObject({ code: "too_large", retryable: false });
    await during(long);
  });

  it("ignores a reply that comes too late, or twice", async () => {
    const { client, room } = await fake.world.joined({ requestTimeoutMs: 100 });
    const errors: string[] = [];
    client.on("error", ({ code }) => errors.push(code));
    let latency = 400;
    fake.world.network.weather = { ...fake.world.network.weather, latency: () => (latency -= 50) };
    await during(room.send("x"));
    await pass(2_000);
    expect(errors).toEqual([]);
    expect(fake.world.server.log("lobby").all).toHaveLength(1);
  });

  it("does not take one kind of reply for another", async () => {
    const { room } = await fake.world.joined();
    fake.world.server.script = (frame) => {
      if (frame.action !== "getHistory") return undefined;
      fake.world.network.last.inject(JSON.stringify({ type: "left", roomId: "lobby", requestId: frame.requestId }));
      return "silence";
    };
    expect(await failure(room.history())).toMatchObject({ code: "protocol", retryable: false });
  });
});

describe("an answer that makes no sense", () => {
  it("is an error of its request at once", async () => {
    const client = await fake.world.connected();
    fake.world.server.script = (frame) => {
      if (frame.action !== "getHistory") return undefined;
      const answer = { type: "history", requestId: frame.requestId, roomId: "lobby", messages: "none", more: false };
      fake.world.network.last.inject(JSON.stringify(answer));
      return "silence";
    };
    const start = Date.now();
    expect(await failure(client.room("lobby").history())).toMatchObject({ code: "protocol" });
    expect(Date.now() - start).toBeLessThan(1_000);
  });
});
