/** The explorer: puts the parts together and keeps what is shown. */
import workerSource from "worker-source";
import { Model, title, type ModelData, type Node } from "./data";
import { count, h, seconds } from "./dom";
import { LABEL } from "./drawing";
import { GraphView } from "./graph";
import { help } from "./help";
import type { Placed } from "./layout";
import { Panel } from "./panel";
import { Passes } from "./passes";
import { Scene, type Box } from "./scene";
import { Search } from "./search";
import style from "./style.css";
import { flameChart, memoryChart, Timeline } from "./timeline";

const model = new Model(JSON.parse(document.getElementById("model")!.textContent!) as ModelData);
document.head.append(h("style", {}, style));

const measuring = document.createElement("canvas").getContext("2d")!;
measuring.font = LABEL;
const widths = new Map<string, number>();
function measure(text: string): number {
  let width = widths.get(text);
  if (width === undefined) widths.set(text, (width = measuring.measureText(text).width));
  return width;
}

const worker = new Worker(URL.createObjectURL(new Blob([workerSource], { type: "text/javascript" })));
const expanded = new Set<number>();
let stageNumber = 0;
let chosen: string | null = null;
let request = 0;
let scene: Scene;

// -------------------------------------------------------------------------------------------------------------- parts

const graph = new GraphView({ choose, toggle: (box) => box.node && toggle(box.node) });
const panel = new Panel(model, { go, toggle });
const passes = new Passes(model, (k) => show(k));
const search = new Search(
  () => model.stage(stageNumber),
  (hit) => {
    graph.canvas.focus();
    if (hit.key === null) reach(hit.id);
    else go(model.stage(stageNumber).nodes.get(hit.key)!);
  },
  (hits) => {
    graph.look.found = new Set(hits.map((hit) => hit.id));
    graph.restyle();
  },
);
const charts = {
  memory: new Timeline(memoryChart(model), (key) => inLast(key)),
  profile: new Timeline(flameChart(model), (key) => inLast(key)),
};
const status = h("p", { id: "status", role: "status", "aria-live": "polite" });
const dialog = help();
for (const [key, row] of model.time) graph.look.times.set(key, seconds(row.seconds));

const tabs = (Object.keys(charts) as (keyof typeof charts)[]).map((name) =>
  h("button", { role: "tab", id: `tab-${name}`, "aria-controls": `chart-${name}`, click: () => dock(name, true), keydown: turn }, name[0].toUpperCase() + name.slice(1)));
const sheets = Object.entries(charts).map(([name, chart]) => {
  chart.element.id = `chart-${name}`;
  chart.element.setAttribute("role", "tabpanel");
  chart.element.setAttribute("aria-labelledby", `tab-${name}`);
  return chart.element;
});
const fold = h("button", { class: "quiet", "aria-label": "Hide or show the charts", title: "Hide or show the charts  m", click: () => dock(null) }, "▾");
const bottom = h("section", { id: "dock", "aria-label": "Memory and profile" },
  h("div", { class: "tabs" }, h("div", { role: "tablist", "aria-label": "Charts" }, ...tabs), fold), ...sheets);
const tool = (label: string, key: string, sign: string, act: () => void): HTMLElement =>
  h("button", { "aria-label": label, title: `${label}  ${key}`, "aria-keyshortcuts": key, click: act }, sign);

document.body.append(
  h("a", { class: "skip", href: "#graph" }, "Skip to the graph"),
  h("header", { id: "top" },
    h("h1", {}, h("span", { class: "mark" }, "tgc"), h("span", {}, model.data.name)),
    passes.element, search.element,
    h("button", { class: "quiet", id: "help-button", "aria-label": "Help", title: "Help  ?", "aria-keyshortcuts": "?", click: () => dialog.showModal() }, "?")),
  h("main", {},
    h("div", { id: "stage-area" },
      graph.canvas,
      h("p", { id: "graph-help", hidden: true }, "Arrow keys move along edges and between neighbours, Enter opens a region, plus and minus zoom, f fits."),
      graph.overview,
      h("div", { class: "tools", role: "toolbar", "aria-label": "View" },
        tool("Zoom in", "+", "+", () => graph.scaleBy(1.4)), tool("Zoom out", "-", "−", () => graph.scaleBy(1 / 1.4)),
        tool("Fit the graph", "f", "⤢", () => graph.fit()),
        tool("Expand all regions", "e", "⊞", () => expandAll(true)), tool("Collapse all regions", "c", "⊟", () => expandAll(false))),
      status),
    panel.element),
  bottom, dialog);

// ------------------------------------------------------------------------------------------------------------ actions

/** Lay the stage out and draw it as it comes; `then` is called once it is all there. */
function layOut(then: (scene: Scene) => void, early?: (scene: Scene) => void): void {
  const next = new Scene(model.stage(stageNumber), expanded, measure);
  const id = ++request;
  let begun = false;
  document.body.setAttribute("aria-busy", "true");
  worker.onmessage = ({ data }: MessageEvent<{ id: number; placed: Placed }>) => {
    if (data.id !== request) return;
    scene = next;
    scene.arrange(data.placed);
    graph.look.selected = chosen === null ? null : scene.byId.get(chosen) ?? null;
    graph.show(scene);
    if (!begun) {
      early?.(scene);
      requestAnimationFrame(() => performance.mark("drawn"));
    }
    begun = true;
    if (!data.placed.done) return;
    performance.mark("laid-out");
    document.body.setAttribute("aria-busy", "false");
    then(scene);
  };
  worker.postMessage({ id, tree: next.tree });
}

