/**
 * Layered layout, fast enough for thousands of nodes: ranks by longest paths; then bands of ranks, one after the other
 * from the top, each ordered and placed by dagre together with the last rank of the band above, whose order it keeps.
 * Edges over many ranks take no part: they are drawn as stubs, and in full where they are looked at.
 */
import * as dagre from "@dagrejs/dagre";

/** A graph as it is to be laid out; `inner` has the graphs inside of expanded vertices. */
export interface Tree {
  sizes: [width: number, height: number][];
  edges: [from: number, to: number][];
  leaves: number; // vertices before this one read nothing; they go right above their first reader
  inner: [vertex: number, graphs: Tree[]][];
}

/** Centres and sizes by vertex, in turns; points by edge, null where it is a stub. NaN where nothing is known yet. */
export interface Placed {
  boxes: Float32Array;
  ranks: Int32Array;
  paths: (Float32Array | null)[];
  inner: [vertex: number, graphs: Placed[]][];
  width: number;
  height: number;
  done: boolean;
}

export const HEADER = 26; // of an expanded region
const PADDING = 14;
const GAP = 18; // between neighbours
const ROW = 34; // between ranks
const LONG = 5; // ranks that an edge may span in the layout
const WIDE = 14; // vertices of a rank, inputs and constants not counted
const DRIFT = 300; // of the middle of a band
const BAND = 45; // vertices that are laid out at once
const SWEEPS = 4; // down and up
const MOST = 400; // of them, where a single rank has as many

export function place(tree: Tree, report: (placed: Placed) => void = () => {}): Placed {
  const sizes = tree.sizes.map((size) => [...size] as [number, number]);
  const inner = tree.inner.map(([vertex, graphs]): [number, Placed[]] => {
    const placed = graphs.map((graph) => centred(place(graph)));
    const width = placed.reduce((sum, p) => sum + p.width, 0) + GAP * (placed.length - 1) + 2 * PADDING;
    const height = Math.max(...placed.map((p) => p.height)) + HEADER + 2 * PADDING;
    sizes[vertex] = [Math.max(width, sizes[vertex][0]), height];
    let x = -width / 2 + PADDING;
    for (const p of placed) {
      shift(p, x + p.width / 2, HEADER + PADDING - height / 2);
      x += p.width + GAP;
    }
    return [vertex, placed];
  });
  const ranks = ranked(tree);
  const boxes = new Float32Array(4 * sizes.length).fill(NaN);
  const result: Placed = { boxes, ranks, paths: tree.edges.map(() => null), inner, width: 0, height: 0, done: false };
  const rows: number[][] = [];
  ranks.forEach((rank, v) => (rows[rank] ??= []).push(v));
  const middles: number[] = [];
  let y = 0;
  rows.forEach((row, rank) => {
    const height = Math.max(...row.map((v) => sizes[v][1]));
    middles[rank] = y + height / 2;
    y += height + ROW;
  });
  const byTarget: number[][] = sizes.map(() => []);
  tree.edges.forEach(([, to], e) => byTarget[to].push(e));
  for (let first = 0; first < rows.length; ) {
    let last = first;
    let n = rows[first].length;
    while (last + 1 < rows.length && n + rows[last + 1].length <= BAND) n += rows[++last].length;
    const above = first > 0 && rows[first - 1].length <= MOST ? rows[first - 1] : [];
    const band = rows.slice(first, last + 1).flat();
    const edges = band.flatMap((v) => byTarget[v]);
    if (n > MOST) inOneRow(band, sizes, edges, tree, boxes, middles[first]);
    else placeBand(above, band, sizes, edges, tree, ranks, result, middles);
    first = last + 1;
    if (first < rows.length) report(result);
  }
  result.done = true;
  return result;
}

/**
 * Ranks: as early as possible, but no more than `WIDE` in one (list scheduling, as Coffman and Graham layer graphs); then
 * nearer to the readers where more is read than made.
 */
