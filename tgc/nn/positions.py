"""Positions in sequences: encodings and masks."""

from __future__ import annotations

import math

from tgc.errors import AttributeSpecError
from tgc.nn.base import full_precision
from tgc.numpy.base import Array, ArrayLike, DTypeLike, accumulator, along, as_array, refuse
from tgc.numpy.creation import arange
from tgc.numpy.elementwise import cos, exp, less, multiply, sin
from tgc.numpy.indexing import as_indices
from tgc.numpy.manipulation import concatenate, expand_dims, reshape, stack
from tgc.ops import creation
from tgc.ops.arithmetic import as_tensor, broadcast_to
from tgc.types import F32, F64, as_dtype

__all__ = ["rotary_embedding", "sequence_mask", "sinusoidal_positions"]


def _angles(positions: ArrayLike, pairs: int, base: float, dtype: DTypeLike) -> Array:
    """positions * base ** (-i / pairs) along a new last axis of i = 0 .. pairs - 1."""
    positions = as_tensor(as_array(positions), dtype)
    rates = exp(multiply(creation.iota(shape=(pairs,), dtype=F64, axis=0), -math.log(base) / max(pairs, 1)))
    return multiply(expand_dims(positions, -1), as_tensor(rates, dtype))


def sinusoidal_positions(
    positions: int | ArrayLike, dim: int, *, base: float = 10000.0, dtype: DTypeLike = F32
) -> Array:
    """The encoding of positions by sines and cosines of geometric wave lengths (Vaswani et al., 2017).

    Args:
        positions: numbers of any shape, or an int n for the positions 0 .. n - 1.
        dim: an even number. Elements 2 * i and 2 * i + 1 are the sine and cosine of position * base ** (-2 * i / dim).
    Returns:
        dtype[*positions, dim].

    Raises:
        AttributeSpecError: `dim` is odd.
    """
    if dim % 2:
        raise AttributeSpecError(f"sinusoidal_positions: dim {dim} is odd")
    to = as_dtype(dtype)
    places = arange(positions) if isinstance(positions, int) else as_array(positions)
    angles = _angles(places, dim // 2, base, accumulator(to))
    return as_tensor(reshape(stack([sin(angles), cos(angles)], -1), (*angles.shape[:-1], dim)), to)


@full_precision
def rotary_embedding(
    x: Array,
    positions: ArrayLike | None = None,
    *,
    base: float = 10000.0,
    dim: int | None = None,
    interleaved: bool = False,
) -> Array:
    """`x` [..., time, features] with pairs of features rotated by angles that grow with the position (Su et al., 2021).

    Args:
        positions: broadcasts to [..., time]; 0 .. time - 1 unless given.
        dim: how many of the features, from the front, are rotated; all unless given.
        interleaved: pairs are neighbours (2 * i, 2 * i + 1) rather than (i, i + dim / 2).

    Raises:
        ShapeError: `x` has fewer than two axes, or positions do not fit.
        AttributeSpecError: `dim` is odd or larger than the features.
    """
    if x.ndim < 2:
        raise refuse("rotary_embedding", [x], "the operand needs axes of time and features")
    rotated = x.shape[-1] if dim is None else dim
    if rotated % 2 or not 0 <= rotated <= x.shape[-1]:
        raise AttributeSpecError(f"rotary_embedding: dim {rotated} is odd or more than {x.shape[-1]} features")
    half = rotated // 2
    places = arange(x.shape[-2]) if positions is None else as_array(positions)
    angles = broadcast_to(_angles(places, half, base, x.dtype), (*x.shape[:-1], half))
    c, s = cos(angles), sin(angles)
    if interleaved:
        pairs = reshape(x[..., :rotated], (*x.shape[:-1], half, 2))
        a, b = pairs[..., 0], pairs[..., 1]
        turned = reshape(stack([a * c - b * s, b * c + a * s], -1), (*x.shape[:-1], rotated))
    else:
        a, b = x[..., :half], x[..., half:rotated]
        turned = concatenate([a * c - b * s, b * c + a * s], -1)
    return turned if rotated == x.shape[-1] else concatenate([turned, x[..., rotated:]], -1)


def sequence_mask(lengths: ArrayLike, size: int) -> Array:
    """bool[*lengths, size]: True at the places below each length.

    Raises:
        DTypeError: `lengths` are not integers.
    """
    lengths = as_indices("sequence_mask", lengths)
    shape = (*lengths.shape, size)
    places = creation.iota(shape=shape, dtype=lengths.dtype, axis=lengths.ndim)
    return less(places, along(lengths, range(lengths.ndim), shape))