/** Go to a stage; the chosen node stays chosen if the stage has it, and where it was if it can. */
function show(k: number, then?: () => void): void {
  const first = scene === undefined;
  stageNumber = k;
  const stage = model.stage(k);
  const changes = k ? model.changes(k) : null;
  graph.look.changes = changes;
  graph.canvas.setAttribute("aria-label", `Graph after ${stage.name}, ${count(stage.graph.nodes.length, "node")}`);
  passes.show(k);
  search.update();
  if (!first) panel.show(k, null);
  layOut((s) => {
    const box = chosen === null ? null : s.byId.get(chosen) ?? null;
    if (chosen !== null && !box) chosen = null;
    panel.show(k, box);
    mark();
    if (then) then();
    else if (box) graph.centre(box, false);
    if (first) passes.survey();
  }, (s) => (chosen !== null && s.byId.has(chosen)) || graph.fit(false));
  say(`${stage.name}: ${count(stage.graph.nodes.length, "node")}`);
}

function choose(box: Box | null): void {
  chosen = box?.id ?? null;
  graph.look.selected = box;
  panel.show(stageNumber, box);
  mark();
  graph.redraw();
  if (box) say(`${box.label}, ${box.detail}, reads ${box.reads.length}, read by ${box.readers.length}`);
}

/** The charts show the kernel of what is chosen. */
function mark(): void {
  const key = graph.look.selected?.node?.key;
  const holder = key === undefined ? null : model.holder(key);
  for (const chart of Object.values(charts)) chart.mark(holder?.key ?? null);
}

/** Choose a node, the regions around it opened. */
function go(node: Node): void {
  const stage = model.stage(stageNumber);
  const here = stage.nodes.get(node.key);
  if (!here) return inLast(node.key);
  let opened = false;
  for (let around = here.parent; around; around = around.parent) {
    opened ||= !expanded.has(around.key);
    expanded.add(around.key);
  }
  const id = `node:${node.key}`;
  if (opened) layOut(() => reach(id));
  else reach(id);
}

function reach(id: string): void {
  const box = scene.byId.get(id);
  if (!box) return;
  choose(box);
  graph.centre(box, false);
}

/** Choose a node of the last stage. */
function inLast(key: number): void {
  const last = model.data.stages.length - 1;
  const act = (): void => go(model.stage(last).nodes.get(key)!);
  if (stageNumber === last) act();
  else show(last, act);
}

function toggle(node: Node): void {
  if (!expanded.delete(node.key)) expanded.add(node.key);
  layOut((s) => {
    const box = s.byId.get(`node:${node.key}`);
    if (box) {
      choose(box);
      graph.centre(box);
    }
    say(`${title(node)} is ${expanded.has(node.key) ? "expanded" : "collapsed"}`);
  });
}

function expandAll(open: boolean): void {
  expanded.clear();
  if (open) for (const node of model.stage(stageNumber).nodes.values()) if (node.regions.length) expanded.add(node.key);
  layOut(() => graph.fit(false));
}

function say(text: string): void {
  status.textContent = text;
}

/** Show a chart, or hide and show them. */
function dock(name: string | null, keep = false): void {
  const open = name !== null ? true : !bottom.classList.contains("open");
  bottom.classList.toggle("open", open);
  fold.textContent = open ? "▾" : "▴";
  fold.setAttribute("aria-expanded", String(open));
  const now = name ?? tabs.find((t) => t.getAttribute("aria-selected") === "true")?.textContent!.toLowerCase() ?? "memory";
  for (const [k, key] of Object.keys(charts).entries()) {
    tabs[k].setAttribute("aria-selected", String(key === now));
    tabs[k].tabIndex = key === now ? 0 : -1;
    sheets[k].hidden = !open || key !== now;
  }
  if (keep) charts[now as keyof typeof charts].redraw();
}

/** Arrow keys go from tab to tab. */
function turn(e: KeyboardEvent): void {
  if (e.key !== "ArrowLeft" && e.key !== "ArrowRight") return;
  const k = (tabs.indexOf(e.target as HTMLButtonElement) + 1) % tabs.length;
  dock(Object.keys(charts)[k]);
  tabs[k].focus();
}

addEventListener("keydown", (e) => {
  const typing = e.target instanceof HTMLInputElement && e.target.type === "search";
  if (typing || dialog.open || e.ctrlKey || e.metaKey || e.altKey) return;
  const act: Record<string, () => void> = {
    "/": () => search.input.focus(),
    "[": () => passes.step(-1),
    "]": () => passes.step(1),
    "?": () => dialog.showModal(),
    m: () => dock(null),
    e: () => expandAll(true),
    c: () => expandAll(false),
    g: () => graph.canvas.focus(),
    Escape: () => choose(null),
  };
  if (!(e.key in act)) return;
  e.preventDefault();
  act[e.key]();
});

dock(model.data.profile ? "profile" : "memory");
if (matchMedia("(max-width: 800px), (max-height: 600px)").matches || !model.data.arena.buffers.length) dock(null);
show(0);
