"""Memory planning: every value of the scheduled graph gets a place.

Results of the graph are written where the caller wants them (a fresh array, or the donated input that they replace);
everything between lies in one arena, in which places are reused as soon as their last reader is done. A kernel may
write over an operand that dies with it, if it reads the operand element by element.

Bodies of control flow are planned by themselves, their places counted from where their own memory begins: a range of
the arena around them that lasts as long as their node. A loop computes a carry in place where it may write over the
carry of the step before, as over a donated input, else in two buffers that change places after each step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from tgc.ir import Builder, Graph, Node, Value, transform
from tgc.ops.kinds import Control, Elementwise
from tgc.ops.movement import reshape, slice_
from tgc.ops.region import fused, sweeps_before
from tgc.passes.arena import ALIGNMENT, Buffer, offsets, padded
from tgc.passes.manager import Target, register
from tgc.passes.templates import joined
from tgc.sizes import call, calls, is_size, surely_equal

Place: TypeAlias = str | tuple[str, int]


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
    if _by_pieces(body, source, made):
        return True
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


def _by_pieces(body: Graph, source: Value, made: Value) -> bool:
    """Whether `made` joins rows of equal pieces, each element of them by one of each of the same pieces of `source`: a
    kernel then reads all pieces at a place before it stores any.
    """
    node = made.node
    if node is None or len(body.outputs) == 1 or any(map(is_size, made.shape)):
        return False
    if joined(body.nodes, body.outputs) is not node:
        return False
    shape = node.operands[0].shape
    if source in body.outputs or any(v.shape != shape for v in node.operands):
        return False
    reached: set[Value] = set()
    for inner in body.nodes:
        if source in inner.operands:
            if inner.op is not slice_ or inner.result.shape != shape or set(inner.attrs["step"]) != {1}:
                return False
            if inner.attrs["start"][-1] % shape[-1]:
                return False
            reached.add(inner.result)
        elif any(v in reached for v in inner.operands) and inner is not node:
            if not isinstance(inner.op, Elementwise) or inner.result.shape != shape:
                return False
            reached.update(inner.results)
    return True


def _row_over(node: Node, operand: int, result: int) -> bool:
    """Whether a planned scan may write its ys `result` over its xs `operand`: each row when it has been read."""
    n = carries(node)
    if not n <= operand < n + node.attrs.get("xs", 0) or result < n:
        return False
    body = node.body
    x, y = body.inputs[operand], body.outputs[result]
    if x.type != y.type or y.node is None or y.node.op is not fused or x in map(root, body.outputs):
        return False
    if y.node.attrs.get("places", ())[y.index : y.index + 1] != (f"out:{result}",):
        return False
    readers = [inner for inner in body.nodes if x in map(root, inner.operands) and inner.op is not reshape]
    if body.nodes.index(y.node) < max((body.nodes.index(inner) for inner in readers), default=-1):
        return False
    return y.node not in readers or may_overwrite(y, x)


def may_overwrite(result: Value, source: Value) -> bool:
    """Whether the node that makes `result` may write it where its operand `source`, read here last, lies."""
    node = result.node
    assert node is not None
    mine = [k for k, v in enumerate(node.operands) if root(v) is source]
    if len(mine) != 1:
        return False
    if isinstance(node.op, Control):  # a loop reads the first carry only to put it where it keeps the carry
        return mine[0] == result.index < carries(node) or _row_over(node, mine[0], result.index)
    return node.op is fused and overwritable(node, mine[0], result.index)


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

    Control flow gets one more: where in the arena the memory of its bodies begins (see `Scratch`). A plan of more than
    `limit` bytes, unless that is 0, is made with more care.
    """

    name: ClassVar[str] = "memory"
    whole: ClassVar[bool] = True
    donated: tuple[int, ...] = ()
    limit: int = 0

    def __call__(self, graph: Graph, target: Target) -> Graph:
        return planned(graph, match_donations(graph, self.donated), self.limit)


