/** Pictures over time that have items to choose: the arena's memory by steps, the profile as a flame chart. */
import { select as selection } from "d3-selection";
import { zoom, zoomIdentity, type ZoomTransform } from "d3-zoom";
import { bytes, count, h, percent, seconds, sharp, soon } from "./dom";
import type { BufferData, Model } from "./data";
import { colorsOf, type Colors } from "./drawing";

export interface Item {
  left: number; // in 0..1, as the others
  right: number;
  top: number;
  bottom: number;
  label: string;
  tip: string[];
  key: number | null; // of its node
  family: string;
  strength: number; // of its color, 0..1
}

export interface Chart { items: Item[]; title: string; axis: [string, string]; empty: string; gap: number }

const MARGIN = { left: 12, right: 12, top: 8, bottom: 20 };

export class Timeline {
  private readonly canvas: HTMLCanvasElement;
  private readonly tip = h("div", { class: "tip", hidden: true });
  readonly element: HTMLElement;
  private transform: ZoomTransform = zoomIdentity;
  private colors: Colors = {};
  private selected: number | null = null;
  private hovered: Item | null = null;
  private readonly zoomed = zoom<HTMLCanvasElement, unknown>().scaleExtent([1, 400]).on("zoom", ({ transform }) => {
    this.transform = transform;
    this.redraw();
  });
  readonly redraw = soon(() => this.paint());

  constructor(private readonly chart: Chart, private readonly choose: (key: number) => void) {
    const label = chart.items.length ? `${chart.title}. Left and right move between items, Enter shows one in the graph.` : chart.empty;
    this.canvas = h("canvas", { tabindex: chart.items.length ? 0 : -1, role: "img", "aria-label": label });
    this.element = h("div", { class: "timeline" }, chart.items.length ? this.canvas : h("p", { class: "note" }, chart.empty), this.tip);
    selection(this.canvas).call(this.zoomed).on("dblclick.zoom", null);
    this.canvas.addEventListener("pointermove", (e) => this.hover(this.under(e), e.offsetX, e.offsetY));
    this.canvas.addEventListener("pointerleave", () => this.hover(null, 0, 0));
    this.canvas.addEventListener("click", (e) => this.take(this.under(e)));
    this.canvas.addEventListener("keydown", (e) => this.key(e));
    new ResizeObserver(() => {
      this.zoomed.extent([[0, 0], [this.canvas.clientWidth, 1]]).translateExtent([[0, 0], [this.canvas.clientWidth, 1]]);
      this.redraw();
    }).observe(this.element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.colors = {};
      this.redraw();
    });
  }

  /** Mark the items of a node. */
  mark(key: number | null): void {
    this.selected = key;
    this.redraw();
  }

  private take(item: Item | null): void {
    if (item && item.key !== null) this.choose(item.key);
  }

  private key(e: KeyboardEvent): void {
    const keyed = this.chart.items.filter((i) => i.key !== null);
    const now = keyed.findIndex((i) => i.key === this.selected);
    const by = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (by) this.take(keyed[Math.max(0, Math.min(keyed.length - 1, now + by))]);
    else if (e.key === "+" || e.key === "=") selection(this.canvas).call(this.zoomed.scaleBy, 1.5);
    else if (e.key === "-") selection(this.canvas).call(this.zoomed.scaleBy, 1 / 1.5);
    else return;
    e.preventDefault();
    e.stopPropagation();
  }

  private box(item: Item): [number, number, number, number] {
    const [width, height] = [this.canvas.clientWidth - MARGIN.left - MARGIN.right, this.canvas.clientHeight - MARGIN.top - MARGIN.bottom];
    const x = (at: number): number => this.transform.applyX(MARGIN.left + at * width);
    const [left, right] = [x(item.left), x(item.right)];
    const [top, bottom] = [MARGIN.top + item.top * height, MARGIN.top + item.bottom * height];
    return [left, top, right - left, bottom - top];
  }

  private under(e: MouseEvent): Item | null {
    const near = (item: Item): boolean => {
      const [x, y, width, height] = this.box(item);
      return e.offsetX >= x && e.offsetX <= x + Math.max(2, width) && e.offsetY >= y && e.offsetY <= y + height;
    };
    return this.chart.items.findLast(near) ?? null;
  }

  private hover(item: Item | null, x: number, y: number): void {
    this.tip.hidden = !item;
    if (item) {
      this.tip.replaceChildren(h("b", {}, item.label), ...item.tip.map((line) => h("span", {}, line)));
      const right = x > this.canvas.clientWidth - 280;
      this.tip.style.cssText = `${right ? `right:${this.canvas.clientWidth - x + 12}px` : `left:${x + 14}px`};bottom:${Math.max(4, this.canvas.clientHeight - y + 8)}px`;
    }
    this.canvas.style.cursor = item?.key != null ? "pointer" : "";
    if (item !== this.hovered) this.redraw();
    this.hovered = item;
  }

  private paint(): void {
    const { canvas, chart } = this;
    if (!canvas.clientWidth || !chart.items.length) return;
    if (!this.colors.ink) this.colors = colorsOf(canvas);
    const { colors } = this;
    const context = sharp(canvas);
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    context.clearRect(0, 0, width, height);
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    for (const item of chart.items) {
      const [x, y, w, t] = this.box(item);
      if (x > width || x + w < 0) continue;
      const wide = Math.max(w - chart.gap, 0.6);
      const chosen = item.key !== null && item.key === this.selected;
      context.globalAlpha = chosen || item === this.hovered ? 1 : 0.3 + 0.5 * item.strength;
      context.fillStyle = colors[item.family];
      context.fillRect(x, y, wide, Math.max(1, t - 1));
      context.globalAlpha = 1;
      if (chosen) {
        context.strokeStyle = colors.ink;
        context.lineWidth = 1.5;
        context.strokeRect(x, y, Math.max(2, wide), Math.max(2, t - 1));
      }
      const room = Math.min(x + w, width) - Math.max(x, 0) - 10;
      if (t >= 13 && room > 28) {
        context.fillStyle = colors.ink;
        context.save();
        context.beginPath();
        context.rect(Math.max(x, 0), y, room + 6, t);
        context.clip();
        context.fillText(item.label, Math.max(x, 0) + 5, y + t / 2);
        context.restore();
      }
    }
    context.fillStyle = colors.dim;
    const foot = height - 9;
    context.textAlign = "left";
    context.fillText(chart.axis[0], MARGIN.left, foot);
    context.textAlign = "right";
    context.fillText(chart.axis[1], width - MARGIN.right, foot);
    context.textAlign = "left";
  }
}

