import type { Message, Room, Roomcast } from "../../src/index.js";
import { byId, create, timeOf } from "./elements.js";

/** Number of messages that the median latency is taken of. */
const SAMPLES = 50;
/** Number of lines that are kept. */
const LINES = 60;

/** Shows the connection: its state, its figures and its events. */
export class Status {
  readonly #latencies: number[] = [];
  #last: { text: string; times?: HTMLElement; count: number } = { text: "", count: 0 };
  #received = 0;
  #recovered = 0;

  /** Shows the client's state and errors. */
  watch(client: Roomcast, connections: () => number): void {
    const pill = byId<"p">("state");
    client.on("state", ({ state, previous, error }) => {
      pill.dataset["state"] = state;
      pill.textContent = state;
      byId<"dd">("connections").textContent = String(connections());
      const reason = error === undefined ? "" : `: ${error.message}`;
      if (state === "open")
        this.happened(previous === "recovering" ? "Recovered: nothing is missing" : "Connected", "good");
      else if (state !== "connecting")
        this.happened(state === "recovering" ? `Connection lost${reason}` : `Closed${reason}`, "bad");
    });
    client.on("error", (error) => this.happened(error.message + (error.retryable ? "; trying again" : ""), "bad"));
  }

  /** Shows a room's figures, until the function that it returns is called. */
  follow(room: Room, seqElement: string): () => void {
    const showSeq = (seq: number) => {
      byId<"dd">(seqElement).textContent = seq === 0 ? "–" : String(seq);
    };
    showSeq(room.seq ?? 0);
    const stops = [
      room.on("message", (message) => this.#count(message)),
      room.on("message", ({ seq }) => showSeq(seq)),
      room.on("gap", () => this.happened(`${room.id}: a frame is missing, reading the log`, "bad")),
      room.on("recovered", ({ count }) => {
        if (count > 0)
          this.happened(
            `${room.id}: ${count} missed ${count === 1 ? "message" : "messages"} read from the log`,
            "good",
          );
      }),
      room.on("truncated", ({ certain }) => {
        if (certain) this.happened(`${room.id}: retention has dropped messages`, "bad");
      }),
      room.on("error", (error) => this.happened(`${room.id}: ${error.message}`, "bad")),
    ];
    return () => {
      for (const stop of stops) stop();
    };
  }

  /** Adds a line, or counts up the last one if it says the same. */
  happened(text: string, kind: "good" | "bad" | "" = ""): void {
    const events = byId<"ol">("events");
    if (text === this.#last.text && this.#last.times !== undefined) {
      this.#last.times.textContent = `× ${++this.#last.count}`;
      return;
    }
    const line = create("li");
    const times = create("span", "times");
    line.append(timeOf(Date.now()), create("span", kind, text), times);
    this.#last = { text, times, count: 1 };
    events.prepend(line);
    while (events.children.length > LINES) events.lastElementChild?.remove();
  }

  #count({ sentAt, recovered }: Message): void {
    byId<"dd">("received").textContent = String(++this.#received);
    if (recovered) {
      byId<"dd">("recovered").textContent = String(++this.#recovered);
      return;
    }
    // A recovered message says how long the connection was away, not how fast it is.
    this.#latencies.push(Math.max(0, Date.now() - sentAt));
    if (this.#latencies.length > SAMPLES) this.#latencies.shift();
    const sorted = [...this.#latencies].sort((a, b) => a - b);
    byId<"dd">("latency").textContent = `${sorted[Math.floor(sorted.length / 2)] ?? 0} ms`;
  }
}
