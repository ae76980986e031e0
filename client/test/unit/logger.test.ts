import { describe, expect, it } from "vitest";
import type { Logger } from "../../src/index.js";
import { inFakeTime, pass } from "../support/world.js";

const fake = inFakeTime();

describe("the logger", () => {
  it("is told what happens, and never a token or a message's data", async () => {
    const lines: string[] = [];
    const write = (level: string) => (message: string, details?: object) => lines.push(`${level} ${message} ${JSON.stringify(details ?? {})}`);
    const logger: Logger = { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") };
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
    for (const line of ["info closed -> connecting", "warn the WebSocket could not be opened", "debug room joined", "warn room stalled", "warn room error", "-> closed"]) {
      expect(text).toContain(line);
    }
    expect(text).not.toContain("secret");
  });

  it("may be the console", () => {
    const fits: Logger = console;
    expect(fake.world.client({ logger: fits }).state).toBe("closed");
  });
});
