"""Contractions of 8-bit integers into int32, in the form that backends tile.

What is cast to int32 only to be multiplied stays as it is: `dot(cast(x), cast(y))` becomes `dot{dtype=i32}(x, y)`. Both
operands have 8 bits, not both are signed but where tile registers multiply them, nothing is padded on the fly, and an
axis that is summed, along which the left operand is contiguous, is a multiple of `QUAD`: four of its elements are
multiplied at once. Convolutions in groups have no such tiles: floats hold their sums exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tgc.ir import Value
from tgc.ops import contraction, elementwise, movement, reduce
from tgc.ops.creation import fill, full
from tgc.ops.kinds import Contraction
from tgc.passes.tiles import QUAD
from tgc.sizes import is_size
from tgc.trace import Tracer
from tgc.types import F32, F64, I8, I32, U8, DType

Data = Mapping[Value, np.ndarray]

_RANGES = {I8: (-128, 127), U8: (0, 255)}
_MOVED = (movement.transpose, movement.reshape, movement.broadcast, movement.slice_, movement.reverse)
EXACT = 1 << 24  # the integers of up to this magnitude are float32 numbers


def narrowed(x: Tracer, data: Data) -> Tracer | None:
    """The 8-bit integers of which `x` is the cast to int32, moved about perhaps; None if it is something else.

    `data` has the constants of the graph: those that fit are cast back.
    """
    if x.value in data:
        array = data[x.value]
        fitting = _fitting(int(array.min(initial=0)), int(array.max(initial=0)))
        return None if fitting is None else Tracer(x.trace, x.trace.lift(array.astype(fitting)))
    node = x.value.node
    if node is None or x.dtype != I32:
        return None
    if node.op is full and not is_size(node.attrs["value"]):
        number = int(node.attrs["value"])
        fitting = _fitting(number, number)
        return None if fitting is None else fill(x.shape, fitting, number)
    if node.op is elementwise.cast:
        inner = node.operands[0]
        return Tracer(x.trace, inner) if inner.dtype in _RANGES else None
    padded = node.op is movement.pad
    if not padded and node.op not in _MOVED:
        return None
    inside = narrowed(Tracer(x.trace, node.operands[0]), data)
    if inside is None:
        return None
    low, high = _RANGES[inside.dtype]
    if padded and not low <= int(node.attrs["value"]) <= high:
        return None
    assert callable(node.op)
    moved: Tracer = node.op(inside, **node.attrs)
    return moved


def _fitting(low: int, high: int) -> DType | None:
    """The 8-bit integers, preferably signed, that have all numbers of a range."""
    return next((d for d, (least, most) in _RANGES.items() if least <= low and high <= most), None)


def product(op: Contraction, x: Tracer, y: Tracer, *, both_signed: bool, **attrs: Any) -> Tracer | None:
    """The int32 contraction of 8-bit integers; None if it is no matrix product with columns.

    `both_signed` says whether the machine multiplies two signed ones.
    """
    form = _FORMS.get(op.name)
    return form(x, y, both_signed=both_signed, **attrs) if form else None


def exact_float(x: Tracer, y: Tracer, terms: int) -> DType:
    """A float dtype in which sums of so many products of 8-bit integers are exact, in any order."""
    most = math.prod(max(map(abs, _RANGES[t.dtype])) for t in (x, y)) * terms
    return F32 if not is_size(most) and most <= EXACT else F64


def _unsigned(x: Tracer) -> Tracer:
    """Signed integers, 128 added to each."""
    more: Tracer = elementwise.add(elementwise.cast(x, dtype=U8), fill(x.shape, U8, 128))
    return more


def _corrected(product: Tracer, sums: Tracer, axes: tuple[int, ...]) -> Tracer:
    """A product without what 128 more in each element of the left operand add to it, which is 128 times the `sums` of
    the right one, that lie along `axes` of the result.
    """
    more = elementwise.mul(sums, fill(sums.shape, I32, 128))
    corrected: Tracer = elementwise.sub(product, movement.broadcast(more, axes=axes, shape=product.shape))
    return corrected


def _padded(x: Tracer, axis: int, more: int) -> Tracer:
    """`x` with so many zeros behind those along an axis."""
    if not more:
        return x
    none = (0,) * len(x.shape)
    padded: Tracer = movement.pad(x, low=none, high=(*none[:axis], more, *none[axis + 1 :]), interior=none, value=0)
    return padded


# ------------------------------------------------------------------------------------------------------------- dot


def _dot(x: Tracer, y: Tracer, *, both_signed: bool, batch: Any, contract: Any) -> Tracer | None:
    free = [
        [a for a in range(len(t.shape)) if a not in b and a not in c]
        for t, b, c in zip((x, y), batch, contract, strict=True)
    ]
    if free[0] and not free[1]:  # no columns: the result's axes are the same after swapping
        return _dot(y, x, both_signed=both_signed, batch=batch[::-1], contract=contract[::-1])
    summed = [x.shape[a] for a in contract[0]]
    if not contract[0] or math.prod(y.shape[a] for a in free[1]) == 1 or any(map(is_size, summed)):
        return None
    fastest = fastest_axis(x)
    k = contract[0].index(fastest) if fastest in contract[0] else contract[0].index(max(contract[0]))
    x, y = (_padded(t, axes[k], -summed[k] % QUAD) for t, axes in zip((x, y), contract, strict=True))
    flip = x.dtype == y.dtype == I8 and not both_signed
    if flip:
        x = _unsigned(x)
    product: Tracer = contraction.dot(x, y, batch=batch, contract=contract, dtype=I32)
    if not flip:
        return product
    sums = reduce.reduce_sum(elementwise.cast(y, dtype=I32), axes=tuple(sorted(contract[1])), chunks=0)
    kept = sorted((*batch[1], *free[1]))
    sums = movement.transpose(sums, perm=tuple(map(kept.index, (*batch[1], *free[1]))))
    first, rank = len(batch[0]), len(product.shape)
    return _corrected(product, sums, (*range(first), *range(rank - len(free[1]), rank)))


def fastest_axis(x: Tracer) -> int:
    """The axis of a tensor along which it is contiguous in memory."""
    made = x.value.node
    last = len(x.shape) - 1
    if made is None or made.op is not movement.transpose:
        return last
    axis: int = made.attrs["perm"].index(last)
    return axis


# ----------------------------------------------------------------------------------------------------- convolution


def _conv(
    x: Tracer, w: Tracer, *, both_signed: bool, stride: Any, padding: Any, dilation: Any, groups: int
) -> Tracer | None:
    kernel, (c, o) = w.shape[:-2], w.shape[-2:]
    if groups > 1 or is_size(c):
        return None
    spatial = contraction.conv_shape(x.shape[1:-1], kernel, stride, padding, dilation)
    low, high = ([0, *(p[side] for p in padding), 0] for side in (0, 1))
    along = -(-kernel[-1] * c // QUAD) * QUAD
    if dilation[-1] == 1 and along < kernel[-1] * -(-c // QUAD) * QUAD:
        # few channels: pixels of a row of the kernel lie side by side, and are summed along one axis of one channel
        x = movement.reshape(x, shape=(*x.shape[:-2], x.shape[-2] * c, 1))
        w = movement.reshape(w, shape=(*kernel[:-1], kernel[-1] * c, 1, o))
        w = _padded(w, len(kernel) - 1, along - kernel[-1] * c)
        low[-2], high[-2] = low[-2] * c, high[-2] * c
        stride = (*stride[:-1], stride[-1] * c)
        reach = (spatial[-1] - 1) * stride[-1] + along
        high[-2] += max(reach - (x.shape[-2] + low[-2] + high[-2]), 0)
    else:
        high[-1] = -c % QUAD
        w = _padded(w, len(kernel), -c % QUAD)
    if any((*low, *high)):
        x = movement.pad(x, low=low, high=high, interior=(0,) * len(low), value=0)
    flip = x.dtype == w.dtype == I8 and not both_signed
    if flip:
        x = _unsigned(x)
    attrs = {"stride": stride, "padding": ((0, 0),) * len(kernel), "dilation": dilation, "groups": 1}
    product: Tracer = contraction.conv(x, w, **attrs, dtype=I32)
    if not flip:
        return product
    sums = reduce.reduce_sum(elementwise.cast(w, dtype=I32), axes=tuple(range(len(kernel) + 1)), chunks=0)
    return _corrected(product, sums, (len(kernel) + 1,))


_FORMS: dict[str, Callable[..., Tracer | None]] = {"dot": _dot, "conv": _conv}

__all__ = ["fastest_axis", "narrowed", "product"]
