const SVG = "http://www.w3.org/2000/svg";
/** Length of the past that is shown, in milliseconds. */
const SPAN = 60_000;
/** Colours that the style sheet has. */
const COLOURS = 6;
/** Room for the labels around the plot, in pixels. */
const MARGIN = { left: 58, right: 12, top: 12, bottom: 34 };
/** A plot narrower than this has fewer labels. */
const NARROW = 420;
const NICE_STEPS = [0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 2.5, 5, 10, 20, 25, 50, 100];

export interface Point {
  /** Unix milliseconds. */
  time: number;
  price: number;
  /** True if the price came late, from the log. */
  missed: boolean;
}

/** The plot's bounds, in pixels. */
interface Plot {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

interface Series {
  points: Point[];
  line: SVGPathElement;
  rings: SVGGElement;
}

/** A chart with a line for each symbol: its change, in percent, since the chart's beginning. */
export class PriceChart {
  readonly #series = new Map<string, Series>();
  readonly #axes: SVGGElement;
  readonly #svg: SVGSVGElement;
  #drawing = false;

  constructor(svg: SVGSVGElement) {
    this.#svg = svg;
    this.#axes = this.#add("g", {});
    new ResizeObserver(() => this.#draw()).observe(svg);
  }

  /** The number of the symbol's colour. */
  colourOf(symbol: string): number {
    this.#of(symbol);
    return [...this.#series.keys()].indexOf(symbol) % COLOURS;
  }

  /** Adds a point. Returns the symbol's change in percent. */
  add(symbol: string, point: Point): number {
    const { points } = this.#of(symbol);
    points.push(point);
    const first = points.findIndex(({ time }) => time >= point.time - SPAN);
    points.splice(0, first);
    this.#draw();
    return changeOf(points, point);
  }

  #of(symbol: string): Series {
    let series = this.#series.get(symbol);
    if (series === undefined) {
      const colour = `series-${this.#series.size % COLOURS}`;
      series = {
        points: [],
        line: this.#add("path", { class: `line ${colour}` }),
        rings: this.#add("g", { class: colour }),
      };
      this.#series.set(symbol, series);
    }
    return series;
  }

  /** Draws at the next frame, once however many points come before it. */
  #draw(): void {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      this.#drawNow();
    });
  }

  #drawNow(): void {
    const { clientWidth: width, clientHeight: height } = this.#svg;
    const all = [...this.#series.values()];
    if (all.length === 0 || width === 0) return;
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const plot = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
    const end = Math.max(...all.map(({ points }) => points.at(-1)?.time ?? 0));
    const changes = all.flatMap(({ points }) => points.map((point) => changeOf(points, point)));
    const { low, high, step } = scaleOf(Math.min(...changes, 0), Math.max(...changes, 0));
    const x = (time: number) => plot.right - ((end - time) / SPAN) * (plot.right - plot.left);
    const y = (change: number) => plot.bottom - ((change - low) / (high - low)) * (plot.bottom - plot.top);
    this.#axes.replaceChildren(...this.#changeAxis(plot, low, high, step, y), ...this.#timeAxis(plot));
    for (const { points, line, rings } of all) {
      const shown = points.filter(({ time }) => time >= end - SPAN);
      const places = shown.map((point) => ({ ...point, x: x(point.time), y: y(changeOf(points, point)) }));
      line.setAttribute(
        "d",
        places.map((place, n) => `${n === 0 ? "M" : "L"}${place.x.toFixed(1)} ${place.y.toFixed(1)}`).join(""),
      );
      const missed = places.filter((place) => place.missed);
      rings.replaceChildren(
        ...missed.map((place) => this.#make("circle", { class: "missed", cx: place.x, cy: place.y, r: 3.2 })),
      );
    }
  }

  #changeAxis(plot: Plot, low: number, high: number, step: number, y: (change: number) => number): SVGElement[] {
    const parts: SVGElement[] = [];
    for (let n = Math.round(low / step); n <= Math.round(high / step); n++) {
      const change = n * step;
      const at = y(change);
      parts.push(
        this.#make("line", { class: n === 0 ? "zero" : "grid", x1: plot.left, x2: plot.right, y1: at, y2: at }),
      );
      const label = this.#make("text", { x: plot.left - 8, y: at + 4, "text-anchor": "end" });
      const sign = change > 0 ? "+" : change < 0 ? "−" : "";
      label.textContent = `${sign}${Math.abs(change).toFixed(step < 0.1 ? 2 : step < 1 ? 1 : 0)} %`;
      parts.push(label);
    }
    return parts;
  }

  #timeAxis(plot: Plot): SVGElement[] {
    const marks = plot.right - plot.left < NARROW ? [60, 30, 0] : [60, 45, 30, 15, 0];
    return marks.map((seconds) => {
      const at = plot.right - (seconds / 60) * (plot.right - plot.left);
      const anchor = seconds === 0 ? "end" : seconds === 60 ? "start" : "middle";
      const label = this.#make("text", { x: at, y: plot.bottom + 24, "text-anchor": anchor });
      label.textContent = seconds === 0 ? "now" : `−${seconds} s`;
      return label;
    });
  }

  #add<K extends keyof SVGElementTagNameMap>(
    tag: K,
    attributes: Record<string, string | number>,
  ): SVGElementTagNameMap[K] {
    const element = this.#make(tag, attributes);
    this.#svg.append(element);
    return element;
  }

  #make<K extends keyof SVGElementTagNameMap>(
    tag: K,
    attributes: Record<string, string | number>,
  ): SVGElementTagNameMap[K] {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
    return element;
  }
}

/** A point's change in percent since the first one. */
function changeOf(points: readonly Point[], point: Point): number {
  const base = points[0]?.price ?? point.price;
  return base === 0 ? 0 : (point.price / base - 1) * 100;
}

/** Bounds around the values on round numbers, and the distance of lines that makes four to six of them. */
function scaleOf(lowest: number, highest: number): { low: number; high: number; step: number } {
  const range = Math.max(highest - lowest, 0.2);
  const step = NICE_STEPS.find((candidate) => range / candidate <= 5) ?? range / 5;
  return {
    low: Math.floor(lowest / step) * step,
    high: Math.ceil(Math.max(highest, lowest + range) / step) * step,
    step,
  };
}
