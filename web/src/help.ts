/** What keys do. */
import { h } from "./dom";

const KEYS: [string, string][] = [
  ["/", "search; arrows choose, Enter goes there"],
  ["[  ]", "previous, next pass"],
  ["g", "to the graph"],
  ["↑  ↓", "along an edge, to what a node reads or what reads it"],
  ["←  →", "to its neighbours in the same rank"],
  ["Enter", "open or close the region of a node"],
  ["e  c", "expand, collapse all regions"],
  ["+  −", "zoom"],
  ["f  0", "fit the whole graph; its beginning"],
  ["m", "hide or show memory and profile"],
  ["Esc", "choose nothing"],
  ["?", "this help"],
];

export function help(): HTMLDialogElement {
  return h("dialog", { id: "help", "aria-labelledby": "help-title" },
    h("form", { method: "dialog" },
      h("h2", { id: "help-title" }, "Keys"),
      h("dl", {}, ...KEYS.flatMap(([keys, what]) => [h("dt", {}, ...keys.split("  ").map((k) => h("kbd", {}, k))), h("dd", {}, what)])),
      h("p", { class: "note" }, "Drag to pan, scroll to zoom, double-click a stacked box to open its region. Outlines show what the pass added or changed; dashed stubs are edges over many ranks, drawn in full where an end is chosen."),
      h("button", { autofocus: true }, "Close")));
}
