"""Pooling to a given size: over all of a spatial axis, or in as many windows as results are wanted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tgc.errors import AttributeSpecError
from tgc.nn.base import channels_last, full_precision, per_axis
from tgc.numpy.base import Array, ArrayLike, along
from tgc.numpy.elementwise import where
from tgc.numpy.indexing import take
from tgc.numpy.reductions import max, mean, sum
from tgc.ops.arithmetic import divide

__all__ = ["adaptive_avg_pool", "adaptive_max_pool", "global_avg_pool", "global_max_pool"]


def global_max_pool(x: ArrayLike, *, keepdims: bool = False, data_format: str = "NHWC") -> Array:
    """Largest element of each channel: [batch, channels], or with spatial axes of size one if `keepdims`."""
    x, back = channels_last("global_max_pool", x, data_format)
    return back(max(x, tuple(range(1, x.ndim - 1)), keepdims=keepdims))


def global_avg_pool(x: ArrayLike, *, keepdims: bool = False, data_format: str = "NHWC") -> Array:
    """Mean of each channel: [batch, channels], or with spatial axes of size one if `keepdims`."""
    x, back = channels_last("global_avg_pool", x, data_format)
    return back(mean(x, tuple(range(1, x.ndim - 1)), keepdims=keepdims))


def _sizes(function: str, x: Array, sizes: int | Sequence[int]) -> tuple[int, ...]:
    wanted = per_axis(function, "sizes", sizes, x.ndim - 2)
    if min(wanted) < 1 or 0 in x.shape[1:-1]:
        raise AttributeSpecError(f"{function}: cannot pool sizes {tuple(x.shape[1:-1])} to {wanted}")
    return wanted


def _places(n: int, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """int64[wanted, longest]: the elements of each window, from floor(i * n / wanted) to ceil((i + 1) * n / wanted).

    And int64[wanted]: how many there are; shorter windows repeat their last element.
    """
    i = np.arange(wanted)
    start, stop = i * n // wanted, -(-(i + 1) * n // wanted)
    longest = int((stop - start).max())
    return np.minimum(start[:, None] + np.arange(longest), stop[:, None] - 1), stop - start


def adaptive_max_pool(x: ArrayLike, sizes: int | Sequence[int], *, data_format: str = "NHWC") -> Array:
    """Largest elements of `sizes` windows along each spatial axis, which overlap unless the sizes divide.

    Raises:
        AttributeSpecError: a size is not positive, or there is nothing to pool.
    """
    x, back = channels_last("adaptive_max_pool", x, data_format)
    for axis, wanted in enumerate(_sizes("adaptive_max_pool", x, sizes), 1):
        x = max(take(x, _places(x.shape[axis], wanted)[0], axis), axis + 1)
    return back(x)


@full_precision
def adaptive_avg_pool(x: Array, sizes: int | Sequence[int], *, data_format: str = "NHWC") -> Array:
    """Means of `sizes` windows along each spatial axis, which overlap unless the sizes divide.

    Raises:
        AttributeSpecError: a size is not positive, or there is nothing to pool.
    """
    x, back = channels_last("adaptive_avg_pool", x, data_format)
    for axis, wanted in enumerate(_sizes("adaptive_avg_pool", x, sizes), 1):
        places, counts = _places(x.shape[axis], wanted)
        parts = take(x, places, axis)
        real = np.arange(places.shape[1]) < counts[:, None]
        total = sum(where(along(real, [axis, axis + 1], parts.shape), parts, 0), axis + 1)
        x = divide(total, along(counts.astype(x.dtype), [axis], total.shape))
    return back(x)
