import { inspect } from "node:util";
import { describe, expect, it, vi } from "vitest";
import type { Logger } from "../../src/index.js";
import { during, inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();

/** A logger that keeps its lines as a console prints them: with the causes of errors. */
function keeper(): { lines: string[]; logger: Logger } {
  const lines: string[] = [];
  const write = (level: string) => (message: string, details?: object) =>
    lines.push(`${level} ${message} ${inspect(details, { depth: null })}`);
  return {
    lines,
    logger: { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") },
  };
}

describe("the logger", () => {
  it("is told what happens, and never a token or a message's data", async () => {
    const { lines, logger } = keeper();
    let refuses = true;
    fake.world.network.weather = { ...fake.world.network.weather, refuses: () => refuses };
    const client = fake.world.client({ token: "secret-token", logger, bufferSize: 1 });
    void client.connect();
    await pass(100);
    refuses = false;
    const room = client.room("lobby");
    void room.join();
    await pass(2_000);
    fake.world.server.publish("lobby", [{ data: "secret-data" }, { data: "secret-data" }]);
    await pass(2_000);
    fake.world.network.last.cut();
    await pass(2_000);
    fake.world.server.script = (frame) => (frame.action === "joinRoom" ? { code: "forbidden" } : undefined);
    void client.room("other").join();
    await pass(2_000);
    client.close();
    const text = lines.join("\n");
    for (const line of [
      "info closed -> connecting",
      "warn the WebSocket could not be opened",
      "debug room joined",
      "warn room stalled",
      "warn room error",
      "-> closed",
    ]) {
      expect(text).toContain(line);
    }
    expect(text).not.toContain("secret");
  });

  it("is not told the token by a socket that quotes its address, nor is anybody", async () => {
    const { lines, logger } = keeper();
    const WebSocket = class {
      onerror: ((event: object) => void) | null = null;
      onclose: ((event: object) => void) | null = null;
      constructor(url: string) {
        setTimeout(() => {
          this.onerror?.({ error: new Error(`cannot open '${url}'`) });
          this.onclose?.({ code: 1006, reason: "" });
        }, 5);
      }
    } as never;
    const client = fake.world.client({ WebSocket, token: "secret", logger });
    client.on("error", ({ message }) => lines.push(message));
    void client.connect();
    await pass(10);
    expect(lines.join("\n")).toContain("cannot open 'ws://fake/prod?token=...'");
    expect(lines.join("\n")).not.toContain("secret");
  });

  it("is not told the token by a socket that cannot be made, and ends the rooms", async () => {
    const { lines, logger } = keeper();
    const WebSocket = class {
      constructor(url: string) {
        throw new SyntaxError(`bad address '${url}'`);
      }
    } as never;
    const client = fake.world.client({ WebSocket, token: "secret", logger });
    void client.connect();
    void client.room("lobby").join();
    await pass(10);
    expect(lines.join("\n")).toMatch(/debug room left .*the WebSocket could not be created/s);
    expect(lines.join("\n")).not.toContain("secret");
  });

  it("is not told the data by a `parse` that quotes it, but the application is", async () => {
    const { server } = fake.world;
    const { lines, logger } = keeper();
    const client = await fake.world.connected({ logger });
    const parse = (data: unknown) => {
      throw new TypeError(`bad: ${String(data)}`);
    };
    const room = client.room("lobby", { parse });
    const errors: unknown[] = [];
    room.on("error", (error) => errors.push(error));
    server.publish("lobby", [{ key: "k", data: "secret-value" }]);
    await during(room.join({ state: true }));
    const [message] = server.publish("lobby", [{ data: "secret-live" }]);
    await pass(100);
    await during(room.history({ limit: 1 }));
    const text = `message ${message?.seq} has bad data`;
    expect(errors).toMatchObject([
      { code: "bad_data", message: "the value of k has bad data", cause: { cause: { message: "bad: secret-value" } } },
      { code: "bad_data", message: text, cause: { message: "bad: secret-live" } },
      { code: "bad_data", message: text, cause: { message: "bad: secret-live" } },
    ]);
    expect(lines.filter((line) => line.startsWith("warn room error"))).toHaveLength(3);
    expect(lines.join("\n")).not.toContain("secret");
  });

  it("may be the console", async () => {
    vi.spyOn(console, "debug").mockReturnValue();
    const told = vi.spyOn(console, "info").mockReturnValue();
    await fake.world.connected({ logger: console });
    expect(told.mock.calls.map(([text]) => text)).toEqual(["closed -> connecting", "connecting -> open"]);
  });

  it("that throws disturbs nobody, as a listener that throws does not", async () => {
    const reported = vi.fn();
    vi.stubGlobal("reportError", reported);
    const full = () => {
      throw new Error("disk full");
    };
    let refusals = 1;
    fake.world.server.script = ({ action }) =>
      action === "joinRoom" && refusals-- > 0 ? { code: "unavailable" } : undefined;
    const client = fake.world.client({ logger: { debug: full, info: full, warn: full, error: full } });
    void client.connect();
    void client.room("lobby").join();
    await pass(20_000);
    expect(client.room("lobby").status).toBe("joined");
    client.close();
    await pass(1_000);
    expect(reported).toHaveBeenCalledWith(expect.objectContaining({ message: "disk full" }));
  });
});
