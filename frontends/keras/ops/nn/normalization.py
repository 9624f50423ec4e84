"""Statistics of batches and normalization by them."""

from __future__ import annotations

from collections.abc import Sequence

from tgc import nn
from tgc import numpy as tnp
from tgc.frontends.keras.ops.promotion import promote
from tgc.frontends.keras.ops.tensors import Tensor, cast, convert_to_tensor

__all__ = ["batch_normalization", "moments"]

_HALF = ("float16", "bfloat16")


def moments(
    x: Tensor, axes: int | Sequence[int], keepdims: bool = False, synchronized: bool = False
) -> tuple[Tensor, Tensor]:
    """Mean and variance along `axes`. Those of half precision are computed in float32, limited to float16's range."""
    if synchronized:
        raise NotImplementedError("moments: synchronized=True needs several devices, which this backend does not have")
    x = convert_to_tensor(x)
    half = x.dtype.name in _HALF
    wide = cast(x, "float32") if half else x
    axis = axes if isinstance(axes, int) else tuple(axes)
    found = [statistic(wide, axis=axis, keepdims=keepdims) for statistic in (tnp.mean, tnp.var)]
    if half:
        limit = tnp.finfo(tnp.float16)
        found = [cast(tnp.clip(v, float(limit.min), float(limit.max)), x.dtype) for v in found]
    return found[0], found[1]


def batch_normalization(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    axis: int,
    offset: Tensor | None = None,
    scale: Tensor | None = None,
    epsilon: float = 1e-3,
) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon) * scale + offset, for channels along `axis`."""
    given = [v for v in (offset, scale) if v is not None]
    x, mean, variance, *rest = promote(x, mean, variance, *given)
    parameters = iter(rest)
    bias = None if offset is None else next(parameters)
    factor = None if scale is None else next(parameters)
    return nn.batch_norm(x, mean, variance, factor, bias, axis=axis, epsilon=epsilon)[0]