function ranked({ sizes, edges, leaves }: Tree): Int32Array {
  const n = sizes.length;
  const ranks = new Int32Array(n);
  const reads: number[][] = Array.from({ length: n }, () => []);
  const readers: number[][] = Array.from({ length: n }, () => []);
  for (const [from, to] of edges) {
    reads[to].push(from);
    readers[from].push(to);
  }
  const held: number[] = [];
  const free: number[] = []; // rank -> a rank from it on that has room
  const roomy = (rank: number): number => {
    while ((held[rank] ?? 0) >= WIDE) rank = free[rank] = Math.max(free[rank] ?? 0, rank + 1);
    return rank;
  };
  const put = (v: number, rank: number): void => {
    ranks[v] = rank;
    held[rank] = (held[rank] ?? 0) + 1;
  };
  for (let v = leaves; v < n; v++) put(v, roomy(Math.max(0, ...reads[v].map((u) => (u < leaves ? 1 : ranks[u] + 1)))));
  for (let v = n - 1; v >= 0; v--) {
    if (!readers[v].length) continue;
    const latest = Math.min(...readers[v].map((u) => ranks[u])) - 1;
    if (v < leaves) ranks[v] = Math.max(0, latest);
    else if (latest > ranks[v] && (held[latest] ?? 0) < WIDE && reads[v].filter((u) => u >= leaves).length < readers[v].length) {
      held[ranks[v]]--;
      put(v, latest);
    }
  }
  const used = [...new Set(ranks)].sort((a, b) => a - b);
  const dense = new Map(used.map((rank, k) => [rank, k]));
  return ranks.map((rank) => dense.get(rank)!);
}

function placeBand(
  above: number[], band: number[], sizes: [number, number][], edges: number[], tree: Tree, ranks: Int32Array,
  result: Placed, middles: number[],
): void {
  const { boxes, paths } = result;
  const graph = new dagre.graphlib.Graph();
  graph.setGraph({ nodesep: GAP, edgesep: 10, ranksep: ROW, ranker: assign as unknown as string });
  const known = [...above].sort((a, b) => boxes[4 * a] - boxes[4 * b]);
  const members = new Set([...known, ...band]);
  const top = known.length ? ranks[known[0]] : ranks[band[0]];
  function assign(g: dagre.graphlib.Graph): void { // dagre wants a rank for labels between any two
    for (const name of g.nodes()) g.node(name).rank = members.has(+name) ? 2 * (ranks[+name] - top) : 0;
  }
  for (const v of members) graph.setNode(String(v), { width: sizes[v][0], height: sizes[v][1] });
  const inside = edges.filter((e) => {
    const [from, to] = tree.edges[e];
    return members.has(from) && ranks[to] - ranks[from] <= LONG;
  });
  for (const e of inside) graph.setEdge(String(tree.edges[e][0]), String(tree.edges[e][1]), {});
  dagre.layout(graph, { customOrder: (g) => order(g, known.map(String)) });
  const shifts = known.map((v) => boxes[4 * v] - graph.node(String(v)).x).sort((a, b) => a - b);
  const middle = (graph.graph().width ?? 0) / 2;
  const wish = shifts.length ? shifts[shifts.length >> 1] + middle : 0;
  const dx = Math.max(-DRIFT, Math.min(DRIFT, wish)) - middle;
  const reference = known[0] ?? band.find((v) => ranks[v] === top)!;
  const dy = middles[top] - graph.node(String(reference)).y;
  for (const v of band) {
    const { x } = graph.node(String(v));
    boxes.set([x + dx, middles[ranks[v]], ...sizes[v]], 4 * v);
  }
  for (const e of inside) {
    const [from, to] = tree.edges[e];
    const near = ranks[to] - ranks[from] === 1;
    const between = near ? [] : graph.edge(String(from), String(to)).points.slice(1, -1);
    paths[e] = path(boxes, from, to, between.flatMap((p: { x: number; y: number }) => [p.x + dx, p.y + dy]));
  }
  for (const e of edges) {
    const [from, to] = tree.edges[e];
    if (!members.has(from) && ranks[to] - ranks[from] <= LONG) paths[e] = path(boxes, from, to, []);
  }
}

