/** Lays graphs out beside the page, and tells of each band as it is done. */
import { place, type Placed, type Tree } from "./layout";

onmessage = ({ data: { id, tree } }: MessageEvent<{ id: number; tree: Tree }>) => {
  let told = performance.now();
  const placed = place(tree, (partial: Placed) => {
    if (performance.now() - told < 100) return;
    told = performance.now();
    postMessage({ id, placed: partial });
  });
  postMessage({ id, placed });
};
