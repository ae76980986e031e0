import type { RoomcastError } from "./errors.js";
import type { BroadcastFrame, JoinExtras, JoinedFrame, MessagesFrame, PresenceRev } from "./frames.js";
import type { RoomEvents } from "./room-types.js";
import type { Sequenced } from "./sequencer.js";
import type { Subscription } from "./subscription.js";
import type { Backoff } from "./timing.js";

/** Calls of a subscription to its room and its client. */
export interface SubscriptionPorts {
  deliver(messages: Sequenced[]): void;
  /** True while the application has as many unread messages as it may: nothing more is delivered. */
  full(): boolean;
  /** Tells that the room's beat may be due earlier than before. */
  due(subscription: Subscription): void;
  status(status: "joined" | "recovering"): void;
  emit<E extends "joined" | "truncated" | "gap" | "recovered">(event: E, value: RoomEvents[E]): void;
  /** Parts of the room that it is joined with besides messages. */
  extras(): JoinExtras;
  /** The number of the list of members that the room has. */
  presenceRev(): number | undefined;
  /** Hands over the answer to a join with these extras, from `asked` on. It comes before any message. */
  joined(page: JoinedFrame, extras: JoinExtras, asked: number | undefined): void;
  /**
   * Hands over the refusal of a `joinRoom` with these extras. True if the client's data is taken back, so that the join
   * can be tried again.
   */
  takesBack(extras: JoinExtras, error: RoomcastError): boolean;
  /** Hands over a broadcast that is none of the log. */
  broadcast(frame: Exclude<BroadcastFrame, MessagesFrame>): void;
  /**
   * Tells that the log cannot show everything up to `seq`. With `anew` it is another log, which begins behind `seq`.
   */
  missed(seq: number, anew: boolean): void;
  /** True if nobody wants the messages up to `seq`, so that `skipTo` will be called. */
  skims(seq: number): boolean;
  /** Hands over the answer to a beat. `renewed` means that the room's membership had been lost. */
  compared(presence: PresenceRev | undefined, renewed: boolean | undefined): void;
  /**
   * Tells the end: the server refuses the room, or the client is closed, and the room `resumes` when it connects again.
   */
  ended(reason: RoomcastError, resumes: boolean): void;
}

export interface SubscriptionTimes {
  /** Time from a room's last frame to its beat. */
  syncIntervalMs: number;
  /** Time that frames may be out of order before the missing ones are asked for. */
  reorderWindowMs: number;
  /** Bounds of the pauses between questions to a log that does not show yet what a frame announced. */
  retry: Backoff;
}
