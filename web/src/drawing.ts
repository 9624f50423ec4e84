/** Draws what can be seen of a scene, in as much detail as its scale has room for. */
import type { Changes } from "./data";
import type { Box, Line, Scene } from "./scene";

export interface Look {
  selected: Box | null;
  hovered: Box | null;
  found: ReadonlySet<string>; // ids of boxes that are searched for
  changes: Changes | null;
  times: Map<number, string>; // node -> what it took
}

export interface View { k: number; x: number; y: number; width: number; height: number }

export type Colors = Record<string, string>;

export const FAMILIES = ["contraction", "reduction", "elementwise", "movement", "control", "other", "input", "constant", "output"];
const NAMES = ["card", "ink", "dim", "line", "border", "accent", "added", "changed", "found", "paper", "region", ...FAMILIES];
const SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
const MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', monospace";
export const LABEL = `600 13px ${SANS}`;
const DETAIL = `11px ${MONO}`;
const READABLE = 0.42; // scale from which on there is text

export function colorsOf(element: Element): Colors {
  const style = getComputedStyle(element);
  return Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

export function draw(context: CanvasRenderingContext2D, scene: Scene, view: View, look: Look, colors: Colors): void {
  const { k, x, y, width, height } = view;
  context.clearRect(0, 0, width, height);
  context.save();
  context.translate(x, y);
  context.scale(k, k);
  const [left, right, top, bottom] = [-x / k, (width - x) / k, -y / k, (height - y) / k];
  const seen = scene.between(top, bottom);
  const boxes: Box[] = [];
  for (const b of seen.boxes) {
    if (Math.abs(b.y - (top + bottom) / 2) < (b.height + bottom - top) / 2 + 1 && b.x + b.width / 2 > left && b.x - b.width / 2 < right) boxes.push(b);
  }
  const open = boxes.filter((b) => b.open).sort((a, b) => a.depth - b.depth);
  for (const b of open) region(context, b, colors);
  lines(context, seen.lines, left, right, top, bottom, k, colors);
  if (k >= READABLE) cards(context, boxes, look, colors);
  else dots(context, boxes, look, colors, k);
  const focus = look.hovered && look.hovered !== look.selected ? [look.selected, look.hovered] : [look.selected];
  for (const b of focus) if (b) around(context, b, b === look.selected, k, colors);
  context.restore();
}

function region(context: CanvasRenderingContext2D, b: Box, colors: Colors): void {
  context.fillStyle = colors.region;
  context.strokeStyle = colors.border;
  context.lineWidth = 1;
  context.beginPath();
  context.roundRect(b.x - b.width / 2, b.y - b.height / 2, b.width, b.height, 8);
  context.fill();
  context.stroke();
}

function lines(
  context: CanvasRenderingContext2D, all: Iterable<Line>, left: number, right: number, top: number, bottom: number, k: number,
  colors: Colors,
): void {
  context.beginPath();
  const stubs: Line[] = [];
  for (const line of all) {
    const { points } = line;
    if (!points) {
      if (k >= READABLE) stubs.push(line);
      continue;
    }
    const n = points.length;
    if (points[1] > bottom || points[n - 1] < top) continue;
    if (Math.max(points[0], points[n - 2]) < left - 200 || Math.min(points[0], points[n - 2]) > right + 200) continue;
    if (k < 0.16) {
      context.moveTo(points[0], points[1]);
      context.lineTo(points[n - 2], points[n - 1]);
    } else curve(context, points);
  }
  context.strokeStyle = colors.line;
  context.lineWidth = Math.max(1.2, 0.5 / k);
  context.stroke();
  if (!stubs.length) return;
  context.beginPath();
  for (const { from, to } of stubs) {
    const slant = Math.max(-18, Math.min(18, (to.x - from.x) / 20));
    context.moveTo(from.x + from.width / 2 - 14, from.y + from.height / 2);
    context.lineTo(from.x + from.width / 2 - 14 + Math.abs(slant), from.y + from.height / 2 + 9);
    context.moveTo(to.x - to.width / 2 + 14, to.y - to.height / 2);
    context.lineTo(to.x - to.width / 2 + 14 - Math.abs(slant), to.y - to.height / 2 - 9);
  }
  context.setLineDash([3, 2]);
  context.stroke();
  context.setLineDash([]);
}

/** Through the points, with steep ends. */
function curve(context: CanvasRenderingContext2D, p: Float32Array): void {
  const n = p.length;
  context.moveTo(p[0], p[1]);
  if (n === 4) {
    const middle = (p[1] + p[3]) / 2;
    context.bezierCurveTo(p[0], middle, p[2], middle, p[2], p[3]);
    return;
  }
  for (let k = 2; k < n; k += 2) {
    const middle = (p[k - 1] + p[k + 1]) / 2;
    context.bezierCurveTo(p[k - 2], middle, p[k], middle, p[k], p[k + 1]);
  }
}

function cards(context: CanvasRenderingContext2D, boxes: Box[], look: Look, colors: Colors): void {
  context.textBaseline = "middle";
  for (const b of boxes) {
    const [left, top] = [b.x - b.width / 2, b.y - b.height / 2];
    const leaf = b.node === null;
    if (!b.open) {
      context.beginPath();
      context.roundRect(left, top, b.width, b.height, leaf ? b.height / 2 : 6);
      context.fillStyle = colors.card;
      context.fill();
      context.lineWidth = 1;
      context.strokeStyle = colors.border;
      context.stroke();
      if (b.node?.regions.length) { // a second sheet behind
        context.beginPath();
        context.moveTo(left + 6, top + b.height + 3);
        context.lineTo(left + b.width - 6, top + b.height + 3);
        context.stroke();
      }
    }
    if (!leaf) {
      context.fillStyle = colors[b.family];
      context.beginPath();
      context.roundRect(left, top + (b.open ? 8 : 6), 3, b.open ? 14 : b.height - 12, [0, 2, 2, 0]);
      context.fill();
    }
    mark(context, b, look, colors);
    const inset = leaf ? b.height / 2 - 4 : 12;
    const room = b.width - 2 * inset + 2;
    context.font = LABEL;
    context.fillStyle = colors.ink;
    if (b.open) {
      context.fillText(fitted(context, b.label, room - 10), left + inset, top + 15);
      continue;
    }
    context.fillText(fitted(context, b.label, room), left + inset, top + 14);
    context.font = DETAIL;
    context.fillStyle = colors.dim;
    const time = b.node ? look.times.get(b.node.key) : undefined;
    const space = time ? context.measureText(time).width + 8 : 0;
    context.fillText(fitted(context, b.detail, room - space), left + inset, top + 29);
    if (time) {
      context.fillStyle = colors.accent;
      context.fillText(time, left + b.width - 8 - space + 8, top + 29);
    }
  }
}

/** What a pass did to a node, or that it is searched for: an outline. */
function mark(context: CanvasRenderingContext2D, b: Box, look: Look, colors: Colors): void {
  const color = look.found.has(b.id)
    ? colors.found
    : b.node && look.changes?.added.has(b.node.key)
      ? colors.added
      : b.node && look.changes?.changed.has(b.node.key) ? colors.changed : "";
  if (!color) return;
  context.strokeStyle = color;
  context.lineWidth = 2;
  context.beginPath();
  context.roundRect(b.x - b.width / 2, b.y - b.height / 2, b.width, b.height, b.node ? 6 : b.height / 2);
  context.stroke();
}

function dots(context: CanvasRenderingContext2D, boxes: Box[], look: Look, colors: Colors, k: number): void {
  const groups = new Map<string, Box[]>();
  const add = (color: string, b: Box): void => {
    const group = groups.get(color);
    if (group) group.push(b);
    else groups.set(color, [b]);
  };
  for (const b of boxes) {
    if (b.open) continue;
    const changed = b.node && look.changes;
    if (look.found.has(b.id)) add(colors.found, b);
    else if (changed && look.changes!.added.has(b.node!.key)) add(colors.added, b);
    else if (changed && look.changes!.changed.has(b.node!.key)) add(colors.changed, b);
    else add(colors[b.family], b);
  }
  const least = 1.5 / k;
  context.globalAlpha = 0.8;
  for (const [color, group] of groups) {
    context.fillStyle = color;
    context.beginPath();
    for (const b of group) {
      const [width, height] = [Math.max(b.width, least), Math.max(b.height - 6, least)];
      context.rect(b.x - width / 2, b.y - height / 2, width, height);
    }
    context.fill();
  }
  context.globalAlpha = 1;
}

/** A box in focus with all that it reads and that reads it. */
function around(context: CanvasRenderingContext2D, b: Box, selected: boolean, k: number, colors: Colors): void {
  context.strokeStyle = colors.accent;
  context.globalAlpha = selected ? 0.9 : 0.45;
  context.lineWidth = Math.max(1.6, 1 / k);
  context.beginPath();
  for (const { points, from, to } of [...b.reads, ...b.readers]) {
    if (points) curve(context, points);
    else if (!Number.isNaN(from.x) && !Number.isNaN(to.x)) {
      const [x0, y0, x1, y1] = [from.x + from.width / 2 - 14, from.y + from.height / 2, to.x - to.width / 2 + 14, to.y - to.height / 2];
      const reach = Math.min(160, Math.abs(y1 - y0) / 2);
      context.moveTo(x0, y0);
      context.bezierCurveTo(x0, y0 + reach, x1, y1 - reach, x1, y1);
    }
  }
  context.stroke();
  context.globalAlpha = 1;
  const edge = Math.max(2, 2 / k);
  context.lineWidth = edge;
  context.beginPath();
  const out = selected ? edge / 2 + 1 : 0;
  context.roundRect(b.x - b.width / 2 - out, b.y - b.height / 2 - out, b.width + 2 * out, b.height + 2 * out, b.node ? 7 : b.height / 2 + out);
  context.stroke();
}

const fits = new Map<string, string>();

/** The text, cut to a width of the context's font. */
function fitted(context: CanvasRenderingContext2D, text: string, width: number): string {
  const key = `${context.font}|${width | 0}|${text}`;
  let found = fits.get(key);
  if (found === undefined) {
    found = text;
    for (let n = text.length; n > 1 && context.measureText(found).width > width; n--) found = `${text.slice(0, n - 1)}…`;
    fits.set(key, found);
  }
  return found;
}
