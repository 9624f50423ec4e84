"""Values that kernels compute again rather than read, where that moves fewer bytes.

A value that one region would store for others is dropped from its results if each reader can have it by a few
operations from values that lie in memory anyway, or from small ones (a mean, a variance, a sum of exponentials) that
the region can store instead. Arithmetic is the same in every kernel, so the value is the same.

    layer norm:  stores y, mean and variance; its gradient reads x instead of x - mean and (x - mean) * rsqrt(variance)
    dropout:     stores no mask
    softmax:     stores maxima and sums; its gradient reads the scores
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tgc.ir import Node, Value
from tgc.ops.kinds import Elementwise, Movement, Reduce
from tgc.ops.scalar import MATH, PRIMITIVES
from tgc.types import DType

if TYPE_CHECKING:
    from tgc.passes.fuse import Partition
    from tgc.passes.groups import Group

SMALL = 16  # times fewer bytes than a value that is dropped has what is stored instead
COSTS = {**dict.fromkeys(PRIMITIVES, 1), **dict.fromkeys(MATH, 8), "pow": 16, "div": 4, "sqrt": 4, "rsqrt": 4}
COSTS |= {"floor_div": 8, "mod": 8, "atan2": 16, "philox": 40}


class _Cost:
    """`Scalars` that count what a rule does; an expression is its dtype."""

    def __init__(self) -> None:
        self.total = 0

    def const(self, value: Any, dtype: DType) -> DType:
        return dtype

    def cast(self, x: DType, dtype: DType) -> DType:
        self.total += 1
        return dtype

    def dtype(self, x: DType) -> DType:
        return x

    def guard(self, condition: Any, then: Any, otherwise: Any) -> Any:
        return then()

    def __getattr__(self, name: str) -> Any:
        def apply(*xs: DType) -> DType:
            self.total += COSTS[name]
            return xs[-1]

        return apply


def cost(node: Node) -> int:
    """About how many additions an element of an elementwise node takes."""
    assert isinstance(node.op, Elementwise)
    counted = _Cost()
    node.op.scalar(counted, *(v.dtype for v in node.operands), **node.attrs)
    return counted.total


def recompute(partition: Partition) -> int:
    """Drop results that their readers had better compute again; returns how many."""
    candidates = [n for n in partition.graph.nodes if isinstance(n.op, Elementwise) and n.result.type.size > 1]
    return sum([_drop(partition, node) for node in candidates])


def _drop(partition: Partition, node: Node) -> bool:
    """Let all readers of a node compute it again, if they can and that moves fewer bytes; whether they do."""
    value, maker = node.result, partition.group[node]
    readers = [g for g in partition.readers(value) if g is not maker and node not in g.again]
    if not readers or value in partition.outputs or not all(partition.computes(g) for g in readers):
        return False
    if any(_from_memory(partition, value, g) for g in readers):
        return False
    cone = _cone(partition, value)
    if cone is None:
        return False
    weight = sum(map(cost, cone))
    if any(weight * sweeps(partition.closure([*g.nodes, *g.again])) > partition.options.again for g in readers):
        return False
    makers = [partition.group[v.node] for n in cone for v in n.operands if v.node in partition.group]
    touched = list(dict.fromkeys([maker, *readers, *makers]))
    before, kept = _traffic(partition, touched), {g: g.again for g in readers}
    for g in readers:
        partition.compute_again(g, (g.again | cone) - set(g.nodes))
    if _traffic(partition, touched) >= before or any(
        partition.unfit(g.nodes, g.again) for g in touched if partition.computes(g)
    ):
        for g, again in kept.items():
            partition.compute_again(g, again)
        return False
    for g in readers:
        for n in cone:
            for source in partition.sources(n):
                if partition.group[source] is not g and source not in g.again:
                    g.follow(partition.group[source])
    return True


def _from_memory(partition: Partition, value: Value, group: Group) -> bool:
    """Whether a reader needs a value in memory, not only its elements one by one."""
    return any(not isinstance(n.op, Elementwise | Movement | Reduce) and value in n.operands for n in group.nodes)


def _cone(partition: Partition, value: Value) -> frozenset[Node] | None:
    """The elementwise nodes between a value and what is, or may as well be, in memory; None if there is more."""
    found: set[Node] = set()
    stack = [value]
    stored: dict[Group, set[Value]] = {}
    while stack:
        v = stack.pop()
        node = v.node
        if node is None or node in found:
            continue
        if v is not value and node in partition.group:
            maker = partition.group[node]
            if maker not in stored:
                stored[maker] = set(partition.results(maker.nodes))
            if v in stored[maker] or not partition.computes(maker) or v.type.nbytes * SMALL <= value.type.nbytes:
                continue  # in memory, or small enough to be put there
        if node not in partition.group:
            stack += node.operands
            continue
        if not isinstance(node.op, Elementwise) or len(found) > partition.options.again:
            return None
        found.add(node)
        stack += node.operands
    return frozenset(found)


def sweeps(nodes: Iterable[Node]) -> int:
    """How often a region goes over its operands: one more than reductions of reductions are deep, at least 1."""
    depth: dict[Node, int] = {}
    for node in nodes:
        below = max((depth.get(v.node, 0) for v in node.operands if v.node is not None), default=0)
        depth[node] = below + isinstance(node.op, Reduce)
    return max(1, *depth.values()) if depth else 1


def inputs_of(closure: Sequence[Node]) -> list[Value]:
    """The values that a region reads from outside, in order of first use."""
    own = set(closure)
    return list(dict.fromkeys(v for node in closure for v in node.operands if v.node not in own))


def _traffic(partition: Partition, groups: Iterable[Group]) -> int:
    """Bytes that groups read and write."""
    total = 0
    for g in groups:
        if partition.computes(g):
            nodes, results = partition.parts(g)
            total += sum(v.type.nbytes for v in (*inputs_of(nodes), *results))
    return total


__all__ = ["inputs_of", "recompute"]
