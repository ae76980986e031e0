import { Roomcast } from "../../src/index.js";
import { Chat } from "./chat.js";
import { byId } from "./elements.js";
import { Outage } from "./outage.js";
import { followPrices } from "./prices.js";
import { Status } from "./status.js";

/** Time that the drop button keeps the network away: long enough for messages to be missed. */
const OUTAGE_MS = 5_000;

/** The chat's first room, which keeps a list of its members unless the stack's parameters say otherwise. */
const ROOM = "presence:lobby";

interface Config {
  websocketUrl: string;
  tokenUrl: string;
}

/** Connects the page: reads the configuration, opens the connection, and gives every part of the page its room. */
async function run(): Promise<void> {
  const query = new URLSearchParams(location.search);
  const name = query.get("name") ?? rememberedName();
  byId<"strong">("name").textContent = name;
  const status = new Status();
  const outage = new Outage();
  try {
    const config = await fetchJson<Config>("config.json");
    const client = new Roomcast({
      url: config.websocketUrl,
      token: async () => (await fetchJson<{ token: string }>(config.tokenUrl, { sub: name })).token,
      WebSocket: outage.WebSocket,
      // The person who pressed the button is waiting. The default is right for thousands of clients of a server.
      reconnect: { cap: 2_000 },
    });
    status.watch(client, () => outage.opened);
    await client.connect();
    offerOutage(outage, status);
    const chat = new Chat(client, status, name);
    await Promise.all([chat.enter(query.get("room") ?? ROOM), followPrices(client, status)]);
  } catch (error) {
    status.happened(error instanceof Error ? error.message : String(error), "bad");
  }
}

function offerOutage(outage: Outage, status: Status): void {
  const button = byId<"button">("drop");
  const label = button.textContent;
  button.disabled = false;
  button.addEventListener("click", () => {
    button.disabled = true;
    outage.start(OUTAGE_MS);
    status.happened(`Dropped, for ${OUTAGE_MS / 1_000} seconds`);
    const end = Date.now() + OUTAGE_MS;
    const countDown = setInterval(() => {
      const left = Math.ceil((end - Date.now()) / 1_000);
      button.textContent = `No network for ${left} s`;
      if (left > 0) return;
      clearInterval(countDown);
      button.textContent = label;
      button.disabled = false;
    }, 200);
  });
}

/** A name that this tab keeps: several tabs are several people. With `?name=` they may be one. */
function rememberedName(): string {
  const kept = sessionStorage.getItem("name");
  if (kept !== null) return kept;
  const pick = (words: string[]) => words[Math.floor(Math.random() * words.length)] ?? "";
  const first = ["amber", "brisk", "calm", "clever", "gentle", "lucky", "merry", "quiet", "swift", "witty"];
  const second = ["badger", "finch", "heron", "lynx", "marten", "otter", "raven", "robin", "seal", "wren"];
  const name = `${pick(first)}-${pick(second)}-${Math.floor(Math.random() * 90) + 10}`;
  sessionStorage.setItem("name", name);
  return name;
}

/** Gets, or posts a body to, an address. */
async function fetchJson<T>(url: string, body?: object): Promise<T> {
  const request = body && {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  };
  const response = await fetch(url, request);
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
  return (await response.json()) as T;
}

void run();