/**
 * Orders within ranks by sweeps of barycentres (Sugiyama, Tagawa and Toda, 1981), the first rank as it is given. Dagre's
 * own ordering builds a graph for each rank, which takes half of its time.
 */
function order(graph: dagre.graphlib.Graph, first: string[]): void {
  const ranks: string[][] = [];
  for (const v of graph.nodes()) (ranks[graph.node(v).rank] ??= []).push(v);
  if (first.length) ranks[0] = first;
  const at = new Map<string, number>();
  for (const rank of ranks) rank?.forEach((v, k) => at.set(v, k));
  const sort = (rank: string[] | undefined, near: (v: string) => string[] | void): void => {
    if (!rank) return;
    const wish = new Map(rank.map((v) => {
      const others = near(v) ?? [];
      return [v, others.length ? others.reduce((sum, u) => sum + at.get(u)!, 0) / others.length : at.get(v)!];
    }));
    rank.sort((a, b) => wish.get(a)! - wish.get(b)!);
    rank.forEach((v, k) => at.set(v, k));
  };
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    for (let r = 1; r < ranks.length; r++) sort(ranks[r], (v) => graph.predecessors(v));
    if (sweep === SWEEPS - 1) break;
    for (let r = ranks.length - 2; r >= (first.length ? 1 : 0); r--) sort(ranks[r], (v) => graph.successors(v));
  }
  for (const [v, k] of at) graph.node(v).order = k;
}

/** A rank of very many vertices: below the mean of what they read. */
function inOneRow(band: number[], sizes: [number, number][], edges: number[], tree: Tree, boxes: Float32Array, y: number): void {
  const sums = new Map<number, [number, number]>();
  for (const e of edges) {
    const [from, to] = tree.edges[e];
    const [sum, n] = sums.get(to) ?? [0, 0];
    sums.set(to, [sum + boxes[4 * from], n + 1]);
  }
  const wish = (v: number): number => (sums.has(v) ? sums.get(v)![0] / sums.get(v)![1] : 0);
  let x = -band.reduce((sum, v) => sum + sizes[v][0] + GAP, -GAP) / 2;
  for (const v of [...band].sort((a, b) => wish(a) - wish(b))) {
    boxes.set([x + sizes[v][0] / 2, y, ...sizes[v]], 4 * v);
    x += sizes[v][0] + GAP;
  }
}

/** From the foot of one box to the head of another. */
export function path(boxes: Float32Array, from: number, to: number, between: number[]): Float32Array {
  const start = [boxes[4 * from], boxes[4 * from + 1] + boxes[4 * from + 3] / 2];
  const end = [boxes[4 * to], boxes[4 * to + 1] - boxes[4 * to + 3] / 2];
  return Float32Array.of(...start, ...between, ...end);
}

/** The middle of its width, and its top, at 0. */
function centred(result: Placed): Placed {
  let [left, right, bottom] = [Infinity, -Infinity, 0];
  const { boxes } = result;
  for (let k = 0; k < boxes.length; k += 4) {
    left = Math.min(left, boxes[k] - boxes[k + 2] / 2);
    right = Math.max(right, boxes[k] + boxes[k + 2] / 2);
    bottom = Math.max(bottom, boxes[k + 1] + boxes[k + 3] / 2);
  }
  if (left > right) [left, right] = [0, 0];
  shift(result, -(left + right) / 2, 0);
  return Object.assign(result, { width: right - left, height: bottom });
}

function shift(placed: Placed, dx: number, dy: number): void {
  for (let k = 0; k < placed.boxes.length; k += 4) {
    placed.boxes[k] += dx;
    placed.boxes[k + 1] += dy;
  }
  for (const points of placed.paths) {
    for (let k = 0; points && k < points.length; k += 2) {
      points[k] += dx;
      points[k + 1] += dy;
    }
  }
}
