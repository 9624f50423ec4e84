"""Convolutions with 3x3 filters become products in Winograd's domain where that takes less time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tgc.ir import Builder, Graph, Node, Value, transform
from tgc.ops import contraction, movement, winograd
from tgc.passes.decompose import emit_traced
from tgc.passes.manager import Target, refuse, register
from tgc.types import F32

VECTOR = 16  # channels, of which both operands need a multiple
BYTE = 8  # operations in the time that a byte takes to or from memory, about


@register
@dataclass(frozen=True)
class Winograd:
    """conv 3x3 -> F(4x4, 3x3), a quarter of the multiplications; see `tgc.ops.winograd` for what it does to accuracy.

    It is done where it takes at most `most` of the time of the direct convolution, as estimated; 0 turns it off.
    Direct stay convolutions of too few pixels for their filters, which grow to four times their size, and those of
    few channels, whose transforms would take as long as the products.
    """

    name: ClassVar[str] = "winograd"
    most: float = 0.8

    def __call__(self, graph: Graph, target: Target) -> Graph:
        constants = set(graph.data)

        def rewrite(builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
            if node.op is not contraction.conv:
                return None
            reason = _unfit(node, node.operands[1] in constants, self.most)
            if reason:
                refuse(self.name, f"conv of {', '.join(str(v.type) for v in node.operands)}", reason)
                return None
            _, h, w, _ = node.result.shape
            return (emit_traced(builder, new, lambda x, f: _product(x, f, (h, w), node.attrs["padding"]), node.loc),)

        return transform(graph, rewrite)


def _unfit(node: Node, constant: bool, most: float) -> str:
    """Why a convolution stays direct; empty if it does not. `constant` filters are transformed once."""
    x, w = (v.type for v in node.operands)
    if w.shape[:-2] != (winograd.FILTER,) * 2 or x.dtype != F32 or node.attrs["groups"] != 1:
        return "only float32 3x3 filters in one group have a transform"
    if any(n != 1 for n in (*node.attrs["stride"], *node.attrs["dilation"])):
        return "strides and dilation skip elements of the windows"
    n, h, width, o = node.result.shape
    c = x.shape[-1]
    if c % VECTOR or o % VECTOR or not node.result.type.size:
        return f"channels come in multiples of {VECTOR}"
    windows = n * winograd.tiles_of(h) * winograd.tiles_of(width)
    filters, data = 4 * winograd.WINDOW**2 * c * o, 4 * winograd.WINDOW**2 * windows * c
    moved = filters * (1 if constant else 4) + 2 * data
    taken = 2 * winograd.WINDOW**2 * windows * c * o + BYTE * moved
    direct = 2 * n * h * width * winograd.FILTER**2 * c * o
    return "" if taken <= most * direct else f"it would take {taken / direct:.2f} of the direct convolution's time"


def _product(x: Any, w: Any, shape: tuple[int, int], padding: Any) -> Any:
    low = [p[0] for p in padding]
    covered = [winograd.tiles_of(n) * winograd.TILE + winograd.FILTER - 1 for n in shape]
    high = [n - size - before for n, size, before in zip(covered, x.shape[1:3], low, strict=True)]
    if any(low) or any(high):
        x = movement.pad(x, low=(0, *low, 0), high=(0, *high, 0), interior=(0,) * 4, value=0)
    c, o = w.shape[-2:]
    window = movement.reshape(w, shape=(1, winograd.FILTER, winograd.FILTER, c * o))
    filters = movement.reshape(winograd.tiles(window, matrix="filter"), shape=(winograd.WINDOW**2, c, o))
    return winograd.product(winograd.tiles(x, matrix="data"), filters, shape=shape)


__all__ = ["Winograd"]
