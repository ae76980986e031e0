import { RoomcastError } from "./errors.js";
import type { Member } from "./frames.js";
import { DATA_LEVELS, PRESENCE_DATA_BYTES } from "./limits.js";
import { jsonCopy } from "./send.js";

/**
 * A copy of a member's data that the server takes. It is sent with each new connection, when the caller's object may have
 * changed.
 */
export function sendableCopy(data: unknown): unknown {
  if (data === undefined) return undefined;
  const copy = jsonCopy(data, PRESENCE_DATA_BYTES);
  // The server would refuse every join with such data.
  if (!isReadable(copy))
    throw new RoomcastError("bad_request", "data has half of a surrogate pair, or too many levels");
  return copy;
}

/**
 * True if the server takes the data: it refuses half of a surrogate pair and too many levels, which some parsers cannot
 * read. With `u` a whole surrogate pair is one character, which does not match.
 */
function isReadable(data: unknown, levels = DATA_LEVELS): boolean {
  if (typeof data === "string") return !/[\ud800-\udfff]/u.test(data);
  return (
    !(data instanceof Object) ||
    (levels > 0 && Object.entries(data).every((entry) => entry.every((each) => isReadable(each, levels - 1))))
  );
}

export function member(id: string, data: unknown): Member {
  return Object.freeze(data === undefined ? { id } : { id, data });
}

export function same(a: Member, b: Member): boolean {
  return a === b || JSON.stringify(a.data) === JSON.stringify(b.data);
}

export function differs(a: ReadonlyMap<string, Member>, b: ReadonlyMap<string, Member>): boolean {
  return a.size !== b.size || [...b].some(([id, is]) => !a.has(id) || !same(a.get(id) as Member, is));
}
