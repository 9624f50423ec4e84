/** A stage as boxes and lines: what is laid out, and then drawn, of it. */
import { count } from "./dom";
import { title, type GraphData, type Node, type Stage, type Value } from "./data";
import type { Placed, Tree } from "./layout";

export interface Box {
  id: string; // the same in all stages
  node: Node | null; // null: an input, constant or output
  value: Value | null;
  label: string;
  detail: string;
  family: string;
  open: boolean;
  depth: number;
  x: number; // of the middle, as y
  y: number;
  width: number;
  height: number;
  row: number; // the rank in its graph
  reads: Line[];
  readers: Line[];
}

/** From box to box; without points it is a stub. */
export interface Line { from: Box; to: Box; points: Float32Array | null; type: string }

interface Slice { boxes: Set<Box>; lines: Set<Line> }

interface Part { tree: Tree; boxes: Box[]; lines: Line[]; inner: Map<number, Part[]> }

const WIDEST = 240;
const HEIGHT = 40;
const SLICE = 600; // height of the slices by which boxes and lines are found

export class Scene {
  readonly boxes: Box[] = [];
  readonly lines: Line[] = [];
  readonly byId = new Map<string, Box>();
  complete = false;
  left = 0;
  top = 0;
  right = 0;
  bottom = 0;
  private readonly root: Part;
  private slices = new Map<number, Slice>();

  /** `expanded` has the keys of the nodes whose regions are open. */
  constructor(readonly stage: Stage, expanded: ReadonlySet<number>, private readonly measure: (text: string) => number) {
    this.root = this.part(stage.graph, expanded, 0, "");
  }

  get tree(): Tree {
    return this.root.tree;
  }

  private part(graph: GraphData, expanded: ReadonlySet<number>, depth: number, path: string): Part {
    const values = this.stage.values.get(graph)!;
    const boxes: Box[] = [];
    const inner = new Map<number, Part[]>();
    const at = new Map<Value, number>();
    const box = (id: string, node: Node | null, value: Value | null, label: string, detail: string, family: string): void => {
      const margin = node ? 28 : 40; // round ends take room
      const width = Math.min(WIDEST, Math.max(64, this.measure(label) + margin, this.measure(detail) * 0.92 + margin));
      const open = node !== null && expanded.has(node.key) && node.regions.length > 0;
      boxes.push({
        id, node, value, label, detail, family, open, depth, x: NaN, y: NaN, width, height: HEIGHT, row: 0, reads: [], readers: [],
      });
    };
    const used = new Set(graph.nodes.flatMap((n) => n[2]).concat(graph.outputs));
    const leaves = graph.inputs.length + graph.constants.length;
    values.slice(0, leaves).forEach((value) => {
      if (!used.has(value.number)) return;
      at.set(value, boxes.length);
      const family = value.number < graph.inputs.length ? "input" : "constant";
      box(`${path}${family}:${value.name}`, null, value, value.name, value.type.text, family);
    });
    const first = boxes.length;
    for (const [, key] of graph.nodes) {
      const node = this.stage.nodes.get(key)!;
      for (const value of node.results) at.set(value, boxes.length);
      const inside = node.regions.reduce((sum, [, g]) => sum + g.nodes.length, 0);
      const types = node.results.length === 1 ? node.results[0].type.text : count(node.results.length, "result");
      const region = node.regions.length ? ` · ${count(inside, "node")}` : "";
      if (expanded.has(key)) {
        inner.set(boxes.length, node.regions.map(([, g], k) => this.part(g, expanded, depth + 1, `${key}.${k}/`)));
      }
      box(`node:${key}`, node, null, title(node), types + region, node.record.family);
    }
    graph.outputs.forEach((number, k) => {
      box(`${path}output:${k}`, null, values[number], graph.outputs.length > 1 ? `result ${k}` : "result", values[number].type.text, "output");
    });
    const pairs = new Map<string, [number, number, string]>();
    const join = (value: Value, to: number): void => {
      const from = at.get(value);
      if (from !== undefined) pairs.set(`${from},${to}`, [from, to, value.type.text]);
    };
    graph.nodes.forEach(([, key], k) => this.stage.nodes.get(key)!.operands.forEach((value) => join(value, first + k)));
    graph.outputs.forEach((number, k) => join(values[number], first + graph.nodes.length + k));
    const lines = [...pairs.values()].map(([from, to, type]): Line => ({ from: boxes[from], to: boxes[to], points: null, type }));
    for (const line of lines) {
      line.from.readers.push(line);
      line.to.reads.push(line);
    }
    const tree: Tree = {
      sizes: boxes.map((b) => [b.width, b.height]),
      edges: [...pairs.values()].map(([from, to]) => [from, to]),
      leaves: first,
      inner: [...inner].map(([v, parts]) => [v, parts.map((p) => p.tree)]),
    };
    return { tree, boxes, lines, inner };
  }

