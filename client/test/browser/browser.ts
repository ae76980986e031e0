import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type BrowserContext, type BrowserContextOptions, chromium, type Page } from "playwright-core";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Chromium with a profile of its own: `ROOMCAST_CHROMIUM`, or else the one on the PATH. */
export class Browser {
  /** Errors of pages, errors and warnings on their consoles. */
  readonly problems: string[] = [];
  readonly #profile: string;
  readonly #context: BrowserContext;

  private constructor(profile: string, context: BrowserContext) {
    this.#profile = profile;
    this.#context = context;
  }

  /** Starts the browser. Without a Chromium, the error says what to do. */
  static async launch(options: BrowserContextOptions = {}): Promise<Browser> {
    const finder = fileURLToPath(new URL("../../../infra/chromium", import.meta.url));
    const executablePath = execFileSync(finder, { encoding: "utf8" }).trim();
    const profile = mkdtempSync(join(tmpdir(), "roomcast-browser-"));
    return new Browser(
      profile,
      await chromium.launchPersistentContext(profile, { executablePath, args: FLAGS, ...options }),
    );
  }

  /** A new tab, whose problems carry `name`. */
  async open(name: string): Promise<Page> {
    const page = await this.#context.newPage();
    page.setDefaultTimeout(20_000);
    page.on("pageerror", (error) => this.problems.push(`${name}: ${error.message}`));
    // A refusal by the content security policy is such an error too.
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) this.problems.push(`${name}: ${message.text()}`);
    });
    return page;
  }

  async close(): Promise<void> {
    await this.#context.close();
    rmSync(this.#profile, { recursive: true, force: true });
  }
}
