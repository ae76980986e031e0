/** A message of a room. */
export interface Message<T = unknown> {
  /** The room that it was sent to. */
  roomId: string;
  /**
   * The message's number in the room's log. Numbers are consecutive and begin at about 1.8e15. They jump to the Unix
   * time in microseconds, which is higher than any before, when retention has emptied the log, or is about to. Such a
   * jump alone does not mean that anything was lost.
   */
  seq: number;
  /** The id that the sender gave the message, or else the server. */
  id: string;
  /** The sender, as the server authenticated them. Producers with rights on the bus or queue may set it. */
  from: string;
  /**
   * The time at which the server accepted it, in Unix milliseconds by the server's clock. Producers with rights on the
   * bus or queue may set it.
   */
  sentAt: number;
  /**
   * The data, as the room's `parse` returned it; `null` with `remove`. Without a `parse` nothing checks that it is a
   * `T`: the application trusts its senders.
   */
  data: T;
  /**
   * The subject matter: of several messages with one key, a broadcast may carry only the one with the newest version.
   */
  key?: string;
  /** Age of the value, with `key`: the larger version is the newer value. */
  version?: number;
  /** True if the message removes its key's value. */
  remove?: boolean;
  /** Life of the value, with `key`, in seconds from `sentAt` on. Absent: it lasts until another one comes. */
  ttlSeconds?: number;
  /**
   * True if the message was read from the log: its broadcast did not arrive, or was sent before the room was joined.
   */
  recovered: boolean;
}
