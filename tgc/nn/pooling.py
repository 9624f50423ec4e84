"""Pooling over windows, in the data formats of `tgc.nn.conv`. Windows adjoin unless there is a `stride`.

`ceil_mode` adds a last, incomplete window if elements are left over; what it reaches beyond the padding never counts.

All raise
    ShapeError: a window is larger than the padded operand, or padding as wide as the window.
    AttributeSpecError: an attribute has the wrong form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from tgc.nn.base import Padding, channels_last, full_precision, pad_pairs, per_axis
from tgc.numpy.base import Array, ArrayLike, accumulator, along, as_real
from tgc.numpy.elementwise import absolute, equal, where
from tgc.ops import window as w
from tgc.ops.arithmetic import as_tensor, power

__all__ = ["avg_pool", "lp_pool", "max_pool", "max_pool_argmax", "max_unpool", "sum_pool"]

Sizes = int | Sequence[int]
UNROLLED = 64  # elements of windows up to which all are folded at once: the primitives unroll them


def windows(
    function: str,
    x: Array,
    window: Sizes,
    stride: Sizes | None,
    padding: Padding,
    dilation: Sizes,
    ceil_mode: bool = False,
) -> dict[str, Any]:
    """Attributes of the window primitives, one entry for each axis of `x` [batch, *spatial, channels]."""
    rank = x.ndim - 2
    size = per_axis(function, "window", window, rank)
    step = size if stride is None else per_axis(function, "stride", stride, rank)
    spread = per_axis(function, "dilation", dilation, rank)
    reach = [(k - 1) * d + 1 for k, d in zip(size, spread, strict=True)]
    pairs = pad_pairs(function, padding, x.shape[1:-1], reach, step)
    if ceil_mode:
        pairs = tuple(map(_with_last, x.shape[1:-1], reach, step, pairs))
    return {
        "window": (1, *size, 1),
        "stride": (1, *step, 1),
        "padding": ((0, 0), *pairs, (0, 0)),
        "dilation": (1, *spread, 1),
    }


def _with_last(n: int, reach: int, stride: int, padding: tuple[int, int]) -> tuple[int, int]:
    """Padding with room for a last window that begins before the end of the operand."""
    low, high = padding
    left_over = (n + low + high - reach) % stride if n + low + high >= reach else 0
    start = n + low + high - reach - left_over + stride
    return (low, start + reach - n - low) if left_over and start < n + low else padding


def _folded(op: Callable[..., Array], x: Array, attrs: dict[str, Any]) -> Array:
    """A window primitive whose fold may go along one axis after the other, as it does over large windows."""
    if math.prod(attrs["window"]) <= UNROLLED:
        return op(x, **attrs)
    still: dict[str, Any] = {"window": 1, "stride": 1, "padding": (0, 0), "dilation": 1}
    for axis in reversed(range(x.ndim)):
        one = {k: tuple(v[a] if a == axis else still[k] for a in range(x.ndim)) for k, v in attrs.items()}
        x = op(x, **one) if one["window"][axis] > 1 or one["stride"][axis] > 1 else x
    return x


def max_pool(
    x: ArrayLike,
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    data_format: str = "NHWC",
) -> Array:
    """Largest element of each window, NaN if one is NaN; padding never wins.

    The gradient goes to the first of equal elements.
    """
    x, back = channels_last("max_pool", x, data_format)
    return back(_folded(w.window_max, x, windows("max_pool", x, window, stride, padding, dilation, ceil_mode)))


def max_pool_argmax(
    x: ArrayLike,
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    data_format: str = "NHWC",
) -> Array:
    """int32: which place of each window (row-major) holds what `max_pool` returns, the first of equal elements."""
    x, back = channels_last("max_pool_argmax", x, data_format)
    return back(w.window_argmax(x, **windows("max_pool_argmax", x, window, stride, padding, dilation, ceil_mode)))


def max_unpool(
    y: ArrayLike,
    places: ArrayLike,
    window: Sizes,
    sizes: Sequence[int],
    *,
    stride: Sizes | None = None,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    data_format: str = "NHWC",
) -> Array:
    """Zeros of spatial `sizes`, with the elements of `y` at the `places` that `max_pool_argmax` found.

    Elements of windows that share a place are added up: this is the transpose of picking the largest ones.
    """
    y, back = channels_last("max_unpool", y, data_format)
    places, _ = channels_last("max_unpool", places, data_format)
    shape = (y.shape[0], *per_axis("max_unpool", "sizes", sizes, y.ndim - 2), y.shape[-1])
    attrs = windows("max_unpool", np.broadcast_to(0, shape), window, stride, padding, dilation)
    return back(w.window_scatter(y, places, shape=shape, **attrs))


def _counts(size: int, attrs: dict[str, Any], axis: int, margin: tuple[int, int]) -> np.ndarray:
    """How many places of each window along `axis` lie in the operand or, around it, in a `margin` that counts."""
    k, s, (low, _), d = (attrs[name][axis] for name in ("window", "stride", "padding", "dilation"))
    (n,) = w.window_shape([size], [k], [s], [attrs["padding"][axis]], [d])
    places = np.arange(n)[:, None] * s - low + np.arange(k) * d
    counts: np.ndarray = ((places >= -margin[0]) & (places < size + margin[1])).sum(1)
    return counts


def avg_pool(
    x: ArrayLike,
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    count_include_pad: bool = False,
    ceil_mode: bool = False,
    data_format: str = "NHWC",
) -> Array:
    """Mean of each window; padding counts, as zeros, only if `count_include_pad`. Half precision is summed in float32.

    Integers become float64.
    """
    x, back = channels_last("avg_pool", as_real(x), data_format)
    attrs = windows("avg_pool", x, window, stride, padding, dilation, ceil_mode)
    work = accumulator(x.dtype)
    total = _folded(w.window_sum, as_tensor(x, work), attrs)
    pairs = windows("avg_pool", x, window, stride, padding, dilation)["padding"]
    margins = [pairs[a] if count_include_pad else (0, 0) for a in range(x.ndim)]
    counts = reduce(np.multiply.outer, [_counts(n, attrs, a, margins[a]) for a, n in enumerate(x.shape[1:-1], 1)])
    volume = int(np.prod(attrs["window"]))
    if (counts == volume).all():
        pooled = total / volume
    else:
        pooled = total / along(counts.astype(work), range(1, x.ndim - 1), total.shape)
    return back(as_tensor(pooled, x.dtype))


@full_precision
def sum_pool(
    x: Array,
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    data_format: str = "NHWC",
) -> Array:
    """Sum of each window. Half precision is summed in float32; integers become float64."""
    x, back = channels_last("sum_pool", x, data_format)
    return back(_folded(w.window_sum, x, windows("sum_pool", x, window, stride, padding, dilation, ceil_mode)))


@full_precision
def lp_pool(
    x: Array,
    window: Sizes,
    p: float = 2.0,
    *,
    stride: Sizes | None = None,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    data_format: str = "NHWC",
) -> Array:
    """sum(|x| ** p) ** (1 / p) of each window, for p >= 1. Its gradient where all elements are 0 is 0."""
    powers = power(absolute(x), float(p))
    total = sum_pool(
        powers, window, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode, data_format=data_format
    )
    none = equal(total, 0)
    return where(none, 0, power(where(none, 1, total), 1 / p))
