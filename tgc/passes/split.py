"""Long reductions and contractions in chunks, so that threads can share them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from tgc.ir import Attr, Builder, Graph, Node, Value, transform
from tgc.ops.contraction import conv_kernel_grad, dot
from tgc.ops.kinds import Reduce
from tgc.ops.movement import reshape
from tgc.ops.reduce import reduce_sum
from tgc.passes.manager import Target, register
from tgc.passes.tiles import channelwise
from tgc.sizes import is_size

SMALL = 1 << 14  # elements of a product that are too few for the threads to share
IMAGES = 1 << 24  # multiplications of a gradient by a filter from which on sharing the images pays for a further launch
MULTIPLE = 4  # how many times as long as a side of the result a contracted axis must be


@register
@dataclass(frozen=True)
class Split:
    """sum(x) -> sum of partial sums, `chunks` of them or one a row of the outermost axis, where that is reduced and
    much is summed to each element (also because rounding errors grow with the length of a float32 sum);
    dot(x, y) -> sum of the products of `products` parts, where much is contracted to a small result;
    conv_kernel_grad(x, y) -> sum of those of up to `products` chunks of the images, likewise.

    The number of chunks is fixed: results do not depend on the number of threads.
    """

    name: ClassVar[str] = "split"
    chunks: int = 16
    least: int = 1 << 16
    products: int = 8

    def __call__(self, graph: Graph, target: Target) -> Graph:
        return transform(graph, self._rewrite)

    def _rewrite(self, builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
        op = node.op
        if op is dot:
            return self._split_dot(builder, node, new)
        if op is conv_kernel_grad:
            return self._split_kernel_grad(builder, node, new)
        if not isinstance(op, Reduce) or not op.splits or node.attrs["chunks"]:
            return None
        axes: tuple[int, ...] = node.attrs["axes"]
        x = new[0]
        if not axes or axes[0] != 0 or x.type.size < self.least:
            return None
        chunks, folded = min(self.chunks, x.shape[0]), math.prod(x.shape[a] for a in axes)
        if chunks < 2 or folded < chunks * chunks:
            return None
        (partial,) = builder.emit(op, new, {"axes": axes, "chunks": chunks}, node.loc)
        return builder.emit(op, (partial,), {"axes": (0,), "chunks": 0}, node.loc)

    def _split_kernel_grad(self, builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
        """The images in chunks, where much is summed to few filters: else each thread would read all of them.

        Gradients of depthwise convolutions share nothing else but their channels among threads.
        """
        if is_size(new[0].shape[0]):
            return None  # its divisors are the sizes' own
        axes = conv_kernel_grad.axis_map(*(v.type for v in new), **node.attrs)
        size, work = node.result.type.size, math.prod(axes.extents.values())
        chunks = max(n for n in range(1, self.products + 1) if new[0].shape[0] % n == 0)
        if channelwise(axes) is not None:
            pays = work >= self.least * self.products
        else:
            pays = node.attrs["groups"] == 1 and work >= max(IMAGES, MULTIPLE * math.sqrt(size) * size)
        if node.attrs["chunks"] or chunks == 1 or size > SMALL or not pays:
            return None
        (partial,) = builder.emit(conv_kernel_grad, new, {**node.attrs, "chunks": chunks}, node.loc)
        return builder.emit(reduce_sum, (partial,), {"axes": (0,), "chunks": 0}, node.loc)

    def _split_dot(self, builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
        """The outermost contracted axis in `products` parts, each a matrix of a batch; splitting it moves no data."""
        sides, batch = node.attrs["contract"], node.attrs["batch"]
        if batch != ((), ()) or any(v.type.layout for v in new):
            return None
        size, long = node.result.type.size, new[0].shape[sides[0][0]]
        work = size * math.prod(new[0].shape[a] for a in sides[0])
        if is_size(size) or is_size(long):
            return None  # one program for short and long ones
        few = size <= SMALL and long >= MULTIPLE * math.sqrt(size)
        if not few or work < self.least * self.products or long % self.products:
            return None
        parts: list[Value] = []
        for v, axes in zip(new, sides, strict=True):
            at = axes[0]
            shape = (*v.shape[:at], self.products, long // self.products, *v.shape[at + 1 :])
            parts += builder.emit(reshape, (v,), {"shape": shape}, node.loc)
        attrs: dict[str, Attr] = {
            "batch": tuple((axes[0],) for axes in sides),
            "contract": tuple((axes[0] + 1, *(a + (a > axes[0]) for a in axes[1:])) for axes in sides),
        }
        (products,) = builder.emit(dot, parts, attrs, node.loc)
        return builder.emit(reduce_sum, (products,), {"axes": (0,), "chunks": 0}, node.loc)
