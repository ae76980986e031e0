import { type CallOptions, unlessAborted } from "./abort.js";
import type { Cancellation } from "./cancellation.js";
import { about, checkWhole, RoomcastError } from "./errors.js";
import { byteLength, type ClientFrame, encodeFrame, type SendFrame, toJson } from "./frames.js";
import { EPHEMERAL_DATA_BYTES, MAX_SEND_TIMEOUT_MS, NAME_CHARS, TTL_SECONDS } from "./limits.js";
import type { Session } from "./session.js";
import { inTime, now } from "./timing.js";

export interface SendOptions extends CallOptions {
  /**
   * The id that makes the message idempotent: of several with one id from one subject within five minutes, one is
   * logged. Default: a random id, kept through the library's own retries. Pass one to retry a failed `send` yourself.
   */
  id?: string;
  /** The subject matter, which lets a broadcast leave out all but its newest version. At most 64 characters. */
  key?: string;
  /**
   * Age of the value, with `key`: a larger version replaces a smaller one. Broadcasts compare only the messages of one
   * batch, and `room.state` compares all. An application that reads messages compares versions itself. A whole number.
   */
  version?: number;
  /**
   * Life of the value in the room's state, with `key`, in seconds: 1 to 31,536,000. Default: until another value comes,
   * or as the stack says.
   */
  ttlSeconds?: number;
  /** Time to try. Default: the client's `sendTimeoutMs`. */
  timeoutMs?: number;
  /** Does not wait for earlier messages to this room. It is faster, but the log may have them in another order. */
  unordered?: boolean;
}

/** A message that the server has taken: it will be logged and broadcast. */
export interface Accepted {
  /** The room that it was sent to. */
  roomId: string;
  /** The message's id, of `SendOptions` or a random one. */
  id: string;
}

/**
 * An id that nobody else uses. React Native has no `crypto`; there it need only differ from the subject's own ids of
 * five minutes.
 */
function newMessageId(): string {
  const { crypto } = globalThis as { crypto?: Partial<Crypto> };
  // `randomUUID` exists in secure contexts only.
  return (
    crypto?.randomUUID?.() ?? Array.from({ length: 32 }, () => Math.floor(Math.random() * 16).toString(16)).join("")
  );
}

/** The frame of a message, with a copy of its data. Throws `bad_request` or `too_large`. */
export function sendFrame(roomId: string, data: unknown, options: SendOptions, remove?: true): SendFrame {
  const { id = newMessageId(), key, version, ttlSeconds } = options;
  checkField("id", id, roomId);
  if (key !== undefined) checkField("key", key, roomId);
  checkWhole("version", version, 0, roomId);
  checkWhole("ttlSeconds", ttlSeconds, 1, roomId, TTL_SECONDS);
  const frame = { action: "sendMessage", roomId, id, key, version, ttlSeconds, remove, data } as const;
  // A request id as long as any makes sure that a frame that passes here passes when it is sent.
  const { text } = encodeFrame(frame, "r".padEnd(12, "0"));
  // A copy, because the frame may be sent much later, when the caller's object has changed.
  const copy = JSON.parse(text) as typeof frame;
  if (!("data" in copy)) throw new RoomcastError("bad_request", "data is not JSON", { roomId });
  return { ...frame, data: copy.data };
}

/** The frame of an ephemeral message, with a copy of its data. Throws `bad_request` or `too_large`. */
export function ephemeralFrame(roomId: string, data: unknown, key: string | undefined): ClientFrame {
  if (key !== undefined) checkField("key", key, roomId);
  return { action: "sendMessage", roomId, ephemeral: true, key, data: jsonCopy(data, EPHEMERAL_DATA_BYTES) };
}

/** A copy of data that can be sent. Throws `bad_request` (not JSON) or `too_large`. */
export function jsonCopy(data: unknown, maxBytes: number): unknown {
  const text = toJson(data);
  const bytes = byteLength(text);
  if (bytes > maxBytes) throw new RoomcastError("too_large", `the data has ${bytes} bytes`);
  return JSON.parse(text);
}

/**
 * A line of a room's messages, which are sent one after another. API Gateway runs the frames of a connection side by
 * side, so only a message whose predecessor was accepted is sure to follow it in the log.
 *
 * The result calls `send`, with the rest of the time, when everything before it has ended, well or not.
 */
export function sendLine(): <T>(send: (timeoutMs: number) => Promise<T>, timeoutMs: number) => Promise<T> {
  let last = Promise.resolve();
  return (send, timeoutMs) => {
    const end = now() + timeoutMs;
    const late = () => new RoomcastError("timeout", `not sent within ${timeoutMs} ms`);
    const turn = inTime(last, timeoutMs, late).then(() => {
      // The line's timer stands still while the device sleeps.
      const left = end - now();
      if (left <= 0) throw late();
      return send(left);
    });
    // The results are dropped: each would hold the one before, for as long as the room lives.
    last = Promise.allSettled([last, turn]).then(() => {});
    return turn;
  };
}

/** A function that sends a room's messages, in line unless they are unordered, for as long as their time allows. */
export function sender(session: Session): (frame: SendFrame, options: SendOptions) => Promise<Accepted> {
  const sendInOrder = sendLine();
  return async (frame, { timeoutMs = session.settings.sendTimeoutMs, signal, unordered }) => {
    const { roomId, id } = frame;
    checkWhole("timeoutMs", timeoutMs, 1, roomId, MAX_SEND_TIMEOUT_MS);
    // The cancellation of this run: a message that waits in line ends with it, even if the client connects anew
    // meanwhile.
    const closed = session.assertOpen();
    const work = (cancellation?: Cancellation) => {
      const send = (ms: number) => session.requester.request(frame, "accepted", ms, cancellation);
      return unordered ? send(timeoutMs) : sendInOrder(send, timeoutMs);
    };
    try {
      await unlessAborted(signal, work, closed);
      return { roomId, id };
    } catch (thrown) {
      throw thrown instanceof RoomcastError ? about(thrown, { roomId, messageId: id }) : thrown;
    }
  };
}

function checkField(name: string, value: unknown, roomId: string): void {
  if (typeof value === "string" && value !== "" && value.length <= NAME_CHARS) return;
  throw new RoomcastError("bad_request", `${name} must be a string of 1 to ${NAME_CHARS} characters`, { roomId });
}
