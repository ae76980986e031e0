/** The cost of one kind of event. */
export interface Usage {
  /** Frames from clients, or handshakes. */
  frames: number;
  replies: number;
  invocations: number;
  tableCalls: number;
  /** Read and write units as DynamoDB counts them. */
  readUnits: number;
  writeUnits: number;
}

/** Counts what the server does, by the kind of event that made it: an action, `connect` or `disconnect`. */
export class Meter {
  readonly #byKind = new Map<string, Usage>();

  of(kind: string): Usage {
    let usage = this.#byKind.get(kind);
    if (usage === undefined) {
      usage = { frames: 0, replies: 0, invocations: 0, tableCalls: 0, readUnits: 0, writeUnits: 0 };
      this.#byKind.set(kind, usage);
    }
    return usage;
  }

  get kinds(): ReadonlyMap<string, Usage> {
    return this.#byKind;
  }
}
