import { RoomcastError } from "./errors.js";
import type { Message } from "./message.js";
import type { Sequenced } from "./sequencer.js";

/** Messages as the application gets them, and an error for each whose data fails `parse`. */
export function parseAll<T>(
  roomId: string,
  logged: readonly Sequenced[],
  parse: (data: unknown) => T,
): { messages: Message<T>[]; bad: RoomcastError[] } {
  const messages: Message<T>[] = [];
  const bad: RoomcastError[] = [];
  for (const { message, recovered } of logged) {
    try {
      // A removal has no data to check.
      const data = message.remove ? (message.data as T) : parse(message.data);
      messages.push({ ...message, roomId, data, recovered });
    } catch (cause) {
      // The text is logged. That of the cause is not, because it may quote the data.
      const text = `message ${message.seq} has bad data`;
      bad.push(new RoomcastError("bad_data", text, { roomId, messageId: message.id, cause }));
    }
  }
  return { messages, bad };
}