/** The arena: steps from left to right, bytes from the bottom up. */
export function memoryChart({ data, last }: Model): Chart {
  const { arena } = data;
  const n = Math.max(1, arena.steps.length);
  const most = arena.buffers.reduce((size, b) => Math.max(size, b.size), 1);
  const begun = Map.groupBy(arena.buffers, (b) => b.first);
  const overwritten = (b: BufferData): boolean => // by the result of the last node that reads it
    b.first < b.last && (begun.get(b.last) ?? []).some((next) => next.at < b.at + b.size && b.at < next.at + next.size);
  const items = arena.buffers.map((b): Item => {
    const node = last.nodes.get(b.node);
    return {
      left: b.first / n, right: (b.last + (overwritten(b) ? 0 : 1)) / n, top: 1 - (b.at + b.size) / arena.bytes, bottom: 1 - b.at / arena.bytes,
      label: node?.record.label || node?.record.op || b.what, key: b.node, family: node?.record.family ?? "other",
      strength: Math.sqrt(b.size / most),
      tip: [`${b.what}: ${bytes(b.size)} at byte ${b.at.toLocaleString("en")}`, `steps ${b.first} to ${b.last} of ${n - 1}`],
    };
  });
  const axis: [string, string] = ["step 0", `step ${n - 1} · ${bytes(arena.bytes)} in all`];
  return { items, title: `Memory: an arena of ${bytes(arena.bytes)}, ${count(items.length, "buffer")}`, axis, gap: 0.5, empty: "Nothing lies in the arena." };
}

/** The profile: a call, the user's lines in it, and their kernels, in the order of execution. */
export function flameChart({ data, last }: Model): Chart {
  const { profile } = data;
  const empty = "There is no profile of this model: `tgc view --profile` measures one.";
  if (!profile) return { items: [], title: "Profile", axis: ["", ""], empty, gap: 1 };
  const total = profile.rows.reduce((sum, r) => sum + r.seconds, 0) || 1;
  const items: Item[] = [{
    left: 0, right: 1, top: 0, bottom: 1 / 3, label: `${data.name} · ${seconds(profile.wall)}`, key: null, family: "other", strength: 0.2,
    tip: [`${count(profile.rows.length, "row")}, which explain ${percent(profile.explained)} of a call`,
      `limits: ${(profile.flops / 1e9).toFixed(0)} GFLOP/s, ${(profile.bandwidth / 1e9).toFixed(1)} GB/s`],
  }];
  let at = 0;
  let line: Item | null = null;
  for (const row of profile.rows) {
    const [left, right] = [at, at + row.seconds / total];
    const place = row.loc[0] ?? "";
    if (line && line.label === place) line.right = right;
    else items.push((line = { left, right, top: 1 / 3, bottom: 2 / 3, label: place, key: null, family: "other", strength: 0.1, tip: [] }));
    const node = row.node === null ? undefined : last.nodes.get(row.node);
    const tip = [`${seconds(row.seconds)}, ${percent(row.seconds / profile.wall)} of a call`];
    if (row.share !== null) tip.push(`${percent(row.share)} of the roofline`);
    if (row.launches > 1) tip.push(count(row.launches, "launch", "launches"));
    items.push({
      left, right, top: 2 / 3, bottom: 1, label: row.name, key: row.node, family: node?.record.family ?? "other", tip,
      strength: row.share === null ? 0.5 : Math.min(1, row.share),
    });
    at = right;
  }
  const lines = items.filter((i) => i.top === 1 / 3 && i.label);
  for (const item of lines) item.tip = [seconds((item.right - item.left) * total)];
  const shown = items.filter((i) => i.label);
  return { items: shown, title: `Profile: ${seconds(profile.wall)} a call`, axis: ["0", `${seconds(total)} · the stronger the color, the nearer to the roofline`], gap: 0.5, empty };
}