def planned(graph: Graph, pairs: Mapping[int, int], limit: int = 0) -> Graph:
    """`graph` and its bodies with places; result k may take the memory of input `pairs[k]`."""

    def plan_bodies(builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if not isinstance(node.op, Control):
            return None
        return builder.emit(node.op, new, with_planned_bodies(node, limit).attrs, node.loc)

    graph = transform(graph, plan_bodies)
    places = Planner(graph, pairs).plan(limit)

    def placed(builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if node not in places:
            return None
        return builder.emit(node.op, new, {**node.attrs, "places": places[node]}, node.loc)

    return transform(graph, placed)


# ------------------------------------------------------------------------------------------------------------- bodies


def bodies(node: Node, f: Callable[[Graph, Mapping[int, int]], Graph]) -> dict[str, Any]:
    """The attributes of a control node, each body replaced by `f(body, result -> input whose memory it may take)`."""
    attrs = dict(node.attrs)
    carried = {k: k for k in range(carries(node))}
    for key, attr in attrs.items():
        if isinstance(attr, Graph):
            attrs[key] = f(attr, carried if key == "body" else {})
        elif isinstance(attr, tuple) and attr and isinstance(attr[0], Graph):
            attrs[key] = tuple(f(branch, {}) for branch in attr)
    return attrs


def with_planned_bodies(node: Node, limit: int = 0) -> Node:
    """A control node like `node`, whose bodies have places; under any limit, they take as little as can be found."""
    attrs = bodies(node, lambda body, pairs: planned(body, pairs, min(limit, 1)))
    return Node.make(node.op, node.operands, attrs, [r.type for r in node.results], node.loc)


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
    buffer of each carry that is not computed in place, and the flag that a condition computes. Each lane of a scan has
    all of it to itself: `lane` bytes.
    """

    buffers: Mapping[int, int] = field(default_factory=dict)
    flag: int = 0
    size: int = 0
    lane: int = 0

    @staticmethod
    def of(node: Node) -> Scratch:
        at = call(max, (0, *map(arena_bytes, node.regions)), least=0)
        buffers = {}
        for k in range(carries(node)):
            if not in_place(node.body, k):
                buffers[k] = at
                at += padded(node.body.inputs[k].type.nbytes)
        lane = at + ALIGNMENT * ("cond" in node.attrs)
        return Scratch(buffers, at, lane * node.attrs.get("lanes", 1), lane)


class Planner:
    """Gives places to the values of a graph whose bodies have theirs; those that end outside the arena come first."""

    def __init__(self, graph: Graph, pairs: Mapping[int, int]) -> None:
        self.graph = graph
        self.last: dict[Value, int] = {}  # the step at which a value is read last
        for step, node in enumerate(graph.nodes):
            for v in node.operands:
                self.last[root(v)] = step
        made = {r: step for step, node in enumerate(graph.nodes) for r in node.results}
        self.place: dict[Value, Place] = {}
        roots = [root(v) for v in graph.outputs]
        self.last |= dict.fromkeys(roots, len(graph.nodes))
        for k, v in enumerate(roots):
            if v.node is None or v in self.place:
                continue  # an input, a constant or a repeated result: the program copies it at the end
            target = f"out:{k}"
            if k in pairs:
                source = graph.inputs[pairs[k]]
                readers = self.last.get(source, -1)
                if readers < made[v] or (readers == made[v] and may_overwrite(v, source)):
                    target = f"in:{pairs[k]}"
            self.place[v] = target

    def plan(self, limit: int = 0) -> Mapping[Node, tuple[Place, ...]]:
        """The places of each node that has some; `limit` is that of `arena.place`."""
        buffers: list[Buffer] = []
        holds: dict[Value, Buffer] = {}
        scratch: dict[Node, Buffer] = {}
        for step, node in enumerate(self.graph.nodes):
            if node.op is reshape:
                continue
            taken: set[Value] = set()
            for r in node.results:
                if r in self.place:
                    continue
                last = self.last.setdefault(r, step)  # nobody reads it: free again behind this node
                over = self._over(r, node, step, holds, taken)
                if over is None:
                    holds[r] = Buffer(padded(r.type.nbytes), step, last)
                    buffers.append(holds[r])
                else:
                    holds[r] = over
                    over.last = last
            if isinstance(node.op, Control):
                scratch[node] = Buffer(Scratch.of(node).size, step, step)
                buffers.append(scratch[node])
        lives = tuple((b.first, b.last) for b in buffers)
        for b, at in zip(
            buffers, calls(offsets, lives, tuple(b.size for b in buffers), limit, count=len(buffers)), strict=True
        ):
            b.at = at
        self.place |= {v: in_arena(buffer.at) for v, buffer in holds.items()}
        return {
            node: tuple(self.place[r] for r in node.results)
            + ((in_arena(scratch[node].at),) if node in scratch else ())
            for node in self.graph.nodes
            if node.op is fused or isinstance(node.op, Control)
        }

    def _over(
        self, result: Value, node: Node, step: int, holds: Mapping[Value, Buffer], taken: set[Value]
    ) -> Buffer | None:
        """The memory of an operand that dies here and that `result` may overwrite."""
        for operand in node.operands:
            v = root(operand)
            if v in holds and alike(v, result) and v not in taken and self.last[v] == step and may_overwrite(result, v):
                taken.add(v)
                return holds[v]
        return None


def in_arena(at: int) -> Place:
    """The place at a byte of the arena."""
    return ("arena", at) if is_size(at) else f"arena:{at}"


def kind_and_number(where: Place) -> tuple[str, int]:
    """What a place is in, `arena`, `out` or `in`, and the byte or the number of the result or input."""
    if isinstance(where, tuple):
        return where
    kind, _, number = where.partition(":")
    return kind, int(number)


def alike(a: Value, b: Value) -> bool:
    """Whether one value fits where the other one lies: kernels address a buffer in one dtype."""
    return surely_equal((a.type.nbytes,), (b.type.nbytes,)) and a.dtype.itemsize == b.dtype.itemsize


def arena_bytes(graph: Graph) -> int:
    """Size of the arena that a planned graph needs."""
    ends = [0]
    for node in graph.nodes:
        sizes = [padded(r.type.nbytes) for r in node.results]
        if isinstance(node.op, Control):
            sizes.append(Scratch.of(node).size)
        for size, where in zip(sizes, node.attrs.get("places", ()), strict=False):
            kind, at = kind_and_number(where)
            if kind == "arena":
                ends.append(at + size)
    return call(max, tuple(ends), least=0)
