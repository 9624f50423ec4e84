/** Lays graphs out beside the page, and tells how far it is: at once, and then ever more rarely. */
import { place, type Placed, type Tree } from "./layout";

onmessage = ({ data: { id, tree } }: MessageEvent<{ id: number; tree: Tree }>) => {
  const start = performance.now();
  let next = 0;
  const placed = place(tree, (partial: Placed) => {
    const elapsed = performance.now() - start;
    if (elapsed < next) return;
    next = Math.max(100, 2.5 * elapsed);
    postMessage({ id, placed: partial });
  });
  postMessage({ id, placed });
};
