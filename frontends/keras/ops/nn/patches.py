"""Patches of images as columns, and pixels traded for channels."""

from __future__ import annotations

from collections.abc import Sequence

from tgc import nn
from tgc import numpy as tnp
from tgc.frontends.keras.ops.nn.formats import format_of
from tgc.frontends.keras.ops.tensors import Tensor, convert_to_tensor
from tgc.nn.base import per_axis

__all__ = ["depth_to_space", "fold", "space_to_depth", "unfold"]

Sizes = int | Sequence[int]


def unfold(input: Tensor, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1) -> Tensor:
    """The patches of [batch, channels, height, width] as columns: [batch, channels * volume, patches]."""
    x = convert_to_tensor(input)
    patches = nn.extract_patches(
        x,
        kernel_size,
        stride=stride,
        padding=per_axis("unfold", "padding", padding, x.ndim - 2),
        dilation=dilation,
        data_format="NCHW",
    )
    return tnp.reshape(patches, (*patches.shape[:2], -1))


def fold(
    x: Tensor, output_size: Sizes, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1
) -> Tensor:
    """The columns [batch, channels * volume, patches] added up at their places in [batch, channels, height, width]."""
    x = convert_to_tensor(x)
    named = {"output_size": output_size, "kernel_size": kernel_size, "dilation": dilation, "padding": padding}
    sizes, window, spread, pads = (per_axis("fold", name, value, 2) for name, value in named.items())
    steps = per_axis("fold", "stride", stride, 2)
    grid = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, d, p, s in zip(sizes, window, spread, pads, steps, strict=True)
    ]
    patches = tnp.reshape(x, (*x.shape[:2], *grid))
    return nn.fold_patches(patches, sizes, window, stride=steps, padding=pads, dilation=spread, data_format="NCHW")


def depth_to_space(x: Tensor, block_size: int, data_format: str = "channels_last") -> Tensor:
    """Blocks of pixels made of channels, which hold the places of a block slowest, fastest in "channels_first"."""
    layout = format_of(data_format)
    function = nn.depth_to_space if layout == "NHWC" else nn.pixel_shuffle
    return function(convert_to_tensor(x), block_size, data_format=layout)


def space_to_depth(x: Tensor, block_size: int, data_format: str = "channels_last") -> Tensor:
    """The inverse of `depth_to_space`."""
    layout = format_of(data_format)
    function = nn.space_to_depth if layout == "NHWC" else nn.pixel_unshuffle
    return function(convert_to_tensor(x), block_size, data_format=layout)
