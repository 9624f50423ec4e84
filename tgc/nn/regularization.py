"""Dropout."""

from __future__ import annotations

from tgc.errors import AttributeSpecError
from tgc.numpy.base import Array, ArrayLike, as_real
from tgc.numpy.elementwise import where
from tgc.ops.arithmetic import zeros_like
from tgc.random import bernoulli

__all__ = ["dropout"]


def dropout(x: ArrayLike, rate: float, key: Array | None = None, *, training: bool = True) -> Array:
    """0 with probability `rate`, else x / (1 - rate) (Srivastava et al., 2014); in inference `x` itself.

    Args:
        rate: in [0, 1], known while tracing; kept to a multiple of 2**-24.
        key: u32[2] of `tgc.random`, a new one for every use; needed in training.

    Raises:
        AttributeSpecError: `rate` is outside of [0, 1], or a key is missing.
    """
    if not 0 <= rate <= 1:
        raise AttributeSpecError(f"dropout: rate {rate} is no probability")
    x = as_real(x)
    if not training or rate == 0:
        return x
    if rate == 1:
        return zeros_like(x)
    if key is None:
        raise AttributeSpecError("dropout in training needs a key; see tgc.random.key")
    return where(bernoulli(key, 1 - rate, x.shape), x * (1 / (1 - rate)), 0)
