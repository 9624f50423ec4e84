"""Sampling images at places that are known only at run time. Gradients go to the image and to the places."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from tgc.errors import AttributeSpecError
from tgc.nn.base import channels_last
from tgc.numpy.base import Array, ArrayLike, accumulator, as_array, as_real, refuse
from tgc.numpy.elementwise import absolute, clip, cos, floor, isnan, logical_and, remainder, rint, sin, where
from tgc.numpy.manipulation import expand_dims, reshape, stack
from tgc.numpy.products import matmul
from tgc.ops import arithmetic, creation, movement
from tgc.ops.arithmetic import as_tensor, broadcast_to
from tgc.types import F32, F64, I64

__all__ = ["affine_grid", "affine_transform", "grid_sample", "rotate", "sample"]

PADDINGS = ("zeros", "border", "reflection", "reflection_centers", "wrap")


def sample(
    x: ArrayLike,
    places: ArrayLike,
    method: str = "linear",
    *,
    padding: str = "zeros",
    fill: float = 0.0,
) -> Array:
    """Pixels of `x` [batch, *spatial, channels] at `places` [batch, ..., rank]: [batch, ..., channels].

    Args:
        places: one coordinate for each spatial axis, in pixels: 0 is the center of the first.
        method: "nearest" (halves to even), or "linear" between the centers around a place.
        padding: what lies around the image: "zeros", "border" (its last pixels), "reflection" (mirrored at the outer
            edges of these), "reflection_centers" (mirrored at their centers), or "wrap" (the image again).
        fill: with padding "zeros", what lies around the image instead of zeros.

    Raises:
        ShapeError: the operands do not fit.
        AttributeSpecError: another method or padding.
    """
    x, places = as_real(x), as_real(places)
    rank = x.ndim - 2
    if rank < 1 or places.ndim < 2 or places.shape[-1] != rank or places.shape[0] != x.shape[0]:
        raise refuse("sample", [x, places], "needs [batch, *spatial, channels] and places [batch, ..., rank]")
    if method not in ("nearest", "linear") or padding not in PADDINGS:
        raise AttributeSpecError(f"sample: method {method!r} or padding {padding!r} is not supported")
    if 0 in x.shape[1:-1]:
        raise refuse("sample", [x, places], "the image has no pixels")
    work = accumulator(x.dtype)
    spatial = x.shape[1:-1]
    along_axes = [_padded(as_tensor(places[..., a], work), n, padding) for a, n in enumerate(spatial)]
    flat = reshape(x, (-1, x.shape[-1]))
    batch = creation.iota(shape=places.shape[:-1], dtype=I64, axis=0)
    total, covered = None, 0
    for corner in itertools.product(*([(0,)] if method == "nearest" else [(0, 1)]) * rank):
        index, weight = batch, None
        for c, side, n in zip(along_axes, corner, spatial, strict=True):
            base = rint(c) if method == "nearest" else floor(c)
            share = 1 - absolute(c - (base + side)) if method == "linear" else where(isnan(c), c, 1)
            at = remainder(base + side, n) if padding == "wrap" else base + side
            share = where(logical_and(at >= 0, at <= n - 1), share, where(isnan(c), c, 0))
            index = index * n + as_tensor(where(isnan(c), 0, clip(at, 0, n - 1)), I64)
            weight = share if weight is None else weight * share
        assert weight is not None
        pixels = as_tensor(movement.take(flat, index), work)
        term = where(expand_dims(weight == 0, -1), 0, pixels * expand_dims(weight, -1))
        total = term if total is None else total + term
        covered = covered + weight
    return as_tensor(total + expand_dims(1 - covered, -1) * fill if fill else total, x.dtype)


def _padded(c: Array, n: int, padding: str) -> Array:
    """A coordinate brought into the image as the padding wants it; far outside with zeros."""
    if padding == "zeros":
        return clip(c, -2, n + 1)
    if padding == "border":
        return clip(c, 0, n - 1)
    if padding == "wrap":
        return remainder(c, n)
    low, span = (-0.5, float(n)) if padding == "reflection" else (0.0, float(n - 1))
    if not span:
        return where(isnan(c), c, c * 0)
    turn = remainder(c - low, 2 * span)
    return clip(span - absolute(turn - span) + low, 0, n - 1)


def grid_sample(
    x: ArrayLike,
    grid: ArrayLike,
    method: str = "linear",
    *,
    padding: str = "zeros",
    align_corners: bool = False,
    data_format: str = "NHWC",
) -> Array:
    """`sample` at places of a `grid` [batch, *sizes, rank] in [-1, 1], the last axis first (x, y), as PyTorch has it.

    -1 and 1 are the outer edges of the image, or the centers of its outer pixels if `align_corners`. Only "nearest" and
    "linear"; padding is "zeros", "border" or "reflection".

    Returns:
        [batch, *sizes, channels], or in "NCHW" [batch, channels, *sizes].
    """
    x, back = channels_last("grid_sample", x, data_format)
    grid = as_real(grid)
    if grid.ndim != x.ndim or grid.shape[-1] != x.ndim - 2:
        raise refuse("grid_sample", [x, grid], "the grid must be [batch, *sizes, rank]")
    unit = as_tensor(grid, accumulator(as_real(x).dtype))
    places = [
        (unit[..., -1 - a] + 1) * ((n - 1) / 2 if align_corners else n / 2) - (0 if align_corners else 0.5)
        for a, n in enumerate(x.shape[1:-1])
    ]
    if padding == "reflection" and align_corners:
        padding = "reflection_centers"
    return back(sample(x, stack(places, -1), method, padding=padding))


def affine_grid(theta: ArrayLike, sizes: Sequence[int], *, align_corners: bool = False) -> Array:
    """A grid [batch, *sizes, rank] for `grid_sample`: that of the identity under `theta` [batch, rank, rank + 1].

    Raises:
        ShapeError: `theta` does not fit the sizes.
    """
    theta, rank = as_real(theta), len(sizes)
    if theta.ndim != 3 or theta.shape[1:] != (rank, rank + 1):
        raise refuse("affine_grid", [theta], f"theta must be [batch, {rank}, {rank + 1}]")
    work = accumulator(theta.dtype)
    axes = []
    for a, n in reversed(list(enumerate(sizes))):
        steps = creation.iota(shape=tuple(sizes), dtype=work, axis=a)
        gap = 2 / max(n - 1, 1) if align_corners else 2 / max(n, 1)
        axes.append(steps * gap + ((-1.0 if n > 1 else 0.0) if align_corners else gap / 2 - 1))
    ones = creation.fill(tuple(sizes), work, 1)
    flat = reshape(stack([*axes, ones], -1), (-1, rank + 1))
    grid = matmul(flat, arithmetic.transpose(as_tensor(theta, work), (0, 2, 1)))
    return as_tensor(reshape(grid, (theta.shape[0], *sizes, rank)), theta.dtype)


def affine_transform(
    x: ArrayLike,
    matrix: ArrayLike,
    sizes: Sequence[int] | None = None,
    *,
    method: str = "linear",
    padding: str = "zeros",
) -> Array:
    """The image whose pixel p is `sample`d from place matrix @ (p, 1) of `x` [batch, *spatial, channels].

    Args:
        matrix: [rank, rank + 1] or [batch, rank, rank + 1]; from places of the result to those of `x`, in pixels.
        sizes: spatial sizes of the result, those of `x` unless given.

    Raises:
        ShapeError: the operands do not fit.
    """
    x, matrix = as_real(x), as_real(matrix)
    rank = x.ndim - 2
    if matrix.shape[-2:] != (rank, rank + 1) or matrix.ndim > 3 or matrix.shape[:-2] not in ((), x.shape[:1], (1,)):
        raise refuse("affine_transform", [x, matrix], f"the matrix must be [batch, {rank}, {rank + 1}]")
    new = tuple(x.shape[1:-1] if sizes is None else sizes)
    work = F64 if F64 in (x.dtype, matrix.dtype) else F32
    steps = [creation.iota(shape=new, dtype=work, axis=a) for a in range(rank)]
    flat = reshape(stack([*steps, creation.fill(new, work, 1)], -1), (-1, rank + 1))
    full = broadcast_to(as_tensor(matrix, work), (x.shape[0], rank, rank + 1))
    places = matmul(flat, arithmetic.transpose(full, (0, 2, 1)))
    return sample(x, reshape(places, (x.shape[0], *new, rank)), method, padding=padding)


def rotate(x: ArrayLike, angle: ArrayLike, *, method: str = "linear", padding: str = "zeros") -> Array:
    """Images [batch, height, width, channels] turned about their center.

    Args:
        angle: in radians, counter-clockwise as images are seen (rows downwards); one number, or one an image.

    Raises:
        ShapeError: the operands do not fit.
    """
    x, angle = as_real(x), as_array(angle)
    if x.ndim != 4 or angle.shape not in ((), x.shape[:1]):
        raise refuse("rotate", [x, angle], "needs [batch, height, width, channels], and one angle, or one an image")
    work = accumulator(x.dtype)
    turn = broadcast_to(as_tensor(angle, work), x.shape[:1])
    c, s = cos(turn), sin(turn)
    row, column = ((n - 1) / 2 for n in x.shape[1:3])
    matrix = stack(
        [
            stack([c, s, row - c * row - s * column], -1),
            stack([-s, c, column + s * row - c * column], -1),
        ],
        -2,
    )
    return affine_transform(x, matrix, method=method, padding=padding)
