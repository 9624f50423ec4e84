/** The graph on its canvas: pan, zoom, choosing by pointer and keyboard, and the overview beside it. */
import { select as selection } from "d3-selection";
import { zoom, zoomIdentity, type ZoomTransform } from "d3-zoom";
import { h, sharp, soon } from "./dom";
import { colorsOf, draw, type Colors, type Look } from "./drawing";
import type { Box, Scene } from "./scene";

export interface GraphEvents {
  choose(box: Box | null): void;
  toggle(box: Box): void;
}

const LEAST = 0.02;
const MOST = 2.5;

export class GraphView {
  readonly canvas = h("canvas", {
    id: "graph", tabindex: 0, role: "application", "aria-roledescription": "graph", "aria-describedby": "graph-help",
  });
  readonly overview = h("canvas", { id: "overview", "aria-hidden": "true" });
  readonly look: Look = { selected: null, hovered: null, found: new Set(), changes: null, times: new Map() };
  private scene: Scene | null = null;
  private transform: ZoomTransform = zoomIdentity;
  private colors: Colors = {};
  private image: HTMLCanvasElement | null = null;
  private readonly zoomed = zoom<HTMLCanvasElement, unknown>()
    .scaleExtent([LEAST, MOST])
    .clickDistance(4)
    .on("zoom", ({ transform }) => {
      this.transform = transform;
      this.redraw();
    });
  readonly redraw = soon(() => this.paint());

  constructor(private readonly events: GraphEvents) {
    const { canvas } = this;
    selection(canvas).call(this.zoomed).on("dblclick.zoom", null);
    canvas.addEventListener("pointermove", (e) => this.hover(this.under(e)));
    canvas.addEventListener("pointerleave", () => this.hover(null));
    canvas.addEventListener("click", (e) => events.choose(this.under(e)));
    canvas.addEventListener("dblclick", (e) => {
      const box = this.under(e);
      if (box?.node?.regions.length) events.toggle(box);
    });
    canvas.addEventListener("keydown", (e) => this.key(e));
    this.overview.addEventListener("pointerdown", (e) => {
      this.overview.setPointerCapture(e.pointerId);
      this.jump(e);
    });
    this.overview.addEventListener("pointermove", (e) => e.buttons && this.jump(e));
    new ResizeObserver(() => this.redraw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.recolor());
  }

  recolor(): void {
    this.colors = colorsOf(this.canvas);
    this.image = null;
    this.redraw();
  }

  /** Show a scene, or what has been added to it. */
  show(scene: Scene): void {
    this.scene = scene;
    this.image = null;
    if (!this.colors.ink) this.colors = colorsOf(this.canvas);
    this.redraw();
  }

  /** The whole graph, as long as it can be read; else its beginning. */
  fit(whole = true): void {
    const { scene, canvas } = this;
    if (!scene) return;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const across = (width - 48) / Math.max(1, scene.right - scene.left);
    const down = (height - 48) / Math.max(1, scene.bottom - scene.top);
    const k = Math.max(LEAST, Math.min(1, whole ? Math.min(across, down) : Math.max(0.75, Math.min(across, down))));
    const fits = down >= k && scene.complete;
    const seen = scene.boxes.filter((b) => b.depth === 0 && b.y < scene.top + height / k).map((b) => b.x).sort((a, b) => a - b);
    const x = whole || across >= k || !seen.length ? (scene.left + scene.right) / 2 : seen[seen.length >> 1];
    this.go(zoomIdentity.translate(width / 2 - x * k, fits ? height / 2 - ((scene.top + scene.bottom) / 2) * k : 24 - scene.top * k).scale(k));
  }

  /** Bring a box to the middle, at a scale at which it can be read; `always`: even if it is in view. */
  centre(box: Box, always = true): void {
    const { canvas, transform } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const [x, y] = transform.apply([box.x, box.y]);
    const seen = x > 80 && x < width - 80 && y > 50 && y < height - 50 && box.height * transform.k < height;
    if (seen && !always && transform.k >= 0.42) return;
    const k = box.open ? Math.max(0.5, Math.min(transform.k, (height - 48) / box.height)) : Math.max(transform.k, 0.8);
    const down = Math.max(height / 2 - box.y * k, 24 - (box.y - box.height / 2) * k); // the head of what is too high
    this.go(zoomIdentity.translate(width / 2 - box.x * k, down).scale(k));
  }

  scaleBy(factor: number): void {
    selection(this.canvas).call(this.zoomed.scaleBy, factor);
  }

  private go(transform: ZoomTransform): void {
    selection(this.canvas).call(this.zoomed.transform, transform);
  }

  private under(e: MouseEvent): Box | null {
    const [x, y] = this.transform.invert([e.offsetX, e.offsetY]);
    return this.scene?.at(x, y) ?? null;
  }

