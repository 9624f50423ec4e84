"""Pooling over all spatial axes, in the data formats of `tgc.nn.conv`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from tgc.nn.base import Padding, channels_last, pad_pairs, per_axis
from tgc.numpy.base import Array, ArrayLike, accumulator, along, as_real
from tgc.numpy.reductions import max, mean
from tgc.ops import window as w
from tgc.ops.arithmetic import as_tensor

__all__ = ["avg_pool", "global_avg_pool", "global_max_pool", "max_pool"]

Sizes = int | Sequence[int]


def _windows(
    function: str, x: Array, window: Sizes, stride: Sizes | None, padding: Padding, dilation: Sizes
) -> dict[str, Any]:
    """Attributes of the window primitives, one entry for each axis of `x` [batch, *spatial, channels]."""
    rank = x.ndim - 2
    size = per_axis(function, "window", window, rank)
    step = size if stride is None else per_axis(function, "stride", stride, rank)
    spread = per_axis(function, "dilation", dilation, rank)
    reach = [(k - 1) * d + 1 for k, d in zip(size, spread, strict=True)]
    pairs = pad_pairs(function, padding, x.shape[1:-1], reach, step)
    return {
        "window": (1, *size, 1),
        "stride": (1, *step, 1),
        "padding": ((0, 0), *pairs, (0, 0)),
        "dilation": (1, *spread, 1),
    }


def max_pool(
    x: ArrayLike,
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    data_format: str = "NHWC",
) -> Array:
    """Largest element of each window, NaN if one is NaN; padding never wins. Windows adjoin unless there is a `stride`.

    The gradient goes to the first of equal elements.

    Raises:
        ShapeError: a window is larger than the padded operand, or padding as wide as the window.
        AttributeSpecError: an attribute has the wrong form.
    """
    x, back = channels_last("max_pool", x, data_format)
    return back(w.window_max(x, **_windows("max_pool", x, window, stride, padding, dilation)))


def _counts(size: int, attrs: dict[str, Any], axis: int) -> np.ndarray:
    """How many elements of each window along `axis` are not padding."""
    k, s, (low, _), d = (attrs[name][axis] for name in ("window", "stride", "padding", "dilation"))
    (n,) = w.window_shape([size], [k], [s], [attrs["padding"][axis]], [d])
    places = np.arange(n)[:, None] * s - low + np.arange(k) * d
    counts: np.ndarray = ((places >= 0) & (places < size)).sum(1)
    return counts


def avg_pool(
    x: ArrayLike,
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Padding = "valid",
    count_include_pad: bool = False,
    data_format: str = "NHWC",
) -> Array:
    """Mean of each window; padding counts, as zeros, only if `count_include_pad`. Half precision is summed in float32.

    Raises:
        ShapeError: a window is larger than the padded operand, or padding as wide as the window.
        AttributeSpecError: an attribute has the wrong form.
    """
    x, back = channels_last("avg_pool", as_real(x), data_format)
    attrs = _windows("avg_pool", x, window, stride, padding, 1)
    work = accumulator(x.dtype)
    total = w.window_sum(as_tensor(x, work), **attrs)
    counts = reduce(np.multiply.outer, [_counts(n, attrs, a) for a, n in enumerate(x.shape[1:-1], 1)])
    volume = int(np.prod(attrs["window"]))
    if count_include_pad or (counts == volume).all():
        pooled = total / volume
    else:
        pooled = total / along(counts.astype(work), range(1, x.ndim - 1), total.shape)
    return back(as_tensor(pooled, x.dtype))


def global_max_pool(x: ArrayLike, *, keepdims: bool = False, data_format: str = "NHWC") -> Array:
    """Largest element of each channel: [batch, channels], or with spatial axes of size one if `keepdims`."""
    x, back = channels_last("global_max_pool", x, data_format)
    return back(max(x, tuple(range(1, x.ndim - 1)), keepdims=keepdims))


def global_avg_pool(x: ArrayLike, *, keepdims: bool = False, data_format: str = "NHWC") -> Array:
    """Mean of each channel: [batch, channels], or with spatial axes of size one if `keepdims`."""
    x, back = channels_last("global_avg_pool", x, data_format)
    return back(mean(x, tuple(range(1, x.ndim - 1)), keepdims=keepdims))
