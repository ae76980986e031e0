import type { RoomcastError } from "./errors.js";
import type { BroadcastFrame, JoinExtras, JoinedFrame, MessagesFrame, PresenceRev } from "./frames.js";
import type { RoomEvents } from "./room-types.js";
import type { Sequenced } from "./sequencer.js";
import type { Subscription } from "./subscription.js";
import type { Backoff } from "./timing.js";

/** What a subscription needs from its room and its client. */
export interface SubscriptionPorts {
  deliver(messages: Sequenced[]): void;
  /** The application has as many unread messages as it may: deliver nothing more for now. */
  full(): boolean;
  /** When the room is due to be compared with its log may have changed to an earlier time: see `beat`. */
  due(subscription: Subscription): void;
  status(status: "joined" | "recovering"): void;
  emit<E extends "joined" | "truncated" | "gap" | "recovered">(event: E, value: RoomEvents[E]): void;
  /** What the room is joined with besides messages. */
  extras(): JoinExtras;
  /** The list of members that the room has. */
  presenceRev(): number | undefined;
  /** The room was joined, with these extras, and from `asked` on: comes before any message. */
  joined(page: JoinedFrame, extras: JoinExtras, asked: number | undefined): void;
  /** A `joinRoom` with these extras was refused: whether what they say of the client is taken back, so that it can be tried without. */
  takesBack(extras: JoinExtras, error: RoomcastError): boolean;
  /** A broadcast that is none of the log. */
  broadcast(frame: Exclude<BroadcastFrame, MessagesFrame>): void;
  /** The log cannot show everything up to `seq`. With `anew` it is another one, which begins behind `seq`. */
  missed(seq: number, anew: boolean): void;
  /** Whether nobody wants the messages up to `seq`, so that `skipTo` will be called. */
  skims(seq: number): boolean;
  /** An answer to a beat. `renewed`: the room's membership had been lost. */
  compared(presence: PresenceRev | undefined, renewed: boolean): void;
  /** The server refuses the room; or the client is closed, and the room `resumes` when it connects again. */
  ended(reason: RoomcastError, resumes: boolean): void;
}

export interface SubscriptionTimes {
  /** From a room's last frame to its beat. */
  syncIntervalMs: number;
  /** How long frames may arrive out of order before what is missing is asked for. */
  reorderWindowMs: number;
  /** Between questions to a log that does not yet show what a frame announced. */
  retry: Backoff;
}
