"""Matrix products, convolutions, pooling windows and attention."""

from __future__ import annotations

import math
import string
from typing import Any

from tgc import numpy as tnp
from tgc.frontends.onnx.emitters.emission import Emission, Place, exports
from tgc.frontends.onnx.emitters.movement import reshaped
from tgc.ir import Node
from tgc.ops.attention import composed
from tgc.ops.movement import inverse
from tgc.trace import trace


@exports("dot")
def dot(e: Emission, node: Node) -> str:
    """MatMul where the product is one of matrices, batched or of rows; else Einsum."""
    (x, y), (bx, by), (cx, cy) = node.operands, node.attrs["batch"], node.attrs["contract"]
    fx, fy = ([a for a in range(v.type.rank) if a not in (*b, *c)] for v, b, c in ((x, bx, cx), (y, by, cy)))
    if len(cx) == 1 and fx and len(fy) == 1 and (not bx or len(fx) == 1):
        left, right = e.turned(e.whole(x), (*bx, *fx, *cx)), e.turned(e.whole(y), (*by, *cy, *fy))
        return e.typed("MatMul", left, right, dtype=x.dtype)
    letters = iter(string.ascii_letters)
    mine = {a: next(letters) for a in range(x.type.rank)}
    other: dict[int, str] = {}
    for axes, others in ((bx, by), (cx, cy)):
        other |= {b: mine[a] for a, b in zip(axes, others, strict=True)}
    other |= {a: next(letters) for a in fy}
    result = [mine[a] for a in (*bx, *fx)] + [other[a] for a in fy]
    terms = ["".join(names[a] for a in sorted(names)) for names in (mine, other)]
    return e.typed("Einsum", e.whole(x), e.whole(y), dtype=x.dtype, equation=f"{','.join(terms)}->{''.join(result)}")


def _first(rank: int) -> tuple[int, ...]:
    """What brings channels, which are last, behind the batch."""
    return (0, rank - 1, *range(1, rank - 1))


def _last(rank: int) -> tuple[int, ...]:
    """What brings them back."""
    return (0, *range(2, rank), 1)


@exports("conv")
def conv(e: Emission, node: Node) -> str:
    """Conv, whose channels come first."""
    x, w = node.operands
    rank, padding = x.type.rank, node.attrs["padding"]
    image, filters = e.turned(e.whole(x), _first(rank)), e.turned(e.whole(w), (rank - 1, rank - 2, *range(rank - 2)))

    def apply(*bias: str) -> str:
        y = e.typed(
            "Conv",
            image,
            filters,
            *bias,
            kernel_shape=w.shape[:-2],
            strides=node.attrs["stride"],
            dilations=node.attrs["dilation"],
            pads=[p[side] for side in (0, 1) for p in padding],
            group=node.attrs["groups"],
            dtype=x.dtype,
        )
        return e.turned(y, _last(rank))

    made = apply()
    e.biased[made] = apply
    return made


def _pooled(e: Emission, node: Node, operator: str, **attributes: Any) -> str:
    """A pooling operator over the axes along which windows slide; all others are batches and channels."""
    (x,) = node.operands
    each = zip(*(node.attrs[name] for name in ("window", "stride", "padding", "dilation")), strict=True)
    slides = [a for a, (w, s, p, _) in enumerate(each) if w > 1 or s > 1 or any(p)]
    rest = [a for a in range(x.type.rank) if a not in slides]
    if not slides:
        return e.whole(x)
    perm = (*rest, *slides)
    rows = e.turned(e.whole(x), perm)
    as_images = len(rest) == 2
    if not as_images:
        rows = reshaped(e, rows, (math.prod(x.shape[a] for a in rest), 1, *(x.shape[a] for a in slides)))
    y = e.typed(
        operator,
        rows,
        kernel_shape=[node.attrs["window"][a] for a in slides],
        strides=[node.attrs["stride"][a] for a in slides],
        dilations=[node.attrs["dilation"][a] for a in slides],
        pads=[node.attrs["padding"][a][side] for side in (0, 1) for a in slides],
        **attributes,
        dtype=x.dtype,
    )
    if not as_images:
        y = reshaped(e, y, [node.result.shape[a] for a in perm])
    return e.turned(y, [perm.index(a) for a in range(len(perm))])


@exports("window_max")
def window_max(e: Emission, node: Node) -> str:
    """MaxPool."""
    return _pooled(e, node, "MaxPool")


@exports("window_sum")
def window_sum(e: Emission, node: Node) -> str:
    """AveragePool with padding counted, times what it was divided by."""
    mean, count = _pooled(e, node, "AveragePool", count_include_pad=1), math.prod(node.attrs["window"])
    total = e.op("Mul", mean, e.scalar(count, node.result.dtype))
    e.means[total] = count, lambda: mean
    return total


def _places(e: Emission, node: Node) -> list[Place]:
    return [Place(e.whole(v), v.shape) for v in node.operands]


@exports("attention")
def attention(e: Emission, node: Node) -> tuple[Place, ...]:
    """The matrix of scores, its softmax, and a product."""
    attrs = {name: a for name, a in node.attrs.items() if name != "orders"}
    tensors = (*node.operands, *node.results)
    orders = node.attrs["orders"] or [range(v.type.rank) for v in tensors]

    def parts(*xs: Any) -> list[Any]:
        made = composed(*(tnp.transpose(x, a) for x, a in zip(xs, orders, strict=False)), **attrs)
        return [tnp.transpose(y, inverse(a)) for y, a in zip(made, orders[len(xs) :], strict=True)]

    return tuple(e.inline(trace(parts, [v.type for v in node.operands]), _places(e, node)))


@exports("checkpoint", "composite")
def region(e: Emission, node: Node) -> tuple[str | Place, ...]:
    """The body; a softmax along one axis is an operator."""
    if node.attrs.get("name") == "_softmax":
        (total,) = (n for n in node.body.nodes if n.op.name == "sum")
        if len(total.attrs["axes"]) == 1:
            return (e.op("Softmax", e.whole(node.operands[0]), axis=total.attrs["axes"][0]),)
    return tuple(e.inline(node.body, _places(e, node)))