  /** Take over what the layout has found so far. */
  arrange(placed: Placed): void {
    this.complete = placed.done;
    this.boxes.length = this.lines.length = 0;
    this.byId.clear();
    this.slices = new Map();
    [this.left, this.right, this.top, this.bottom] = [Infinity, -Infinity, Infinity, -Infinity];
    this.adopt(this.root, placed, 0, 0);
    if (this.left > this.right) [this.left, this.right, this.top, this.bottom] = [0, 0, 0, 0];
    for (const box of this.boxes) this.slice(box.y - box.height / 2, box.y + box.height / 2, (s) => s.boxes.add(box));
    for (const line of this.lines) {
      const { from, to, points } = line;
      if (points) this.slice(points[1], points[points.length - 1], (s) => s.lines.add(line));
      else {
        this.slice(from.y, from.y + HEIGHT, (s) => s.lines.add(line));
        this.slice(to.y - HEIGHT, to.y, (s) => s.lines.add(line));
      }
    }
  }

  private adopt(part: Part, placed: Placed, dx: number, dy: number): void {
    part.boxes.forEach((box, k) => {
      const [x, y, width, height] = placed.boxes.subarray(4 * k, 4 * k + 4);
      if (Number.isNaN(x)) return;
      Object.assign(box, { x: x + dx, y: y + dy, width, height, row: placed.ranks[k] });
      this.boxes.push(box);
      this.byId.set(box.id, box);
      this.left = Math.min(this.left, box.x - width / 2);
      this.right = Math.max(this.right, box.x + width / 2);
      this.top = Math.min(this.top, box.y - height / 2);
      this.bottom = Math.max(this.bottom, box.y + height / 2);
    });
    part.lines.forEach((line, k) => {
      if (Number.isNaN(line.from.x) || Number.isNaN(line.to.x)) return;
      line.points = placed.paths[k]?.map((c, i) => c + (i % 2 ? dy : dx)) ?? null;
      this.lines.push(line);
    });
    for (const [v, graphs] of placed.inner) {
      const box = part.boxes[v];
      if (!Number.isNaN(box.x)) part.inner.get(v)!.forEach((p, k) => this.adopt(p, graphs[k], box.x, box.y));
    }
  }

  private slice(top: number, bottom: number, add: (slice: Slice) => void): void {
    for (let k = Math.floor(top / SLICE); k <= Math.floor(bottom / SLICE); k++) {
      let slice = this.slices.get(k);
      if (!slice) this.slices.set(k, (slice = { boxes: new Set(), lines: new Set() }));
      add(slice);
    }
  }

  /** What may be seen between two heights. */
  between(top: number, bottom: number): { boxes: Iterable<Box>; lines: Iterable<Line> } {
    if (bottom - top > (this.bottom - this.top) / 2) return this;
    const boxes = new Set<Box>();
    const lines = new Set<Line>();
    for (let k = Math.floor(top / SLICE); k <= Math.floor(bottom / SLICE); k++) {
      for (const box of this.slices.get(k)?.boxes ?? []) boxes.add(box);
      for (const line of this.slices.get(k)?.lines ?? []) lines.add(line);
    }
    return { boxes, lines };
  }

  /** The innermost box at a place. */
  at(x: number, y: number): Box | null {
    let found: Box | null = null;
    for (const box of this.between(y, y).boxes) {
      const inside = Math.abs(box.x - x) <= box.width / 2 && Math.abs(box.y - y) <= box.height / 2;
      if (inside && (!found || box.depth > found.depth)) found = box;
    }
    return found;
  }
}
