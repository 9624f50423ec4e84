"""Patches of images as features, and pixels traded for channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tgc.errors import AttributeSpecError
from tgc.nn.base import Padding, channels_last, pad_pairs, per_axis
from tgc.numpy.base import Array, ArrayLike, refuse
from tgc.numpy.indexing import take
from tgc.numpy.manipulation import moveaxis, reshape, transpose
from tgc.numpy.padding import pad
from tgc.ops.window import window_shape

__all__ = ["depth_to_space", "extract_patches", "pixel_shuffle", "pixel_unshuffle", "space_to_depth"]


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
    name = "extract_patches"
    x, _ = channels_last(name, x, data_format)
    rank = x.ndim - 2
    window, spread = per_axis(name, "size", size, rank), per_axis(name, "dilation", dilation, rank)
    step = window if stride is None else per_axis(name, "stride", stride, rank)
    if min(*window, *step, *spread) < 1:
        raise AttributeSpecError(f"{name}: size {window}, stride {step} and dilation {spread} must be positive")
    reach = [(k - 1) * d + 1 for k, d in zip(window, spread, strict=True)]
    pairs = pad_pairs(name, padding, x.shape[1:-1], reach, step)
    grid = window_shape(x.shape[1:-1], window, step, pairs, spread)
    if min(grid) < 1:
        raise refuse(name, [x], f"the window {window} is larger than the padded operand")
    if any(map(any, pairs)):
        x = pad(x, [(0, 0), *pairs, (0, 0)])
    for a in range(rank):  # [batch, *grid[:a], size[:a] ..., ...]: each spatial axis becomes (grid, size)
        places = np.arange(grid[a])[:, None] * step[a] + np.arange(window[a]) * spread[a]
        x = take(x, places, 1 + 2 * a)
    steps, offsets, channel = list(range(1, 2 * rank, 2)), list(range(2, 2 * rank + 1, 2)), 2 * rank + 1
    if data_format == "NHWC":
        return reshape(transpose(x, (0, *steps, *offsets, channel)), (x.shape[0], *grid, -1))
    volume = int(np.prod(window)) * x.shape[channel]
    return reshape(transpose(x, (0, channel, *offsets, *steps)), (x.shape[0], volume, *grid))


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
