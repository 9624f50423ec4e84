"""The work of graphs and kernels, counted by the kinds of their ops.

It is the work that must be done, whatever the code does beyond it (values computed again, masked lanes): a contraction
has 2 * product of its extents FLOPs, an elementwise op one an element of its result, a reduction, cumulation or scatter
one an element of its operand; an attention has those of its products, as far as the scores count. Bytes are those of
all operands and results of a kernel, each once; of an operand that only movements read (a slice, a gather), no more
than they take.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from tgc.ir import Graph, Node
from tgc.ops.attention import Attention
from tgc.ops.cumulative import Cumulative
from tgc.ops.kinds import Contraction, Control, Elementwise, Movement, Reduce, Region, Scatter
from tgc.ops.winograd import TransformedProduct
from tgc.types import is_float


def flops(graph: Graph) -> int:
    """Floating-point operations of all nodes of a graph; conversions and arithmetic of integers are none."""
    return sum(_flops(node) for node in graph.nodes)


def work_by_op(graph: Graph) -> dict[str, int]:
    """Op -> FLOPs of its nodes in a graph and in the bodies of its regions and control flow.

    Bodies of a scan count at each step, those of a `while_loop` once; of the branches of a `switch` the one that has
    most.
    """
    found: Counter[str] = Counter()
    for node in graph.nodes:
        if isinstance(node.op, Region):
            found.update(work_by_op(node.body))
        elif isinstance(node.op, Control):
            for op, n in _heaviest(node).items():
                found[op] += n * steps(node)
        else:
            found[node.op.name] += _flops(node)
    return {op: n for op, n in found.items() if n}


def _heaviest(node: Node) -> dict[str, int]:
    """The work of one step of a loop, or of the branch that has most."""
    bodies = [work_by_op(body) for body in node.regions]
    if "branches" in node.attrs:
        return max(bodies, key=lambda work: sum(work.values()))
    return dict(sum(map(Counter, bodies), Counter()))


def steps(node: Node) -> int:
    """How often the bodies of a control node run, as far as it is known: 1 for a `while_loop`."""
    return int(node.attrs.get("length", 1))


def traffic_of(graph: Graph) -> int:
    """Bytes that the fused nodes of a graph must read and write; bodies count as in `work_by_op`."""
    found = 0
    for node in graph.nodes:
        if isinstance(node.op, Control):
            inner = [traffic_of(body) for body in node.regions]
            found += max(inner) if "branches" in node.attrs else sum(inner) * steps(node)
        elif isinstance(node.op, Region):
            found += traffic(node)
    return found


def _flops(node: Node) -> int:
    if not is_float(node.results[0].type.dtype) or node.op.name in ("cast", "stop_gradient"):
        return 0
    match node.op:
        case Contraction():
            extents = node.op.axis_map(*(v.type for v in node.operands), **node.attrs).extents
            return 2 * math.prod(extents.values())
        case TransformedProduct():
            return 2 * node.operands[0].type.size * node.result.shape[-1]
        case Elementwise():
            return node.result.type.size
        case Reduce() | Cumulative():
            return node.operands[0].type.size
        case Attention():
            return node.op.flops([v.type for v in node.operands], node.attrs)
        case Scatter():
            return node.operands[-1].type.size
    return 0


def traffic(node: Node) -> int:
    """Bytes that a fused node must read and write."""
    read = sum(_read(node.body, k) for k in range(len(node.operands)))
    return read + sum(v.type.nbytes for v in node.results)


def _read(body: Graph, k: int) -> int:
    """Bytes of input `k` that a body needs."""
    v = body.inputs[k]
    taken = 0
    for node in _users(body, k):
        if not isinstance(node.op, Movement):
            return v.type.nbytes
        taken += node.result.type.size * v.type.dtype.itemsize
    if v in body.outputs:
        return v.type.nbytes
    return min(taken, v.type.nbytes)


def _users(body: Graph, k: int) -> Iterator[Node]:
    return (node for node in body.nodes if body.inputs[k] in node.operands)


__all__ = ["flops", "steps", "traffic", "traffic_of", "work_by_op"]
