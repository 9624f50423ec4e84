"""Pooling over windows, and over all spatial axes. Operands are [batch, channels, *spatial]."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tgc import nn
from tgc import numpy as tnp
from tgc.frontends.onnx.ops.windows import Windows, windows
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Array, Tensor

Ints = tuple[int, ...]


def _pool(at: Windows, ceil_mode: int) -> dict[str, Any]:
    """Keywords of `tgc.nn`'s pools."""
    return {
        "window": at.size,
        "stride": at.stride,
        "padding": at.padding,
        "dilation": at.dilation,
        "ceil_mode": bool(ceil_mode),
        "data_format": "NCHW",
    }


@converts("MaxPool")
def max_pool(
    x: Tensor, /, *, kernel_shape: Ints, ceil_mode: int = 0, storage_order: int = 0, outputs: int = 1, **attrs: Any
) -> Any:
    """ONNX MaxPool: the largest elements, and where they are in the flattened operand.

    With `storage_order` 1 the spatial axes are flattened with the first one fastest.
    """
    at = windows(x.shape[2:], kernel_shape, **attrs)
    pool = _pool(at, ceil_mode)
    y = nn.max_pool(x, **pool)
    return y if outputs == 1 else (y, _flat_places(x, nn.max_pool_argmax(x, **pool), at, storage_order))


def _flat_places(x: Tensor, found: Tensor, at: Windows, storage_order: int) -> Tensor:
    """int64: places in the flattened `x` of the elements that were `found` in windows."""
    sizes, rank = x.shape[2:], len(at.size)
    order = range(rank) if storage_order else reversed(range(rank))
    found, total, scale = tnp.astype(found, np.int64), 0, 1
    for a in order:
        inner = found // math.prod(at.size[a + 1 :]) % at.size[a]
        start = tnp.arange(found.shape[2 + a]) * at.stride[a] - at.padding[a][0]
        total = total + (inner * at.dilation[a] + tnp.reshape(start, (-1, *(1,) * (rank - 1 - a)))) * scale
        scale = scale * sizes[a]
    rows = tnp.reshape(tnp.arange(x.shape[0] * x.shape[1]), (*x.shape[:2], *(1,) * rank))
    return total + rows * scale


@converts("MaxUnpool", since=9, static=["output_shape"])
def max_unpool(
    x: Tensor,
    indices: Tensor,
    output_shape: Array | None = None,
    /,
    *,
    kernel_shape: Ints,
    strides: Ints | None = None,
    pads: Ints | None = None,
) -> Tensor:
    """ONNX MaxUnpool: zeros, with the elements of `x` where MaxPool found them in its flattened operand.

    That operand is the smallest that gives pools of such sizes; an `output_shape` adds zeros at the end of its axes.
    """
    at = windows(x.shape[2:], kernel_shape, strides=strides, pads=pads)
    spans = zip(x.shape[2:], at.stride, at.size, at.padding, strict=True)
    shape = (*x.shape[:2], *((n - 1) * s + k - low - high for n, s, k, (low, high) in spans))
    flat = tnp.zeros(math.prod(shape), x.dtype)
    y = tnp.reshape(tnp.at(flat)[tnp.ravel(indices)].set(tnp.ravel(x)), shape)
    if output_shape is None:
        return y
    wanted = output_shape.tolist()
    y = y[tuple(slice(min(n, m)) for n, m in zip(shape, wanted, strict=True))]
    return tnp.pad(y, [(0, m - n) for n, m in zip(y.shape, wanted, strict=True)])


@converts("AveragePool")
def average_pool(
    x: Tensor, /, *, kernel_shape: Ints, ceil_mode: int = 0, count_include_pad: int = 0, **attrs: Any
) -> Tensor:
    """ONNX AveragePool."""
    pool = _pool(windows(x.shape[2:], kernel_shape, **attrs), ceil_mode)
    return nn.avg_pool(x, count_include_pad=bool(count_include_pad), **pool)


@converts("LpPool", since=2)
def lp_pool(x: Tensor, /, *, kernel_shape: Ints, ceil_mode: int = 0, p: int = 2, **attrs: Any) -> Tensor:
    """ONNX LpPool."""
    return nn.lp_pool(x, p=p, **_pool(windows(x.shape[2:], kernel_shape, **attrs), ceil_mode))


def _spatial(x: Tensor) -> Ints:
    return tuple(range(2, x.ndim))


@converts("GlobalAveragePool")
def global_average_pool(x: Tensor, /) -> Tensor:
    """ONNX GlobalAveragePool."""
    return tnp.mean(x, axis=_spatial(x), keepdims=True)


@converts("GlobalMaxPool")
def global_max_pool(x: Tensor, /) -> Tensor:
    """ONNX GlobalMaxPool."""
    return tnp.max(x, axis=_spatial(x), keepdims=True)


@converts("GlobalLpPool", since=2)
def global_lp_pool(x: Tensor, /, *, p: int = 2) -> Tensor:
    """ONNX GlobalLpPool."""
    return tnp.sum(tnp.absolute(x) ** p, axis=_spatial(x), keepdims=True) ** (1 / p)
