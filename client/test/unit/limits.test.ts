import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import * as limits from "../../src/limits.js";

/** The values of limits.rs that are numbers or products of numbers. */
function serverLimits(): Map<string, number> {
  const source = readFileSync(new URL("../../../shared/src/limits.rs", import.meta.url), "utf8");
  const found = [...source.matchAll(/^pub const (\w+): \w+ = ([\d_ *]+);$/gm)];
  const product = (text: string) => text.split("*").reduce((all, each) => all * Number(each.replaceAll("_", "")), 1);
  return new Map(found.map(([, name = "", value = ""]) => [name, product(value)]));
}

describe("limits of the protocol", () => {
  const server = serverLimits();
  const shared = Object.entries(limits).filter(([name]) => server.has(name));

  it("have one name on both sides", () => {
    expect(shared.map(([name]) => name).sort()).toEqual([
      "DATA_LEVELS",
      "EPHEMERAL_DATA_BYTES",
      "HISTORY_MESSAGES",
      "MAX_CLIENT_FRAME_BYTES",
      "MEMBERS",
      "NAME_CHARS",
      "PRESENCE_DATA_BYTES",
      "SYNC_ROOMS",
      "TTL_SECONDS",
    ]);
  });

  it.each(shared)("%s is the server's", (name, limit) => {
    expect(limit).toBe(server.get(name));
  });

  it("bound the length of a room's id as the server does", () => {
    const longest = server.get("ROOM_ID_CHARS") ?? 0;
    const ids = ["r".repeat(longest), "r".repeat(longest + 1)];
    expect(ids.map(limits.isRoomId)).toEqual([true, false]);
  });
});
