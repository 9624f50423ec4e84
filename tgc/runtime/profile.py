"""Where the time of a call goes: a row per kernel, beside what the machine allows (its roofline).

Work is counted on the graph, by the kinds of its ops, so it is the work that the program must do, whatever the code
does beyond it (values computed again, masked lanes): a contraction has 2 * product of its extents FLOPs, an elementwise
op one an element of its result, a reduction, cumulation or scatter one an element of its operand; an attention has
those of its products, as far as the scores count. Bytes are those of all operands and results of a kernel, each once;
of an operand that only movements read (a slice, a gather), no more than they take.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model" (2009).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tgc.ir import Graph, Node
from tgc.ops.attention import Attention
from tgc.ops.cumulative import Cumulative
from tgc.ops.kinds import Contraction, Elementwise, Movement, Reduce, Scatter
from tgc.ops.winograd import TransformedProduct
from tgc.types import is_float


@dataclass(frozen=True)
class Roofline:
    """What the machine can do with all threads of a program, as it was measured.

    Attributes:
        flops: float32 multiply-adds in registers, counted as two FLOPs each, per second; float64 has half of it.
        bandwidth: bytes per second, read and written, of an elementwise kernel on arrays beyond all caches.
    """

    flops: float
    bandwidth: float

    def seconds(self, flops: float, bytes: float, itemsize: int = 4) -> float:
        """The least time for work on floats of `itemsize` bytes."""
        return max(flops * max(itemsize, 4) / 4 / self.flops, bytes / self.bandwidth)


@dataclass(frozen=True)
class Row:
    """What one node of the planned graph took in a call.

    Attributes:
        name: of its kernel.
        kind: of its region: map, reduce, contraction, ...; `copy`, or `call` for what is no kernel's.
        launches: of kernels in the call, more than one in a loop or where a node has several.
        seconds: of all launches.
        flops, bytes: of all launches, as the module says. Opaque regions and calls have no known FLOPs.
        limit: seconds that the roofline allows.
        loc: the user's lines.
    """

    name: str
    kind: str
    launches: int
    seconds: float
    flops: int
    bytes: int
    limit: float
    loc: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Of the roofline: 1 is as quick as the machine can be; more is possible where data come from caches."""
        return self.limit / self.seconds if self.seconds > 0 else math.nan


@dataclass(frozen=True)
class Profile:
    """The rows of a call in the order of execution; as a string, a table, the longest first.

    Attributes:
        rows: medians over some calls that ran kernel by kernel.
        wall: seconds of a call, the median over as many that ran as usual, in turns with the others.
        roofline: of the machine.
    """

    rows: tuple[Row, ...]
    wall: float
    roofline: Roofline

    @property
    def explained(self) -> float:
        """The part of `wall` that the rows sum up to; more than 1 where kernels are quicker without a stop between."""
        return sum(row.seconds for row in self.rows) / self.wall

    def as_dicts(self) -> list[dict[str, Any]]:
        """The rows as data, each with its share."""
        return [{**asdict(row), "share": row.share} for row in self.rows]

    def __str__(self) -> str:
        heading = ("us", "% of call", "launches", "MFLOP", "GFLOP/s", "MB", "GB/s", "% of limit", "kernel")
        lines = [heading]
        for row in sorted(self.rows, key=lambda row: -row.seconds):
            s = max(row.seconds, 1e-12)
            work = (f"{row.flops / 1e6:.3f}", f"{row.flops / s / 1e9:.1f}") if row.flops else ("", "")
            data = (f"{row.bytes / 1e6:.3f}", f"{row.bytes / s / 1e9:.1f}") if row.bytes else ("", "")
            share = f"{100 * row.share:.0f}" if row.limit else ""
            where = f"  # {', '.join(row.loc[:2])}{', ...' * (len(row.loc) > 2)}" if row.loc else ""
            part = f"{100 * row.seconds / self.wall:.1f}"
            lines.append((f"{s * 1e6:.1f}", part, str(row.launches), *work, *data, share, row.name + where))
        widths = [max(len(line[k]) for line in lines) for k in range(len(heading) - 1)]
        table = ["  ".join([*(c.rjust(w) for c, w in zip(line, widths, strict=False)), line[-1]]) for line in lines]
        table.append(
            f"a call takes {self.wall * 1e6:.1f} us, of which the rows explain {100 * self.explained:.1f} %; "
            f"the limit is {self.roofline.flops / 1e9:.0f} GFLOP/s (float32) "
            f"and {self.roofline.bandwidth / 1e9:.1f} GB/s"
        )
        return "\n".join(table)

    __repr__ = __str__


def flops(graph: Graph) -> int:
    """Floating-point operations of all nodes of a graph; conversions and arithmetic of integers are none."""
    return sum(_flops(node) for node in graph.nodes)


def _flops(node: Node) -> int:
    if not is_float(node.results[0].type.dtype):
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


def itemsize(node: Node) -> int:
    """Bytes of the widest float that a node reads or writes."""
    types: Sequence[Any] = [v.type.dtype for v in (*node.operands, *node.results)]
    return max((t.itemsize for t in types if is_float(t)), default=4)


__all__ = ["Profile", "Roofline", "Row", "flops", "itemsize", "traffic"]
