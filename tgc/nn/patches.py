"""Patches of images as features, and pixels traded for channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tgc.errors import AttributeSpecError
from tgc.nn.base import Padding, channels_last, pad_pairs, per_axis
from tgc.numpy.base import Array, ArrayLike, along, refuse
from tgc.numpy.elementwise import where
from tgc.numpy.indexing import take
from tgc.numpy.manipulation import moveaxis, reshape, transpose
from tgc.numpy.padding import pad
from tgc.numpy.reductions import sum
from tgc.ops.window import window_shape

__all__ = ["depth_to_space", "extract_patches", "fold_patches", "pixel_shuffle", "pixel_unshuffle", "space_to_depth"]


class _Windows(NamedTuple):
    """Windows over spatial axes: an entry for each axis."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    grid: tuple[int, ...]

    def places(self, axis: int) -> np.ndarray:
        """int64[grid, size]: the elements of the padded axis that each window holds."""
        steps = np.arange(self.grid[axis])[:, None] * self.stride[axis]
        return steps + np.arange(self.size[axis]) * self.dilation[axis]


def _windows(
    function: str,
    x: Array,
    sizes: Sequence[int],
    size: int | Sequence[int],
    stride: int | Sequence[int] | None,
    padding: Padding,
    dilation: int | Sequence[int],
) -> _Windows:
    """Windows over axes of `sizes`; `x` is for messages."""
    rank = len(sizes)
    window, spread = per_axis(function, "size", size, rank), per_axis(function, "dilation", dilation, rank)
    step = window if stride is None else per_axis(function, "stride", stride, rank)
    if min(*window, *step, *spread) < 1:
        raise AttributeSpecError(f"{function}: size {window}, stride {step} and dilation {spread} must be positive")
    reach = [(k - 1) * d + 1 for k, d in zip(window, spread, strict=True)]
    pairs = pad_pairs(function, padding, sizes, reach, step)
    grid = window_shape(sizes, window, step, pairs, spread)
    if min(grid) < 1:
        raise refuse(function, [x], f"the window {window} is larger than the padded operand")
    return _Windows(window, step, pairs, spread, grid)


def extract_patches(
    x: ArrayLike,
    size: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "valid",
    dilation: int | Sequence[int] = 1,
    data_format: str = "NHWC",
) -> Array:
    """The elements under each place of a window (im2col); windows adjoin unless there is a `stride`.

    Returns:
        [batch, *grid, volume * channels], channels fastest; in "NCHW" [batch, channels * volume, *grid], the places of
        the window fastest, as PyTorch's `unfold` has it. Padding is zeros.

    Raises:
        ShapeError: the window is larger than the padded operand.
        AttributeSpecError: an attribute has the wrong form.
    """
    x, _ = channels_last("extract_patches", x, data_format)
    rank = x.ndim - 2
    w = _windows("extract_patches", x, x.shape[1:-1], size, stride, padding, dilation)
    window, grid = w.size, w.grid
    if any(map(any, w.padding)):
        x = pad(x, [(0, 0), *w.padding, (0, 0)])
    for a in range(rank):  # [batch, *grid[:a], size[:a] ..., ...]: each spatial axis becomes (grid, size)
        x = take(x, w.places(a), 1 + 2 * a)
    steps, offsets, channel = list(range(1, 2 * rank, 2)), list(range(2, 2 * rank + 1, 2)), 2 * rank + 1
    if data_format == "NHWC":
        return reshape(transpose(x, (0, *steps, *offsets, channel)), (x.shape[0], *grid, -1))
    volume = math.prod(window) * x.shape[channel]
    return reshape(transpose(x, (0, channel, *offsets, *steps)), (x.shape[0], volume, *grid))


