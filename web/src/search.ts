/** The search field and its list: ops, kernels, names of values, types, lines of code. */
import { h } from "./dom";
import { title, type Stage } from "./data";

export interface Hit { id: string; key: number | null; label: string; detail: string }

const SHOWN = 60;

export class Search {
  readonly input = h("input", {
    id: "search", type: "search", placeholder: "Search", role: "combobox", autocomplete: "off", spellcheck: "false",
    "aria-label": "Search nodes by op, kernel, name, type or line", "aria-expanded": "false", "aria-controls": "hits",
    "aria-autocomplete": "list", "aria-keyshortcuts": "/",
  });
  readonly list = h("ul", { id: "hits", role: "listbox", "aria-label": "Found nodes", hidden: true });
  readonly element = h("div", { class: "search", role: "search" }, this.input, h("kbd", {}, "/"), this.list);
  private hits: Hit[] = [];
  private active = -1;

  constructor(private readonly stage: () => Stage, private readonly go: (hit: Hit) => void, private readonly found: (hits: Hit[]) => void) {
    this.input.addEventListener("input", () => this.update());
    this.input.addEventListener("focus", () => this.update());
    this.input.addEventListener("blur", () => setTimeout(() => this.open(false), 150));
    this.input.addEventListener("keydown", (e) => this.key(e));
  }

  /** Search again, as in another stage. */
  update(): void {
    this.hits = this.look(this.input.value.trim().toLowerCase());
    this.active = this.hits.length ? 0 : -1;
    this.found(this.hits);
    this.show();
  }

  private look(text: string): Hit[] {
    if (!text) return [];
    const words = text.split(/\s+/);
    const hits: Hit[] = [];
    const stage = this.stage();
    const add = (hit: Hit, more: string): void => {
      const all = `${hit.label} ${hit.detail} ${more}`.toLowerCase();
      if (words.every((w) => all.includes(w))) hits.push(hit);
    };
    for (const [k, [name, type]] of [...stage.graph.inputs, ...stage.graph.constants].entries()) {
      const family = k < stage.graph.inputs.length ? "input" : "constant";
      add({ id: `${family}:${name}`, key: null, label: name, detail: stage.model.types[type].text }, family);
    }
    for (const node of stage.nodes.values()) {
      const { record } = node;
      const types = node.results.map((v) => v.type.text).join(", ");
      const names = node.results.map((v) => `%${v.name}`).join(" ");
      const detail = `${names} ${types}`;
      add({ id: `node:${node.key}`, key: node.key, label: title(node), detail }, [record.op, ...record.loc, ...node.kernels].join(" "));
    }
    return hits;
  }

  private show(): void {
    const items = this.hits.slice(0, SHOWN).map((hit, k) =>
      h("li", {
        id: `hit-${k}`, role: "option", "aria-selected": String(k === this.active),
        pointerdown: (e: PointerEvent) => e.preventDefault(), click: () => this.choose(k),
      }, h("b", {}, hit.label), h("span", {}, hit.detail)));
    const typed = this.input.value.trim() !== "";
    if (typed && !items.length) items.push(h("li", { class: "none", role: "presentation" }, "Nothing found in this stage"));
    if (this.hits.length > SHOWN) items.push(h("li", { class: "none", role: "presentation" }, `and ${this.hits.length - SHOWN} more`));
    this.list.replaceChildren(...items);
    this.open(typed && document.activeElement === this.input);
  }

  private open(open: boolean): void {
    this.list.hidden = !open;
    this.input.setAttribute("aria-expanded", String(open));
    if (open && this.active >= 0) this.input.setAttribute("aria-activedescendant", `hit-${this.active}`);
    else this.input.removeAttribute("aria-activedescendant");
  }

  private key(e: KeyboardEvent): void {
    const last = Math.min(SHOWN, this.hits.length) - 1;
    if (e.key === "ArrowDown" || e.key === "ArrowUp") {
      if (last < 0) return;
      this.active = (this.active + (e.key === "ArrowDown" ? 1 : last)) % (last + 1);
      this.show();
      this.list.children[this.active]?.scrollIntoView({ block: "nearest" });
    } else if (e.key === "Enter") this.choose(this.active);
    else if (e.key === "Escape") {
      if (!this.input.value) this.input.blur();
      this.input.value = "";
      this.update();
    } else return;
    e.preventDefault();
    e.stopPropagation();
  }

  private choose(k: number): void {
    if (!this.hits[k]) return;
    this.open(false);
    this.go(this.hits[k]);
  }
}
