"""Long reductions in chunks, so that threads can share them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tgc.ir import Builder, Graph, Node, Value, transform
from tgc.ops.kinds import Reduce
from tgc.passes.manager import Target, register


@register
@dataclass(frozen=True)
class Split:
    """sum(x) -> sum of `chunks` partial sums, where the outermost axis is reduced and the operand is large.

    The number of chunks is fixed: results do not depend on the number of threads.
    """

    name: ClassVar[str] = "split"
    chunks: int = 16
    least: int = 1 << 16

    def __call__(self, graph: Graph, target: Target) -> Graph:
        return transform(graph, self._rewrite)

    def _rewrite(self, builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
        op = node.op
        if not isinstance(op, Reduce) or not op.splits or node.attrs["chunks"]:
            return None
        axes: tuple[int, ...] = node.attrs["axes"]
        x = new[0]
        if not axes or axes[0] != 0 or x.type.size < self.least or x.shape[0] < self.chunks:
            return None
        (partial,) = builder.emit(op, new, {"axes": axes, "chunks": self.chunks}, node.loc)
        return builder.emit(op, (partial,), {"axes": (0,), "chunks": 0}, node.loc)
