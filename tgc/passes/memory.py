"""Memory planning: every value of the scheduled graph gets a place.

Results of the graph are written where the caller wants them (a fresh array, or the donated input that they replace);
everything between lies in one arena, in which places are reused as soon as their last reader is done. A kernel may
write over an operand that dies with it, if it reads the operand element by element.

Bodies of control flow are planned by themselves, their places counted from where their own memory begins: a range of
the arena around them that lasts as long as their node. A loop computes a carry in place where it may write over the
carry of the step before, as over a donated input, else in two buffers that change places after each step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from tgc.ir import Builder, Graph, Node, Value, transform
from tgc.ops.kinds import Control, Elementwise
from tgc.ops.movement import reshape
from tgc.ops.region import fused, sweeps_before
from tgc.passes.manager import Target, register

ALIGNMENT = 64


def overwritable(node: Node, operand: int, result: int) -> bool:
    """Whether a kernel may write `result` over `operand`: it reads each element of it only right before that.

    True for operands that reach results through elementwise ops of the results' shape alone: all of a map, the
    epilogue of a contraction, what follows a reduction along the kept axes. In a reduction of several sweeps, no later
    one may read the operand.
    """
    body = node.body
    source, made = body.inputs[operand], body.outputs[result]
    if source.type != made.type or made.type.layout is not None:
        return False
    reached = {source}
    for inner in body.nodes:
        if not any(v in reached for v in inner.operands):
            continue
        if not isinstance(inner.op, Elementwise) or inner.result.shape != made.shape:
            return False
        reached.update(inner.results)
    if node.attrs["kind"] == "reduce":
        sweeps = sweeps_before(body)
        late = any(v in reached and sweeps[v] > sweeps[made] for v in body.outputs)
        return not late and all(v.shape == made.shape for v in body.outputs)
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
    """Give every node the places of its results: `arena:<byte>`, `out:<result>` or `in:<donated input>`.

    Control flow gets one more: where in the arena the memory of its bodies begins (see `Scratch`).
    """

    name: ClassVar[str] = "memory"
    whole: ClassVar[bool] = True
    donated: tuple[int, ...] = ()

    def __call__(self, graph: Graph, target: Target) -> Graph:
        return _planned(graph, match_donations(graph, self.donated))


def _planned(graph: Graph, pairs: Mapping[int, int]) -> Graph:
    """`graph` and its bodies with places; result k may take the memory of input `pairs[k]`."""

    def plan_bodies(builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if not isinstance(node.op, Control):
            return None
        attrs = dict(node.attrs)
        carried = {k: k for k in range(carries(node))}
        for key, attr in attrs.items():
            if isinstance(attr, Graph):
                attrs[key] = _planned(attr, carried if key == "body" else {})
            elif isinstance(attr, tuple) and attr and isinstance(attr[0], Graph):
                attrs[key] = tuple(_planned(branch, {}) for branch in attr)
        return builder.emit(node.op, new, attrs, node.loc)

    graph = transform(graph, plan_bodies)
    places = _Planner(graph, pairs).plan()

    def place(builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if node not in places:
            return None
        return builder.emit(node.op, new, {**node.attrs, "places": places[node]}, node.loc)

    return transform(graph, place)


# ------------------------------------------------------------------------------------------------------------- bodies


def carries(node: Node) -> int:
    """How many operands of a control node its body returns anew at each step."""
    number: int = node.attrs.get("carries", 0)
    return number


def root(v: Value) -> Value:
    """The value whose memory `v` is a view of."""
    while v.node is not None and v.node.op is reshape:
        v = v.node.operands[0]
    return v


def in_place(body: Graph, k: int) -> bool:
    """Whether a planned loop body leaves carry `k` where it got it."""
    v = root(body.outputs[k])
    return v is body.inputs[k] or (v.node is not None and v.node.attrs["places"][v.index] == f"in:{k}")


@dataclass(frozen=True)
class Scratch:
    """The memory of a planned control node besides its operands and results: bytes from where it begins.

    First come the arenas of its bodies, all from byte 0, since at most one of them is in use at a time; then the second
    buffer of each carry that is not computed in place, and the flag that a condition computes.
    """

    buffers: Mapping[int, int] = field(default_factory=dict)
    flag: int = 0
    size: int = 0

    @staticmethod
    def of(node: Node) -> Scratch:
        at = max(map(arena_bytes, node.regions), default=0)
        buffers = {}
        for k in range(carries(node)):
            if not in_place(node.body, k):
                buffers[k] = at
                at += padded(node.body.inputs[k].type.nbytes)
        return Scratch(buffers, at, at + ALIGNMENT * ("cond" in node.attrs))


class _Planner:
    def __init__(self, graph: Graph, pairs: Mapping[int, int]) -> None:
        self.graph = graph
        self.last: dict[Value, int] = {}  # the step at which a value is read last
        for step, node in enumerate(graph.nodes):
            for v in node.operands:
                self.last[root(v)] = step
        made = {r: step for step, node in enumerate(graph.nodes) for r in node.results}
        self.place: dict[Value, str] = {}
        roots = [root(v) for v in graph.outputs]
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

    def _in_place(self, result: Value, source: Value) -> bool:
        """Whether the node that makes `result` may write over its operand `source`."""
        node = result.node
        assert node is not None
        mine = [k for k, v in enumerate(node.operands) if root(v) is source]
        if len(mine) != 1:
            return False
        if isinstance(node.op, Control):  # a loop reads the first carry only to put it where it keeps the carry
            return mine[0] == result.index < carries(node)
        return node.op is fused and overwritable(node, mine[0], result.index)

    def plan(self) -> Mapping[Node, tuple[str, ...]]:
        """The places of each node that has some."""
        scratch: dict[Node, tuple[str, ...]] = {}
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
                size = padded(r.type.nbytes)
                at = self._over(r, node, step, live, taken)
                if at is None:
                    at = _first_fit(list(live.values()), size)
                live[r] = (at, size)
                self.place[r] = f"arena:{at}"
            if isinstance(node.op, Control):
                scratch[node] = (f"arena:{_first_fit(list(live.values()), Scratch.of(node).size)}",)
            for r in node.results:
                if self.last.get(r, -1) <= step and r in live and self.last.get(r, -1) < step:
                    self.last[r] = step  # nobody reads it: free again behind this node
        return {
            node: tuple(self.place[r] for r in node.results) + scratch.get(node, ())
            for node in self.graph.nodes
            if node.op is fused or isinstance(node.op, Control)
        }

    def _over(
        self, result: Value, node: Node, step: int, live: dict[Value, tuple[int, int]], taken: set[Value]
    ) -> int | None:
        """The place of an operand that dies here and that `result` may overwrite."""
        for operand in node.operands:
            v = root(operand)
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


def padded(size: int) -> int:
    """Bytes that `size` bytes take in an arena."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def arena_bytes(graph: Graph) -> int:
    """Size of the arena that a planned graph needs."""
    most = 0
    for node in graph.nodes:
        sizes = [padded(r.type.nbytes) for r in node.results]
        if isinstance(node.op, Control):
            sizes.append(Scratch.of(node).size)
        for size, place in zip(sizes, node.attrs.get("places", ()), strict=False):
            kind, _, at = str(place).partition(":")
            if kind == "arena":
                most = max(most, int(at) + size)
    return most
