"""Pooling over windows and to given sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tgc import nn
from tgc.frontends.keras.ops.nn.formats import format_of
from tgc.frontends.keras.ops.promotion import converted, floating
from tgc.frontends.keras.ops.tensors import Tensor

__all__ = ["adaptive_average_pool", "adaptive_max_pool", "average_pool", "max_pool"]

Sizes = int | Sequence[int]


def _pooled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def pool(
        inputs: Tensor,
        pool_size: Sizes,
        strides: Sizes | None = None,
        padding: str = "valid",
        data_format: str | None = None,
    ) -> Tensor:
        if padding not in ("valid", "same"):
            raise ValueError(f"{function.__name__}: padding is 'valid' or 'same', not {padding!r}")
        return function(inputs, pool_size, stride=strides, padding=padding, data_format=format_of(data_format))

    pool.__doc__ = function.__doc__
    return pool


def _adapted(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def pool(inputs: Tensor, output_size: Sizes, data_format: str | None = None) -> Tensor:
        return function(inputs, output_size, data_format=format_of(data_format))

    pool.__doc__ = function.__doc__
    return pool


max_pool = converted(_pooled(nn.max_pool))
average_pool = floating(_pooled(nn.avg_pool))
adaptive_max_pool = converted(_adapted(nn.adaptive_max_pool))
adaptive_average_pool = floating(_adapted(nn.adaptive_avg_pool))
