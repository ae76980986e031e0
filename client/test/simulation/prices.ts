import type { Usage } from "./model/meter.js";

/**
 * List prices in USD of us-east-1, late 2026: "Amazon API Gateway pricing" (WebSocket APIs), "AWS Lambda Pricing"
 * (arm64) and "Amazon DynamoDB pricing" (on demand).
 */
export const PRICES = {
  /** A million WebSocket messages of up to 32 KB, in or out; the first billion a month. */
  webSocketMessages: 1.0,
  /** A million minutes of a connection. */
  connectionMinutes: 0.25,
  /** A million invocations. */
  invocations: 0.2,
  /** A GB-second of memory, arm64. */
  gigabyteSeconds: 0.000_013_3,
  /** A million read units and write units, on demand. */
  readUnits: 0.125,
  writeUnits: 0.625,
} as const;

/** An invocation of `session`: the template's memory, and a time that allows for a table's two reads. */
const SESSION = { gigabytes: 0.25, seconds: 0.01 } as const;

/** Cost in USD of the events of a kind: an action, `connect` or `disconnect`. */
export function cost({ frames, replies, invocations, readUnits, writeUnits }: Usage, kind: string): number {
  // A handshake is no message.
  const messages = kind === "connect" ? 0 : frames + replies;
  const millions =
    messages * PRICES.webSocketMessages +
    invocations * PRICES.invocations +
    readUnits * PRICES.readUnits +
    writeUnits * PRICES.writeUnits;
  return millions / 1e6 + invocations * SESSION.gigabytes * SESSION.seconds * PRICES.gigabyteSeconds;
}
