/** The panel beside the graph: the chosen node, or what the stage is and what its pass did. */
import { bytes, count, h, metric, percent, seconds } from "./dom";
import { title, type Changes, type Model, type Node, type RowData, type Stage, type Value } from "./data";
import { highlighted } from "./python";
import type { Box } from "./scene";

export interface PanelEvents {
  go(node: Node): void;
  toggle(node: Node): void;
}

const LISTED = 40;

export class Panel {
  readonly element = h("aside", { id: "panel", "aria-label": "Details", tabindex: -1 });

  private current!: Stage;

  constructor(private readonly model: Model, private readonly events: PanelEvents) {}

  show(stageNumber: number, box: Box | null): void {
    const stage = (this.current = this.model.stage(stageNumber));
    const changes = this.model.changes(stageNumber);
    if (box?.node) this.element.replaceChildren(...this.node(stage, box.node, box.open, changes));
    else if (box?.value) this.element.replaceChildren(...this.value(stage, box, box.value));
    else this.element.replaceChildren(...this.stage(stageNumber, stage, changes));
    this.element.scrollTop = 0;
  }

  // ------------------------------------------------------------------------------------------------------------ nodes

  private node(stage: Stage, node: Node, open: boolean, changes: Changes): HTMLElement[] {
    const { record } = node;
    const state = changes.added.has(node.key) ? "added" : changes.changed.has(node.key) ? "changed" : "";
    const held = this.model.holder(node.key);
    const row = held && this.model.time.get(held.key);
    const parts: (HTMLElement | null)[] = [
      h("header", {},
        h("p", { class: "kind" }, h("i", { class: `swatch ${record.family}` }), record.op === "fused" ? `${record.family} kernel` : record.family,
          state && h("em", { class: state }, `${state} by ${stage.name}`)),
        h("h2", { id: "chosen" }, title(node)),
        node.regions.length > 0 && h("button", { class: "quiet", click: () => this.events.toggle(node) }, open ? "Collapse region" : "Expand region")),
      section(node.results.length === 1 ? "Result" : "Results", ...node.results.map((v) => this.typed(v))),
      node.operands.length ? section("Operands", ...node.operands.map((v) => this.operand(v))) : null,
      node.users.length ? section("Read by", h("ul", { class: "links" }, ...this.links(node.users))) : null,
      record.loc.length ? section("Source", ...record.loc.map((l) => h("code", { class: "loc" }, l))) : null,
      record.attrs.length ? section("Attributes", pairs(record.attrs)) : null,
      node.parent ? section("Region", h("ul", { class: "links" }, ...this.links([node.parent]))) : null,
      held ? this.kernel(node, held, row ?? null) : null,
    ];
    return parts.filter((p) => p !== null);
  }

  private kernel(node: Node, held: Node, row: RowData | null): HTMLElement {
    const sources = held.kernels.filter((name, k, all) => name in this.model.data.kernels && all.indexOf(name) === k);
    return section("Kernel",
      held.key !== node.key && h("p", { class: "note" }, "Held by ", h("button", { class: "link", click: () => this.events.go(held) }, title(held)), "."),
      row && this.time(row),
      ...sources.map((name, k) =>
        h("details", { class: "source", open: k === 0 },
          h("summary", {}, h("code", {}, name)),
          h("pre", { tabindex: 0, "aria-label": `Source of ${name}` }, highlighted(this.model.data.kernels[name])))));
  }

  private time(row: RowData): HTMLElement {
    const { wall } = this.model.data.profile!;
    const gauge = (label: string, share: number, text: string): HTMLElement =>
      h("div", { class: "gauge" }, h("span", {}, label), h("meter", { min: 0, max: 1, value: Math.min(1, share), "aria-label": label }), h("b", {}, text));
    return h("div", { class: "time" },
      h("p", {}, h("strong", {}, seconds(row.seconds)), row.launches > 1 ? ` in ${count(row.launches, "launch", "launches")}` : ""),
      gauge("of the call", row.seconds / wall, percent(row.seconds / wall)),
      row.share !== null && gauge("of the roofline", row.share, percent(row.share)),
      pairs([
        ...(row.flops ? [["work", `${metric(row.flops, "FLOP")} · ${metric(row.flops / row.seconds, "FLOP/s")}`] as [string, string]] : []),
        ...(row.bytes ? [["data", `${bytes(row.bytes)} · ${metric(row.bytes / row.seconds, "B/s")}`] as [string, string]] : []),
      ]));
  }

  private typed(v: Value): HTMLElement {
    return h("div", { class: "type" }, h("code", { class: "name" }, `%${v.name}`), h("code", {}, v.type.text),
      h("span", {}, bytes(v.type.bytes), " · ", v.type.layout ? `layout ${v.type.layout}` : "row-major"));
  }

  private operand(v: Value): HTMLElement {
    const from = v.maker;
    return h("div", { class: "type" }, h("code", { class: "name" }, `%${v.name}`), h("code", {}, v.type.text),
      from ? h("button", { class: "link", click: () => this.events.go(from) }, title(from)) : h("span", {}, this.leaf(v)));
  }

