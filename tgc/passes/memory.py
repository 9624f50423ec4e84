"""Memory planning: every value of the scheduled graph gets a place.

Results of the graph are written where the caller wants them (a fresh array, or the donated input that they replace);
everything between lies in one arena, in which places are reused as soon as their last reader is done. A kernel may
write over an operand that dies with it, if it reads the operand element by element.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from tgc.ir import Builder, Graph, Node, Value, transform
from tgc.ops.kinds import Elementwise
from tgc.ops.movement import reshape
from tgc.ops.region import fused
from tgc.passes.manager import Target, register
from tgc.types import TensorType

ALIGNMENT = 64


def overwritable(node: Node, operand: int, result: int) -> bool:
    """Whether a kernel may write `result` over `operand`: it reads each element of it only right before that.

    True for operands that reach results through elementwise ops of the results' shape alone: all of a map, the
    epilogue of a contraction, what follows a reduction along the kept axes.
    """
    body = node.body
    source, made = body.inputs[operand], body.outputs[result]
    if source.type != TensorType(source.dtype, made.shape) or made.type.layout is not None:
        return False
    reached = {source}
    for inner in body.nodes:
        if not any(v in reached for v in inner.operands):
            continue
        if not isinstance(inner.op, Elementwise) or inner.result.shape != made.shape:
            return False
        reached.update(inner.results)
    if node.attrs["kind"] == "reduce":
        return all(v.shape == made.shape for v in body.outputs)
    return True


def match_donations(graph: Graph, donated: Sequence[int]) -> dict[int, int]:
    """Pair results with donated inputs of the same type, each in order: result -> input."""
    free = list(donated)
    pairs: dict[int, int] = {}
    for k, v in enumerate(graph.outputs):
        found = next((i for i in free if graph.inputs[i].type == v.type), None)
        if found is not None:
            pairs[k] = found
            free.remove(found)
    return pairs


@register
@dataclass(frozen=True)
class Memory:
    """Give every fused node the places of its results: `arena:<byte>`, `out:<result>` or `in:<donated input>`."""

    name: ClassVar[str] = "memory"
    donated: tuple[int, ...] = ()

    def __call__(self, graph: Graph, target: Target) -> Graph:
        places = _Planner(graph, self.donated).plan()

        def rewrite(builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
            if node.op is not fused:
                return None
            attrs = {**node.attrs, "places": tuple(places[r] for r in node.results)}
            return builder.emit(fused, new, attrs, node.loc)

        return transform(graph, rewrite)


class _Planner:
    def __init__(self, graph: Graph, donated: Sequence[int]) -> None:
        self.graph = graph
        self.root: dict[Value, Value] = {}
        for node in graph.nodes:
            if node.op is reshape:
                self.root[node.result] = self.root.get(node.operands[0], node.operands[0])
        self.last: dict[Value, int] = {}  # the step at which a value is read last
        for step, node in enumerate(graph.nodes):
            for v in node.operands:
                self.last[self._root(v)] = step
        made = {r: step for step, node in enumerate(graph.nodes) for r in node.results}
        self.place: dict[Value, str] = {}
        pairs = match_donations(graph, donated)
        roots = [self._root(v) for v in graph.outputs]
        self.last |= dict.fromkeys(roots, len(graph.nodes))
        for k, v in enumerate(roots):
            if v.node is None or v in self.place:
                continue  # an input, a constant or a repeated result: the program copies it at the end
            target = f"out:{k}"
            if k in pairs:
                source = graph.inputs[pairs[k]]
                readers = self.last.get(source, -1)
                if readers < made[v] or (readers == made[v] and self._in_place(v, source)):
                    target = f"in:{pairs[k]}"
            self.place[v] = target

    def _root(self, v: Value) -> Value:
        return self.root.get(v, v)

    def _in_place(self, result: Value, source: Value) -> bool:
        """Whether the node that makes `result` may write over its operand `source`."""
        node = result.node
        assert node is not None
        mine = [k for k, v in enumerate(node.operands) if self._root(v) is source]
        return len(mine) == 1 and node.op is fused and overwritable(node, mine[0], result.index)

    def plan(self) -> Mapping[Value, str]:
        live: dict[Value, tuple[int, int]] = {}  # value -> (first byte, bytes)
        for step, node in enumerate(self.graph.nodes):
            if node.op is reshape:
                continue
            for v in [v for v in live if self.last.get(v, -1) < step]:
                del live[v]
            taken: set[Value] = set()
            for r in node.results:
                if r in self.place:
                    continue
                size = -(-r.type.nbytes // ALIGNMENT) * ALIGNMENT
                at = self._over(r, node, step, live, taken)
                if at is None:
                    at = _first_fit([live[v] for v in live], size)
                live[r] = (at, size)
                self.place[r] = f"arena:{at}"
            for r in node.results:
                if self.last.get(r, -1) <= step and r in live and self.last.get(r, -1) < step:
                    self.last[r] = step  # nobody reads it: free again behind this node
        return self.place

    def _over(
        self, result: Value, node: Node, step: int, live: dict[Value, tuple[int, int]], taken: set[Value]
    ) -> int | None:
        """The place of an operand that dies here and that `result` may overwrite."""
        for operand in node.operands:
            v = self._root(operand)
            same = v in live and v.type.nbytes == result.type.nbytes and v.dtype.itemsize == result.dtype.itemsize
            if same and v not in taken and self.last[v] == step and self._in_place(result, v):
                taken.add(v)
                at = live.pop(v)
                return at[0]
        return None


def _first_fit(taken: Sequence[tuple[int, int]], size: int) -> int:
    """The smallest gap that holds `size` bytes, or the end."""
    best: tuple[int, int] | None = None
    at = 0
    for first, length in sorted(taken):
        gap = first - at
        if gap >= size and (best is None or gap < best[0]):
            best = (gap, at)
        at = max(at, first + length)
    return best[1] if best else at


def arena_bytes(graph: Graph) -> int:
    """Size of the arena that a planned graph needs."""
    most = 0
    for node in graph.nodes:
        for r, place in zip(node.results, node.attrs.get("places", ()), strict=False):
            kind, _, at = str(place).partition(":")
            if kind == "arena":
                most = max(most, int(at) + -(-r.type.nbytes // ALIGNMENT) * ALIGNMENT)
    return most
