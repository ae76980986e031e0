/** A message of a room. */
export interface Message<T = unknown> {
  /** The room that it was sent to. */
  roomId: string;
  /**
   * Its number in the room's log; consecutive. The first is about 1.8e15. It restarts at Unix microseconds, higher than any
   * before, when the room's log is started anew: after retention has emptied it, or in its last seconds. Such a jump alone
   * does not mean that anything was lost.
   */
  seq: number;
  /** The sender's id for it, or the server's. */
  id: string;
  /** Who sent it, as the server authenticated them. Producers with rights on the bus or queue may set it. */
  from: string;
  /** When the server accepted it, in Unix milliseconds by the server's clock. Producers with rights on the bus or queue may set it. */
  sentAt: number;
  /** What was sent, as the room's `parse` returned it; `null` with `remove`. Without one it is not checked: `T` is what the application trusts its senders to send. */
  data: T;
  /** What the message is about: of several with the same key, a broadcast may carry only the one with the newest version. */
  key?: string;
  /** With `key`: the larger one is the newer value. */
  version?: number;
  /** It takes its key's value away. */
  remove?: boolean;
  /** With `key`: for how many seconds from `sentAt` on the key has it as its value. Without: until another one comes. */
  ttlSeconds?: number;
  /** It was read from the log: its broadcast did not arrive, or was sent before the room was joined. */
  recovered: boolean;
}