  private leaf(v: Value): string {
    return v.number < v.graph.inputs.length ? "input" : "constant";
  }

  private links(nodes: readonly Node[]): HTMLElement[] {
    const items = nodes.slice(0, LISTED).map((n) =>
      h("li", {}, h("button", { class: "link", click: () => this.events.go(n) }, h("i", { class: `swatch ${n.record.family}` }), title(n)),
        h("code", {}, n.results[0]?.type.text ?? "")));
    if (nodes.length > LISTED) items.push(h("li", { class: "note" }, `and ${nodes.length - LISTED} more`));
    return items;
  }

  private value(stage: Stage, box: Box, v: Value): HTMLElement[] {
    const readers = [...stage.nodes.values()].filter((n) => n.operands.includes(v));
    return [
      h("header", {}, h("p", { class: "kind" }, h("i", { class: `swatch ${box.family}` }), box.family), h("h2", { id: "chosen" }, box.label)),
      section("Type", this.typed(v)),
      box.family === "output" && v.maker ? section("Made by", h("ul", { class: "links" }, ...this.links([v.maker]))) :
      section("Read by", readers.length ? h("ul", { class: "links" }, ...this.links(readers)) : h("p", { class: "note" }, "No node.")),
    ];
  }

  // ----------------------------------------------------------------------------------------------------------- stages

  private stage(k: number, stage: Stage, changes: Changes): HTMLElement[] {
    const nodes = [...stage.nodes.values()];
    const ops = new Map<string, Node[]>();
    for (const n of nodes) ops.set(n.record.op, [...(ops.get(n.record.op) ?? []), n]);
    const ranking = [...ops].sort((a, b) => b[1].length - a[1].length);
    const most = ranking[0]?.[1].length ?? 1;
    const name = stage.name.replace(/'+$/, "");
    const remarks = this.model.data.remarks.filter(([by]) => by === name);
    const { profile, arena } = this.model.data;
    return [
      h("header", {}, h("p", { class: "kind" }, k ? `after pass ${k} of ${this.model.data.stages.length - 1}` : "as traced"), h("h2", {}, stage.name),
        h("p", { class: "facts" }, [count(stage.graph.nodes.length, "node"),
          nodes.length > stage.graph.nodes.length ? `${count(nodes.length, "node")} with regions` : "",
          count(stage.graph.inputs.length, "input"), stage.graph.constants.length ? count(stage.graph.constants.length, "constant") : "",
          count(stage.graph.outputs.length, "result")].filter(Boolean).join(" · "))),
      k ? section("What the pass changed", ...this.changes(changes)) : null,
      remarks.length ? section("What the pass said", h("ul", { class: "remarks" },
        ...remarks.slice(0, LISTED).map(([, what, why]) => h("li", {}, h("code", {}, what), " ", why)),
        remarks.length > LISTED && h("li", { class: "note" }, `and ${remarks.length - LISTED} more`))) : null,
      section("Model", pairs([
        ["arena", bytes(arena.bytes)], ["kernels", String(Object.keys(this.model.data.kernels).length)],
        ...(profile ? [["a call", seconds(profile.wall)] as [string, string]] : []),
      ])),
      section("Ops", h("ul", { class: "histogram" }, ...ranking.map(([op, of]) =>
        h("li", {}, h("button", { class: "link", click: () => this.events.go(of[0]), title: "Go to the first one" }, op),
          h("i", { class: `bar ${of[0].record.family}`, style: `width:${(100 * of.length) / most}px` }), h("span", {}, String(of.length)))))),
    ].filter((p) => p !== null);
  }

  private changes({ added, changed, removed }: Changes): HTMLElement[] {
    if (!added.size && !changed.size && !removed.length) return [h("p", { class: "note" }, "Nothing.")];
    const stage = (keys: Set<number>): Node[] => [...keys].map((key) => this.current.nodes.get(key)!);
    const group = (kind: string, nodes: Node[], alive: boolean): HTMLElement | null => {
      if (!nodes.length) return null;
      const ops = new Map<string, Node[]>();
      for (const n of nodes) ops.set(title(n), [...(ops.get(title(n)) ?? []), n]);
      const items = [...ops].sort((a, b) => b[1].length - a[1].length).slice(0, LISTED).map(([op, of]) =>
        h("li", {}, alive ? h("button", { class: "link", click: () => this.events.go(of[0]) }, op) : h("span", {}, op), h("span", { class: "times" }, of.length > 1 ? `× ${of.length}` : "")));
      return h("details", { class: `change ${kind}`, open: nodes.length <= 200 }, h("summary", {}, `${nodes.length.toLocaleString("en")} ${kind}`), h("ul", {}, ...items));
    };
    return [group("added", stage(added), true), group("changed", stage(changed), true), group("removed", removed, false)].filter((g) => g !== null);
  }
}

function section(heading: string, ...children: (HTMLElement | string | null | false)[]): HTMLElement {
  return h("section", {}, h("h3", {}, heading), ...children);
}

function pairs(all: [string, string][]): HTMLElement {
  return h("dl", {}, ...all.flatMap(([k, v]) => [h("dt", {}, k), h("dd", {}, v)]));
}
