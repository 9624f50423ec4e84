/** The slider over passes. */
import { h } from "./dom";
import type { Model } from "./data";

export class Passes {
  private readonly range: HTMLInputElement;
  private readonly name = h("output", { id: "stage-name", for: "stage" });
  private readonly said = h("span", { class: "delta" });
  private readonly ticks: HTMLButtonElement[];
  readonly element: HTMLElement;

  constructor(private readonly model: Model, private readonly to: (k: number) => void) {
    const { stages } = model.data;
    const last = stages.length - 1;
    this.range = h("input", {
      id: "stage", type: "range", min: 0, max: last, step: 1, "aria-label": "Pass", "aria-keyshortcuts": "[ ]",
      input: () => to(this.range.valueAsNumber),
    });
    this.ticks = stages.map(([name], k) =>
      h("button", { class: "tick", tabindex: -1, title: name, "aria-hidden": "true", style: `left:${last ? (100 * k) / last : 0}%`, click: () => to(k) }));
    const step = (label: string, sign: string, by: number): HTMLElement =>
      h("button", { class: "quiet step", "aria-label": label, title: `${label}  ${by < 0 ? "[" : "]"}`, click: () => this.step(by) }, sign);
    this.element = h("div", { class: "passes", role: "group", "aria-label": "Passes" },
      step("Previous pass", "‹", -1),
      h("div", { class: "track" }, h("div", { class: "ticks" }, ...this.ticks), this.range),
      step("Next pass", "›", 1),
      h("div", { class: "now" }, this.name, this.said));
  }

  step(by: number): void {
    const k = this.range.valueAsNumber + by;
    if (k >= 0 && k < this.model.data.stages.length) this.to(k);
  }

  show(k: number): void {
    this.range.value = String(k);
    const [name] = this.model.data.stages[k];
    this.range.setAttribute("aria-valuetext", name);
    this.name.value = name;
    const { added, changed, removed } = this.model.changes(k);
    const parts = [["added", `+${added.size}`, added.size], ["removed", `−${removed.length}`, removed.length], ["changed", `~${changed.size}`, changed.size]] as const;
    const some = parts.filter(([, , n]) => n).map(([kind, text]) => h("span", { class: kind, title: kind }, text));
    this.said.replaceChildren(...(some.length ? some : [k ? "nothing changed" : "as traced"]));
    this.ticks.forEach((tick, i) => tick.classList.toggle("here", i === k));
  }

  /** Dim the ticks of passes that changed nothing, some at a time: each needs its stage decoded. */
  survey(k = 1): void {
    if (k >= this.ticks.length) return;
    const { stages } = this.model.data;
    const quiet = stages[k][1] === stages[k - 1][1] || emptyChange(this.model, k);
    this.ticks[k].classList.toggle("idle", quiet);
    setTimeout(() => this.survey(k + 1), 30);
  }
}

function emptyChange(model: Model, k: number): boolean {
  const { added, changed, removed } = model.changes(k);
  return !added.size && !changed.size && !removed.length;
}
