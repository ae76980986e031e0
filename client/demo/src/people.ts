import type { Member, Room } from "../../src/index.js";
import { byId, create } from "./elements.js";

/** Time for which somebody counts as typing after saying so. */
const TYPING_MS = 4_000;
/** Number of faces that there is place for. */
const FACES = 8;

/** The people in a room, and those of them who are typing. */
export class People {
  readonly #room: Room;
  readonly #name: string;
  readonly #stops: (() => void)[];
  /** People who are typing, with the timer that ends it. */
  readonly #typing = new Map<string, ReturnType<typeof setTimeout>>();

  /** Shows the people of a room, until `stop` is called. `name` is the page's own. */
  constructor(room: Room, name: string) {
    this.#room = room;
    this.#name = name;
    const { presence } = room;
    const show = () => this.#show();
    this.#stops = (["joined", "left", "updated", "count", "snapshot"] as const).map((event) =>
      presence.on(event, show),
    );
    this.#stops.push(
      presence.on("left", ({ id }) => this.#quiet(id)),
      room.on("ephemeral", ({ from, key }) => {
        if (key === "typing" && from !== name) this.#types(from);
      }),
      room.on("message", ({ from }) => this.#quiet(from)),
    );
    show();
  }

  /** Tells others that the page's own user is typing. The library sees to it that this is not told too often. */
  typing(): void {
    // A notice of typing that cannot be sent is no loss.
    this.#room.sendEphemeral(true, { key: "typing" }).catch(() => {});
  }

  stop(): void {
    for (const stop of this.#stops) stop();
    for (const id of [...this.#typing.keys()]) this.#quiet(id);
    byId<"ul">("members").replaceChildren();
    byId("member-count").textContent = "";
  }

  #show(): void {
    const { members, count } = this.#room.presence;
    byId<"ul">("members").replaceChildren(
      ...members.slice(0, FACES).map((member) => face(member, member.id === this.#name)),
    );
    byId("member-count").textContent = count === 0 ? "" : count === 1 ? "1 person here" : `${count} people here`;
  }

  #types(id: string): void {
    clearTimeout(this.#typing.get(id));
    this.#typing.set(
      id,
      setTimeout(() => this.#quiet(id), TYPING_MS),
    );
    this.#showTyping();
  }

  #quiet(id: string): void {
    clearTimeout(this.#typing.get(id));
    if (this.#typing.delete(id)) this.#showTyping();
  }

  #showTyping(): void {
    const { members } = this.#room.presence;
    const names = [...this.#typing.keys()].map((id) => nameOf(members.find((member) => member.id === id) ?? { id }));
    byId("typing").textContent =
      names.length === 0 ? "" : `${names.join(", ")} ${names.length === 1 ? "is" : "are"} typing…`;
  }
}

/** The name that a member claims: shown as text, and only if it is one. */
function nameOf({ id, data }: Member): string {
  const { name } = (data ?? {}) as { name?: unknown };
  return typeof name === "string" && name !== "" ? name : id;
}

/** A round with the first letters of a name, in the colour of the id. */
function face(member: Member, isOwn: boolean): HTMLElement {
  const name = nameOf(member);
  const words = name.split(/[^\p{L}\p{N}]+/u).filter((word) => word !== "");
  const initials = words
    .slice(0, 2)
    .map((word) => [...word][0]?.toUpperCase())
    .join("");
  const item = create("li", isOwn ? "face own" : "face", initials === "" ? "?" : initials);
  const title = name === member.id ? name : `${name} (${member.id})`;
  item.title = isOwn ? `${title}, you` : title;
  item.dataset["member"] = member.id;
  item.style.setProperty("--hue", String(hueOf(member.id)));
  return item;
}

function hueOf(id: string): number {
  let hash = 0;
  for (const character of id) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) % 360;
  return hash;
}
