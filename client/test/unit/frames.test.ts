import { describe, expect, it } from "vitest";
import { decodeFrame } from "../../src/decode.js";
import { byteLength, encodeFrame } from "../../src/frames.js";
import { MAX_CLIENT_FRAME_BYTES } from "../../src/limits.js";

const message = { seq: 5, id: "a", from: "alice", sentAt: 1, data: null };
const value = { key: "k", seq: 4, version: 2, from: "alice", sentAt: 1, ttlSeconds: 9, data: [] };
const page = { seq: 5, messages: [message], more: false, truncated: false };

const protocol = { type: "error", code: "protocol" };

function decode(value: unknown): unknown {
  return decodeFrame(JSON.stringify(value));
}

describe("encodeFrame", () => {
  it("counts bytes of UTF-8, not characters", () => {
    const frame = (data: string) => ({ action: "sendMessage", roomId: "r", id: "i", data }) as const;
    const overhead = encodeFrame(frame(""), "r1").bytes;
    const room = MAX_CLIENT_FRAME_BYTES - overhead;
    expect(encodeFrame(frame("x".repeat(room)), "r1").bytes).toBe(MAX_CLIENT_FRAME_BYTES);
    expect(() => encodeFrame(frame("x".repeat(room + 1)), "r1")).toThrowError(/32769 bytes/);
    expect(() => encodeFrame(frame("é".repeat(room / 2 + 1)), "r1")).toThrowError(
      expect.objectContaining({ code: "too_large" }),
    );
    expect(() => encodeFrame(frame("🎈".repeat(room / 4)), "r1")).not.toThrow();
  });

  it.each(["", "ascii", "é", "€", "🎈", "a🎈€é", "\ud83c", "\udf88\ud83c"])("counts %j as an encoder does", (text) => {
    expect(byteLength(text)).toBe(new TextEncoder().encode(text).length);
  });

  it("refuses what JSON cannot hold", () => {
    expect(() => encodeFrame({ action: "sendMessage", roomId: "r", id: "i", data: 1n }, "r1")).toThrowError(
      expect.objectContaining({ code: "bad_request", retryable: false }),
    );
  });
});

describe("decodeFrame", () => {
  it("writes the bounds that a broadcast implies into it", () => {
    expect(decode({ type: "messages", roomId: "r", messages: [message] })).toMatchObject({ after: 4, seq: 5 });
    expect(decode({ type: "messages", roomId: "r", messages: [message], after: 2, seq: 9 })).toMatchObject({
      after: 2,
      seq: 9,
    });
    expect(decode({ type: "messages", roomId: "r", messages: [], after: 2, seq: 9 })).toMatchObject({ after: 2 });
  });

  it.each([
    { type: "joined", roomId: "r", ...page },
    { type: "joined", roomId: "r", seq: 0, messages: [], more: false, truncated: false, requestId: "r1" },
    { type: "synced", rooms: { a: page, b: page } },
    { type: "synced", rooms: {} },
    { type: "history", roomId: "r", messages: [message], more: true },
    { type: "accepted", roomId: "r", id: "a" },
    {
      type: "joined",
      roomId: "r",
      ...page,
      now: 9,
      state: [value],
      stateRemoved: [{ key: "l", seq: 3, version: 0 }],
      stateNext: "k",
    },
    {
      type: "joined",
      roomId: "r",
      ...page,
      stateNext: "",
      presence: { id: "a", rev: 9, count: 2, members: [{ id: "a", data: {} }], next: "a" },
    },
    { type: "joined", roomId: "r", ...page, presence: { id: "a", rev: 9, count: 900 } },
    { type: "synced", rooms: {}, presence: { a: { rev: 9, count: 2 } }, now: 9 },
    { type: "state", roomId: "r", seq: 9, entries: [value], removed: [], next: "k" },
    { type: "members", roomId: "r", listed: true, rev: 9, count: 1, members: [{ id: "a" }] },
    { type: "presence", roomId: "r", rev: 9, after: 2, count: 1, joined: [{ id: "a", data: null }], left: ["b"] },
    { type: "presence", roomId: "r", rev: 9, count: 900 },
    { type: "ephemeral", roomId: "r", ephemeral: [{ from: "a", sentAt: 1, key: "typing", data: true }] },
    { type: "left", roomId: "r" },
    { type: "error", code: "forbidden", message: "no" },
  ])("accepts $type", (frame) => {
    expect(decode(frame)).toEqual(frame);
  });

  it.each([
    { type: "messages", roomId: "r", messages: [] },
    { type: "messages", roomId: "r", messages: [message, message] },
    { type: "messages", roomId: "r", messages: [message], after: 5, seq: 9 },
    { type: "messages", roomId: "r", messages: [message], after: 2, seq: 4 },
    { type: "messages", roomId: "r", messages: [{ ...message, seq: 1.5 }] },
    { type: "messages", roomId: "r", messages: [{ ...message, seq: 2 ** 60 }] },
    { type: "messages", messages: [message] },
    { type: "joined", roomId: "r", seq: 1 },
    { type: "synced", rooms: { a: { seq: 1 } } },
    { type: "accepted", roomId: "r" },
    { type: "joined", roomId: "r", ...page, state: [{ key: "k" }] },
    { type: "joined", roomId: "r", ...page, presence: { id: "a", rev: 9 } },
    { type: "synced", rooms: {}, presence: { a: 9 } },
    { type: "state", roomId: "r", seq: 9, entries: [{ ...value, version: "1" }] },
    { type: "members", roomId: "r", listed: true, rev: 9, members: [] },
    { type: "presence", roomId: "r", count: 1 },
    { type: "presence", roomId: "r", rev: 1, count: 1, left: [{}] },
    { type: "ephemeral", roomId: "r", ephemeral: [{ from: "a", data: 1 }] },
    { type: "error", message: "no" },
    [],
    null,
    7,
  ])("calls %j malformed", (frame) => {
    expect(decode(frame)).toMatchObject(protocol);
  });

  it.each([null, -1, "soon", true])("does without a length of time that is %j", (bad) => {
    expect(
      decode({ type: "joined", roomId: "r", ...page, retentionSeconds: bad, syncAfterMs: bad, expiresInMs: bad }),
    ).toEqual({ type: "joined", roomId: "r", ...page });
    expect(decode({ type: "synced", rooms: {}, syncAfterMs: bad })).toEqual({ type: "synced", rooms: {} });
    expect(decode({ type: "error", code: "rate_limited", message: "m", retryAfterMs: bad })).toEqual({
      type: "error",
      code: "rate_limited",
      message: "m",
    });
  });

  it("calls what is not JSON, or not text, malformed", () => {
    expect(decodeFrame("{")).toMatchObject(protocol);
    expect(decodeFrame(new Uint8Array(3))).toMatchObject(protocol);
  });

  it("ignores types of a later version", () => {
    expect(decode({ type: "cursor", roomId: "r" })).toBeUndefined();
    expect(decode({ type: "constructor" })).toBeUndefined();
    expect(decode({})).toBeUndefined();
  });

  it.each([
    ["Too Many Requests", "rate_limited"],
    ["Limit Exceeded", "rate_limited"],
    ["Forbidden", "forbidden"],
    ["Internal server error", "unavailable"],
    ["Endpoint request timed out", "unavailable"],
  ])("reads API Gateway's own error %j as %s, without its request id", (text, code) => {
    expect(decode({ message: text, connectionId: "c=", requestId: "aws" })).toEqual({
      type: "error",
      code,
      message: text,
    });
  });
});