def _sources(places: np.ndarray, low: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """int64[size, most]: which of the flat `places` of a padded axis are each element of the axis without its padding.

    And bool[size, most]: whether there are so many of them.
    """
    targets = places.ravel() - low
    order = np.argsort(targets, kind="stable")
    order = order[(targets[order] >= 0) & (targets[order] < size)]
    counts = np.bincount(targets[order], minlength=size)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    found = np.zeros((size, max(int(counts.max()), 1)), np.int64)
    found[targets[order], rank] = order
    return found, np.arange(found.shape[1]) < counts[:, None]


def fold_patches(
    x: ArrayLike,
    sizes: int | Sequence[int],
    size: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "valid",
    dilation: int | Sequence[int] = 1,
    data_format: str = "NHWC",
) -> Array:
    """The transpose of `extract_patches` of an image of spatial `sizes`: patches added up at their places (col2im).

    Args:
        x: [batch, *grid, volume * channels], or in "NCHW" [batch, channels * volume, *grid].

    Returns:
        [batch, *sizes, channels], or in "NCHW" [batch, channels, *sizes].

    Raises:
        ShapeError: the patches do not fit, or the window is larger than the padded image.
        AttributeSpecError: an attribute has the wrong form.
    """
    name = "fold_patches"
    x, back = channels_last(name, x, data_format)
    rank = x.ndim - 2
    sizes = per_axis(name, "sizes", sizes, rank)
    w = _windows(name, x, sizes, size, stride, padding, dilation)
    channels, rest = divmod(x.shape[-1], math.prod(w.size))
    if tuple(x.shape[1:-1]) != tuple(w.grid) or rest:
        raise refuse(name, [x], f"needs a grid of {w.grid} patches of {w.size} elements")
    parts = (*w.size, channels) if data_format == "NHWC" else (channels, *w.size)
    x = reshape(x, (x.shape[0], *w.grid, *parts))
    x = x if data_format == "NHWC" else moveaxis(x, rank + 1, -1)
    order: list[int] = [v for a in range(rank) for v in (1 + a, 1 + rank + a)]
    x = transpose(x, (0, *order, 2 * rank + 1))
    for a in range(rank):  # each pair (grid, size) of axes becomes the spatial axis: sums of the few that meet there
        x = reshape(x, (*x.shape[: 1 + a], w.grid[a] * w.size[a], *x.shape[3 + a :]))
        found, real = _sources(w.places(a), w.padding[a][0], sizes[a])
        rows = take(x, found, 1 + a)
        x = sum(where(along(real, [1 + a, 2 + a], rows.shape), rows, 0), 2 + a)
    return back(x)


def _shuffle(function: str, x: ArrayLike, block: int, data_format: str, *, blocks_first: bool, up: bool) -> Array:
    """Blocks of pixels from channels (`up`) or to channels, in which their places are the slower part or the faster."""
    x, back = channels_last(function, x, data_format)
    rank = x.ndim - 2
    volume = block**rank
    spatial, channels = x.shape[1:-1], x.shape[-1]
    if block < 1 or (channels % volume if up else any(n % block for n in spatial)):
        raise refuse(function, [x], f"cannot be cut into blocks of {block} pixels")
    blocks = [block] * rank
    if up:
        parts = [*blocks, channels // volume] if blocks_first else [channels // volume, *blocks]
        x = reshape(x, (x.shape[0], *spatial, *parts))
        x = x if blocks_first else moveaxis(x, rank + 1, -1)
        order: list[Any] = [v for a in range(rank) for v in (1 + a, 1 + rank + a)]
        x = transpose(x, (0, *order, 2 * rank + 1))
        return back(reshape(x, (x.shape[0], *(n * block for n in spatial), -1)))
    x = reshape(x, (x.shape[0], *(v for n in spatial for v in (n // block, block)), channels))
    x = transpose(x, (0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1))
    x = x if blocks_first else moveaxis(x, -1, rank + 1)
    return back(reshape(x, (x.shape[0], *(n // block for n in spatial), volume * channels)))


def depth_to_space(x: ArrayLike, block: int, *, data_format: str = "NHWC") -> Array:
    """Blocks of pixels made of channels, which hold the places of a block slowest (TensorFlow's, ONNX's DCR).

    Raises:
        ShapeError: the channels are no multiple of the pixels of a block.
    """
    return _shuffle("depth_to_space", x, block, data_format, blocks_first=True, up=True)


def space_to_depth(x: ArrayLike, block: int, *, data_format: str = "NHWC") -> Array:
    """The inverse of `depth_to_space`.

    Raises:
        ShapeError: the image cannot be cut into blocks.
    """
    return _shuffle("space_to_depth", x, block, data_format, blocks_first=True, up=False)


def pixel_shuffle(x: ArrayLike, block: int, *, data_format: str = "NHWC") -> Array:
    """Blocks of pixels made of channels, which hold the places of a block fastest (PyTorch's, ONNX's CRD).

    Shi et al., 2016.

    Raises:
        ShapeError: the channels are no multiple of the pixels of a block.
    """
    return _shuffle("pixel_shuffle", x, block, data_format, blocks_first=False, up=True)


def pixel_unshuffle(x: ArrayLike, block: int, *, data_format: str = "NHWC") -> Array:
    """The inverse of `pixel_shuffle`.

    Raises:
        ShapeError: the image cannot be cut into blocks.
    """
    return _shuffle("pixel_unshuffle", x, block, data_format, blocks_first=False, up=False)
