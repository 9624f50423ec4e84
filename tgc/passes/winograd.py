"""Convolutions with 3x3 filters become products in Winograd's domain where that takes less time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tgc.ir import Builder, Graph, Node, Value, transform
from tgc.ops import contraction, movement, winograd
from tgc.ops.winograd import FILTER, FILTERINGS, Filtering
from tgc.passes.decompose import emit_traced
from tgc.passes.manager import Target, refuse, register
from tgc.sizes import hints_of
from tgc.types import F32

VECTOR = 16  # channels, of which both operands need a multiple
PARTS = 100  # of a time, in which the limit is counted
BYTE = 8  # operations in the time that a byte takes to or from memory, about


@register
@dataclass(frozen=True)
class Winograd:
    """conv 3x3 and its gradients -> F(4x4, 3x3) or F(2x2, 3x3), with 1/4 or 4/9 of the multiplications.

    See `tgc.ops.winograd` for accuracy. It is done where it takes at most `most` of the time of the direct convolution,
    as estimated; 0 turns it off. Larger tiles save more multiplications, smaller ones have smaller filters. Direct stay
    convolutions of too few pixels for their filters, which grow to 4 or 16/9 times their size, and those of few
    channels, whose transforms would take as long as the products.
    """

    name: ClassVar[str] = "winograd"
    most: float = 0.8
    tile: int = 0  # of the filtering; 0 lets each convolution have the one that takes least time

    def __call__(self, graph: Graph, target: Target) -> Graph:
        constants = set(graph.data)

        def rewrite(builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
            if node.op not in (contraction.conv, contraction.conv_kernel_grad):
                return None
            filtering, reason = self._choice(node, node.operands[1] in constants)
            if filtering is None:
                what = f"{node.op.name} of {', '.join(str(v.type) for v in node.operands)}"
                refuse(self.name, what, reason)
                return None
            f = _conv if node.op is contraction.conv else _kernel_grad
            padding = node.attrs["padding"]
            return (emit_traced(builder, new, lambda x, y: f(filtering, x, y, padding), node.loc),)

        return transform(graph, rewrite)

    def _choice(self, node: Node, constant: bool) -> tuple[Filtering | None, str]:
        """How to filter a convolution or its gradient by the filter, or None and why it stays direct.

        `constant` filters are transformed once.
        """
        gradient = node.op is contraction.conv_kernel_grad
        x, g = (v.type for v in node.operands)
        w = node.result.type if gradient else g
        y = g if gradient else node.result.type
        whole = node.attrs["groups"] == 1 and not node.attrs.get("chunks")
        if w.shape[:-2] != (FILTER,) * 2 or x.dtype != F32 or not whole:
            return None, "only float32 3x3 filters in one group have a transform"
        if any(n != 1 for n in (*node.attrs["stride"], *node.attrs["dilation"])):
            return None, "strides and dilation skip elements of the windows"
        n, h, width, o = y.shape
        c = x.shape[-1]
        if c % VECTOR or o % VECTOR or not y.size:
            return None, f"channels come in multiples of {VECTOR}"

        def time(filtering: Filtering) -> int:
            """In operations."""
            elements, windows = filtering.window**2, n * filtering.tiles_of(h) * filtering.tiles_of(width)
            filters, data = 4 * elements * c * o, 4 * elements * windows * c
            moved = filters * (1 if constant else 4) + 2 * data
            if gradient:  # the windows are there from the forward pass; those of the cotangent are written and read
                moved = 2 * filters + 3 * data // c * o
            return 2 * elements * windows * c * o + BYTE * moved

        filtering = min((f for f in FILTERINGS.values() if self.tile in (0, f.tile)), key=time)
        taken, direct = time(filtering), 2 * n * h * width * FILTER**2 * c * o
        if taken * PARTS <= round(self.most * PARTS) * direct:
            return filtering, ""
        return None, f"it would take {hints_of(taken) / hints_of(direct):.2f} of the direct convolution's time"


def _windows(filtering: Filtering, x: Any, shape: Sequence[int], padding: Any) -> Any:
    """The transformed windows of x that outputs of `shape` are made of."""
    low = [p[0] for p in padding]
    covered = [filtering.tiles_of(n) * filtering.tile + FILTER - 1 for n in shape]
    high = [n - size - before for n, size, before in zip(covered, x.shape[1:3], low, strict=True)]
    return winograd.tiles(_padded(x, low, high), matrix="data", tile=filtering.tile)


def _padded(x: Any, low: Sequence[int], high: Sequence[int]) -> Any:
    if not any(low) and not any(high):
        return x
    return movement.pad(x, low=(0, *low, 0), high=(0, *high, 0), interior=(0,) * 4, value=0)


def _conv(filtering: Filtering, x: Any, w: Any, padding: Any) -> Any:
    c, o = w.shape[-2:]
    shape = [n + sum(p) - FILTER + 1 for n, p in zip(x.shape[1:3], padding, strict=True)]
    window = movement.reshape(w, shape=(1, FILTER, FILTER, c * o))
    filters = winograd.tiles(window, matrix="filter", tile=filtering.tile)
    filters = movement.reshape(filters, shape=(filtering.window**2, c, o))
    return winograd.product(_windows(filtering, x, shape, padding), filters, shape=shape)


def _kernel_grad(filtering: Filtering, x: Any, g: Any, padding: Any) -> Any:
    """The transpose of `_conv` over w: products of windows of x and g, summed over all windows, transformed back."""
    shape, c, o = g.shape[1:3], x.shape[-1], g.shape[-1]
    g = _padded(g, (0, 0), [filtering.tiles_of(n) * filtering.tile - n for n in shape])
    cotangents = winograd.tiles(g, matrix="cotangent", tile=filtering.tile)
    windows = _windows(filtering, x, shape, padding)
    sums = contraction.dot(windows, cotangents, batch=((0,), (0,)), contract=((1, 2, 3), (1, 2, 3)))
    sums = movement.reshape(sums, shape=(1, filtering.window, filtering.window, c * o))
    made = winograd.tiles(sums, matrix="filter_cotangent", tile=filtering.tile)
    return movement.reshape(made, shape=(FILTER, FILTER, c, o))


__all__ = ["Winograd"]
