/** The model as tgc/view/model.py writes it, and what is looked up in it. */

export interface TypeData { text: string; layout: string; bytes: number }
export interface RecordData { op: string; family: string; label: string; attrs: [string, string][]; types: number[]; loc: string[] }
export type NodeData = [record: number, lineage: number, operands: number[], kernels: string[], regions: [string, GraphData][]];
export interface GraphData {
  name: string;
  inputs: [name: string, type: number][];
  constants: [name: string, type: number, digest: string][];
  nodes: NodeData[];
  outputs: number[];
}
export interface BufferData { at: number; size: number; first: number; last: number; node: number; what: string }
export interface RowData {
  name: string; kind: string; launches: number; seconds: number; flops: number; bytes: number;
  share: number | null; loc: string[]; node: number | null;
}
export interface ProfileData { wall: number; explained: number; flops: number; bandwidth: number; rows: RowData[] }
export interface ModelData {
  name: string;
  graphs: GraphData[];
  stages: [name: string, graph: number][];
  types: TypeData[];
  records: RecordData[];
  kernels: Record<string, string>;
  arena: { bytes: number; steps: [name: string, node: number][]; buffers: BufferData[] };
  profile: ProfileData | null;
  remarks: [by: string, what: string, reason: string][];
}

/** A value: what makes it (null: an input or a constant of its graph), and its type and printed name. */
export interface Value { graph: GraphData; number: number; name: string; type: TypeData; maker: Node | null; index: number }

/** A node of a stage, at any depth; `key` is the same in all stages that have it. */
export interface Node {
  key: number;
  record: RecordData;
  graph: GraphData;
  parent: Node | null;
  operands: Value[];
  results: Value[];
  users: Node[];
  kernels: string[];
  regions: [string, GraphData][];
}

export interface Changes { added: Set<number>; changed: Set<number>; removed: Node[] }

/** A stage with what is looked up in it. */
export class Stage {
  readonly nodes: Map<number, Node>;
  readonly values: Map<GraphData, Value[]>;

  /** `known`: another stage of the same graph. */
  constructor(readonly model: ModelData, readonly name: string, readonly graph: GraphData, known?: Stage) {
    this.nodes = known?.nodes ?? new Map();
    this.values = known?.values ?? new Map();
    if (!known) this.read(graph, null);
  }

  private read(graph: GraphData, parent: Node | null): void {
    const { types, records } = this.model;
    const values: Value[] = [];
    const add = (name: string, type: number, maker: Node | null = null, index = 0): Value => {
      const value = { graph, number: values.length, name, type: types[type], maker, index };
      values.push(value);
      return value;
    };
    this.values.set(graph, values);
    for (const [name, type] of graph.inputs) add(name, type);
    for (const [name, type] of graph.constants) add(name, type);
    let number = 0;
    for (const [record, key, operands, kernels, regions] of graph.nodes) {
      const node: Node = {
        key, record: records[record], graph, parent, kernels, regions, results: [], users: [],
        operands: operands.map((k) => values[k]),
      };
      this.nodes.set(key, node);
      node.results = node.record.types.map((type, k) => add(String(number++), type, node, k));
      for (const maker of new Set(node.operands.map((v) => v.maker))) maker?.users.push(node);
      for (const [, region] of regions) this.read(region, node);
    }
  }
}

/** All stages, decoded when they are first asked for. */
export class Model {
  private readonly stages = new Map<number, Stage>();
  private readonly changed = new Map<number, Changes>();
  readonly time = new Map<number, RowData>();

  constructor(readonly data: ModelData) {
    for (const row of data.profile?.rows ?? []) if (row.node !== null) this.time.set(row.node, row);
  }

  get last(): Stage {
    return this.stage(this.data.stages.length - 1);
  }

  stage(k: number): Stage {
    let stage = this.stages.get(k);
    if (!stage) {
      const [name, graph] = this.data.stages[k];
      const known = k > 0 && this.data.stages[k - 1][1] === graph ? this.stages.get(k - 1) : undefined;
      stage = new Stage(this.data, name, this.data.graphs[graph], known);
      this.stages.set(k, stage);
    }
    return stage;
  }

  /** What pass `k` did to the stage before it. */
  changes(k: number): Changes {
    let found = this.changed.get(k);
    if (found) return found;
    found = { added: new Set(), changed: new Set(), removed: [] };
    if (k > 0 && this.data.stages[k][1] !== this.data.stages[k - 1][1]) {
      const [before, after] = [this.stage(k - 1).nodes, this.stage(k).nodes];
      for (const [key, node] of after) {
        const old = before.get(key);
        if (!old) found.added.add(key);
        else if (!same(old, node)) found.changed.add(key);
      }
      for (const [key, node] of before) if (!after.has(key)) found.removed.push(node);
    }
    this.changed.set(k, found);
    return found;
  }

  /** The node of the last stage whose kernels compute a node of any stage. */
  holder(key: number): Node | null {
    for (let node = this.last.nodes.get(key) ?? null; node; node = node.parent) if (node.kernels.length) return node;
    return null;
  }
}

/** Whether a node is what it was: the same attributes and types, of the same operands. */
function same(a: Node, b: Node): boolean {
  if (a.record !== b.record || a.operands.length !== b.operands.length) return false;
  return a.operands.every((v, k) => {
    const w = b.operands[k];
    return v.maker && w.maker ? v.maker.key === w.maker.key && v.index === w.index : v.type === w.type && !v.maker && !w.maker;
  }) || a.parent?.key !== b.parent?.key; // what has moved into a region reads the region's inputs instead
}

export function title(node: Node): string {
  return node.record.label || node.record.op;
}
