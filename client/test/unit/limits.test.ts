import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  DATA_LEVELS,
  EPHEMERAL_DATA_BYTES,
  HISTORY_MESSAGES,
  isRoomId,
  MAX_CLIENT_FRAME_BYTES,
  MEMBERS,
  NAME_CHARS,
  PRESENCE_DATA_BYTES,
  SYNC_ROOMS,
  TTL_SECONDS,
} from "../../src/limits.js";

const SHARED = {
  DATA_LEVELS,
  EPHEMERAL_DATA_BYTES,
  HISTORY_MESSAGES,
  MAX_CLIENT_FRAME_BYTES,
  MEMBERS,
  NAME_CHARS,
  PRESENCE_DATA_BYTES,
  SYNC_ROOMS,
  TTL_SECONDS,
};

/** The values of limits.rs that are numbers or products of numbers. */
function serverLimits(): Map<string, number> {
  const source = readFileSync(new URL("../../../shared/src/limits.rs", import.meta.url), "utf8");
  const found = [...source.matchAll(/^pub const (\w+): \w+ = ([\d_ *]+);$/gm)];
  const product = (text: string) => text.split("*").reduce((all, each) => all * Number(each.replaceAll("_", "")), 1);
  return new Map(found.map(([, name = "", value = ""]) => [name, product(value)]));
}

describe("limits of the protocol", () => {
  const server = serverLimits();

  it.each(Object.entries(SHARED))("%s is the server's", (name, limit) => {
    expect(limit).toBe(server.get(name));
  });

  it("bounds the length of a room's id as the server does", () => {
    const longest = server.get("ROOM_ID_CHARS") ?? 0;
    expect([isRoomId("r".repeat(longest)), isRoomId("r".repeat(longest + 1))]).toEqual([true, false]);
  });
});
