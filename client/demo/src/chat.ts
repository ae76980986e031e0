import { type Message, type Room, type Roomcast, RoomcastError } from "../../src/index.js";
import { byId, create, timeOf } from "./elements.js";
import { People } from "./people.js";
import type { Status } from "./status.js";

/** Number of messages that stay on the page. */
const KEPT = 300;

/** The chat: one room at a time. */
export class Chat {
  readonly #client: Roomcast;
  readonly #status: Status;
  readonly #name: string;
  #room: Room | undefined;
  #people: People | undefined;
  #unfollow = () => {};

  constructor(client: Roomcast, status: Status, name: string) {
    this.#client = client;
    this.#status = status;
    this.#name = name;
    byId<"form">("send-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#send();
    });
    byId<"input">("text").addEventListener("input", () => this.#people?.typing());
    byId<"form">("room-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.enter(byId<"input">("room").value);
    });
  }

  /** Leaves the present room, and shows this one: its newest messages, then those that follow. */
  async enter(roomId: string): Promise<void> {
    if (this.#room?.id === roomId) return;
    this.#unfollow();
    this.#people = undefined;
    this.#room?.leave().catch((error: unknown) => this.#report(error));
    byId<"ol">("message-list").replaceChildren();
    byId("no-messages").hidden = false;
    byId<"input">("room").value = roomId;
    const room = this.#client.room(roomId);
    this.#room = room;
    this.#unfollow = () => {};
    try {
      // The history comes first, and the join goes on from its last message: a page of history may lack the messages of
      // the last second, which the join then brings. The other way round they would be missing.
      const { messages } = await room.history({ limit: 50 });
      await room.join({ after: messages.at(-1)?.seq ?? 0, presence: { name: this.#name } });
      if (this.#room !== room) return;
      for (const message of messages) this.#show({ ...message, recovered: false });
      this.#status.happened(`Joined ${roomId}`);
    } catch (error) {
      if (this.#room === room) this.#room = undefined;
      return this.#report(error);
    }
    // The listener comes last: messages that arrived meanwhile have waited for it, and follow the history.
    const people = new People(room, this.#name);
    this.#people = people;
    const stops = [
      this.#status.follow(room, "chat-seq"),
      room.on("message", (message) => this.#show(message)),
      () => people.stop(),
    ];
    this.#unfollow = () => {
      for (const stop of stops) stop();
    };
  }

  async #send(): Promise<void> {
    const input = byId<"input">("text");
    const text = input.value.trim();
    if (text === "" || this.#room === undefined) return;
    input.value = "";
    const status = byId<"span">("send-status");
    status.textContent = this.#client.state === "open" ? "" : "Will be sent when the connection is back.";
    try {
      await this.#room.send({ text });
      status.textContent = "";
    } catch (error) {
      if (input.value === "") input.value = text;
      this.#report(error);
    }
  }

  #show(message: Message): void {
    byId("no-messages").hidden = true;
    const item = create("li", message.from === this.#name ? "message mine" : "message");
    const about = create("p", "about");
    about.append(create("span", "from", message.from), timeOf(message.sentAt));
    if (message.recovered) about.append(create("span", "badge", "recovered"));
    const text = (message.data as { text?: unknown } | null)?.text;
    item.append(about, create("p", "text", typeof text === "string" ? text : JSON.stringify(message.data)));
    item.title = `seq ${message.seq}`;
    const list = byId<"ol">("message-list");
    const view = byId("messages");
    const atEnd = view.scrollHeight - view.scrollTop - view.clientHeight < 40;
    list.append(item);
    while (list.children.length > KEPT) list.firstElementChild?.remove();
    // A reader who has scrolled up is left there.
    if (atEnd) view.scrollTop = view.scrollHeight;
  }

  #report(error: unknown): void {
    const advice = error instanceof RoomcastError && error.retryable ? " Try again." : "";
    byId<"span">("send-status").textContent = `${error instanceof Error ? error.message : String(error)}.${advice}`;
  }
}
