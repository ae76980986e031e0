import type { Message, Roomcast } from "../../src/index.js";
import { PriceChart } from "./chart.js";
import { byId, create } from "./elements.js";
import type { Status } from "./status.js";

/** The room that producers send prices to: `{symbol, price}`, with the symbol as key. */
const ROOM = "prices";

interface Row {
  item: HTMLElement;
  price: HTMLElement;
  change: HTMLElement;
}

/** Follows the prices: a table of the newest, from the room's state, and a chart of the last minute, from its log. */
export async function followPrices(client: Roomcast, status: Status): Promise<void> {
  const chart = new PriceChart(byId("chart") as unknown as SVGSVGElement);
  const rows = new Map<string, Row>();
  const rowOf = (key: string, symbol: string): Row => {
    let row = rows.get(key);
    if (row === undefined) rows.set(key, (row = addRow(symbol, chart.colourOf(symbol))));
    return row;
  };
  const drop = (key: string) => {
    rows.get(key)?.item.remove();
    rows.delete(key);
    byId("no-prices").hidden = rows.size > 0;
  };
  const show = (entry: { data: unknown } | undefined, key: string) => {
    const quote = quoteOf(entry?.data);
    if (quote) rowOf(key, quote.symbol).price.textContent = quote.price.toFixed(2);
    else drop(key);
  };
  const draw = (message: Message, missed: boolean) => {
    const quote = quoteOf(message.data);
    if (!quote) return;
    const { key = quote.symbol } = message;
    const change = chart.add(quote.symbol, { time: message.sentAt, price: quote.price, missed });
    // The stack may keep no state for the room.
    if (!room.state.isReady) show(message, key);
    // A price of the past may be gone by now.
    const row = rows.get(key);
    if (row) row.change.textContent = `${change > 0 ? "▲" : change < 0 ? "▼" : "■"} ${Math.abs(change).toFixed(2)} %`;
  };
  const room = client.room(ROOM);
  room.state.on("snapshot", (entries) => {
    for (const key of [...rows.keys()]) if (!entries.has(key)) drop(key);
    entries.forEach(show);
  });
  room.state.on("change", ({ key, entry }) => show(entry, key));
  let early: Message[] | undefined = [];
  room.on("message", (message) => (early ? early.push(message) : draw(message, message.recovered)));
  const { seq } = await room.join({ state: true });
  status.follow(room, "prices-seq");
  if (seq > 0)
    for (const message of (await room.history({ limit: 100, before: seq + 1 })).messages) draw(message, false);
  for (const message of early) draw(message, message.recovered);
  early = undefined;
}

function quoteOf(data: unknown): { symbol: string; price: number } | undefined {
  const { symbol, price } = (data ?? {}) as { symbol?: unknown; price?: unknown };
  return typeof symbol === "string" && typeof price === "number" && Number.isFinite(price)
    ? { symbol, price }
    : undefined;
}

function addRow(symbol: string, colour: number): Row {
  byId("no-prices").hidden = true;
  const item = create("li");
  const price = create("span", "price");
  const change = create("span", "change");
  item.append(create("span", `swatch series-${colour}`), create("span", "symbol", symbol), price, change);
  byId<"ul">("legend").append(item);
  return { item, price, change };
}
