import type { Message, Roomcast } from "../../src/index.js";
import { PriceChart } from "./chart.js";
import { byId, create } from "./elements.js";
import type { Status } from "./status.js";

/** The room that producers send prices to: `{symbol, price}`, with the symbol as key. */
const ROOM = "prices";

interface Entry {
  price: HTMLElement;
  change: HTMLElement;
}

/** Follows the prices: the chart, and a list with the figures. */
export async function followPrices(client: Roomcast, status: Status): Promise<void> {
  const chart = new PriceChart(byId("chart") as unknown as SVGSVGElement);
  const entries = new Map<string, Entry>();
  const show = ({ data, sentAt }: Message, missed: boolean) => {
    const { symbol, price } = (data ?? {}) as { symbol?: unknown; price?: unknown };
    if (typeof symbol !== "string" || typeof price !== "number" || !Number.isFinite(price)) return;
    byId("no-prices").hidden = true;
    const { series, change } = chart.add(symbol, { time: sentAt, price, missed });
    let entry = entries.get(symbol);
    if (entry === undefined) entries.set(symbol, (entry = addEntry(symbol, series)));
    entry.price.textContent = price.toFixed(2);
    entry.change.textContent = `${change > 0 ? "▲" : change < 0 ? "▼" : "■"} ${Math.abs(change).toFixed(2)} %`;
  };
  const room = client.room(ROOM);
  const { messages } = await room.history({ limit: 100 });
  await room.join({ after: messages.at(-1)?.seq ?? 0 });
  for (const message of messages) show(message, false);
  status.follow(room, "prices-seq");
  room.on("message", (message) => show(message, message.recovered));
}

function addEntry(symbol: string, series: number): Entry {
  const item = create("li");
  const price = create("span", "price");
  const change = create("span", "change");
  item.append(create("span", `swatch series-${series}`), create("span", "symbol", symbol), price, change);
  byId<"ul">("legend").append(item);
  return { price, change };
}
