/** Kernel sources with keywords, numbers, strings and comments told apart. */
import { h } from "./dom";

const TOKEN =
  /(#[^\n]*)|("""[\s\S]*?"""|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|\b(and|as|assert|break|class|continue|def|elif|else|False|for|from|if|import|in|is|lambda|None|not|or|pass|return|True|while|with)\b|\b(\d[\w.]*)/g;
const CLASSES = ["comment", "string", "keyword", "number"];

export function highlighted(source: string): HTMLElement {
  const code = h("code");
  let at = 0;
  for (const match of source.matchAll(TOKEN)) {
    code.append(source.slice(at, match.index));
    const kind = CLASSES[match.slice(1).findIndex((group) => group !== undefined)];
    code.append(h("span", { class: kind }, match[0]));
    at = match.index + match[0].length;
  }
  code.append(source.slice(at));
  return code;
}