  private hover(box: Box | null): void {
    if (box === this.look.hovered) return;
    this.look.hovered = box;
    this.canvas.style.cursor = box ? "pointer" : "";
    this.redraw();
  }

  private key(e: KeyboardEvent): void {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const { selected } = this.look;
    const act: Record<string, () => void> = {
      ArrowDown: () => this.step(selected?.readers.map((l) => l.to)),
      ArrowUp: () => this.step(selected?.reads.map((l) => l.from)),
      ArrowLeft: () => this.step(this.beside(-1)),
      ArrowRight: () => this.step(this.beside(1)),
      Enter: () => selected?.node?.regions.length && this.events.toggle(selected),
      " ": () => selected?.node?.regions.length && this.events.toggle(selected),
      Escape: () => this.events.choose(null),
      "+": () => this.scaleBy(1.3),
      "=": () => this.scaleBy(1.3),
      "-": () => this.scaleBy(1 / 1.3),
      f: () => this.fit(),
      "0": () => this.fit(false),
      Home: () => this.step(this.scene?.boxes.slice(0, 1)),
      End: () => this.step(this.scene?.boxes.slice(-1)),
    };
    if (!(e.key in act)) return;
    e.preventDefault();
    act[e.key]();
  }

  /** Choose the box of some that is the nearest; without a selection, the first one of all. */
  private step(boxes: Box[] | undefined): void {
    const { selected } = this.look;
    const from = selected ?? this.scene?.boxes[0];
    if (!from) return;
    if (!boxes) boxes = [from];
    const distance = (b: Box): number => Math.abs(b.x - from.x) + Math.abs(b.y - from.y) / 4;
    const next = boxes.filter((b) => !Number.isNaN(b.x)).sort((a, b) => distance(a) - distance(b))[0];
    if (!next) return;
    this.events.choose(next);
    this.centre(next, false);
  }

  private beside(side: number): Box[] | undefined {
    const { selected, scene } = this;
    if (!selected || !scene) return undefined;
    return [...scene.between(selected.y - 1, selected.y + 1).boxes].filter(
      (b) => b.depth === selected.depth && b.row === selected.row && Math.sign(b.x - selected.x) === side,
    );
  }

  private get selected(): Box | null {
    return this.look.selected;
  }

  private paint(): void {
    const { canvas, scene, transform } = this;
    if (!scene || !canvas.clientWidth) return;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    draw(sharp(canvas), scene, { k: transform.k, x: transform.x, y: transform.y, width, height }, this.look, this.colors);
    this.paintOverview();
  }

  /** Scale and offset by which the overview shows the scene. */
  private get miniature(): { k: number; x: number; y: number } {
    const { scene, overview } = this;
    const [width, height] = [overview.clientWidth - 8, overview.clientHeight - 8];
    const [w, t] = [Math.max(1, scene!.right - scene!.left), Math.max(1, scene!.bottom - scene!.top)];
    const k = Math.min(width / w, height / t);
    return { k, x: 4 + (width - w * k) / 2 - scene!.left * k, y: 4 + (height - t * k) / 2 - scene!.top * k };
  }

  private paintOverview(): void {
    const { overview, canvas, scene, transform, colors } = this;
    if (!scene || !overview.clientWidth) return;
    const context = sharp(overview);
    const [width, height] = [overview.clientWidth, overview.clientHeight];
    const mini = this.miniature;
    if (!this.image) {
      this.image = document.createElement("canvas");
      Object.assign(this.image, { width: overview.width, height: overview.height });
      const drawn = this.image.getContext("2d")!;
      drawn.setTransform(context.getTransform());
      draw(drawn, scene, { ...mini, width, height }, { ...this.look, selected: null, hovered: null }, colors);
    }
    context.clearRect(0, 0, width, height);
    context.drawImage(this.image, 0, 0, width, height);
    const [x0, y0] = transform.invert([0, 0]);
    const [x1, y1] = transform.invert([canvas.clientWidth, canvas.clientHeight]);
    const left = Math.max(1, x0 * mini.k + mini.x);
    const top = Math.max(1, y0 * mini.k + mini.y);
    const right = Math.min(width - 1, x1 * mini.k + mini.x);
    const bottom = Math.min(height - 1, y1 * mini.k + mini.y);
    context.strokeStyle = colors.accent;
    context.lineWidth = 1.5;
    context.strokeRect(left, top, Math.max(3, right - left), Math.max(3, bottom - top));
  }

  private jump(e: PointerEvent): void {
    const { k, x, y } = this.miniature;
    selection(this.canvas).call(this.zoomed.translateTo, (e.offsetX - x) / k, (e.offsetY - y) / k);
  }

  /** What was found or changed is another picture of the overview. */
  restyle(): void {
    this.image = null;
    this.redraw();
  }
}
