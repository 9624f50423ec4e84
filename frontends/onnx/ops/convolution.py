"""Convolutions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tgc import nn
from tgc import numpy as tnp
from tgc.frontends.onnx.errors import InvalidModelError
from tgc.frontends.onnx.ops.windows import windows
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Array, Tensor

Ints = tuple[int, ...]


@converts("Conv")
def conv(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    /,
    *,
    kernel_shape: Ints | None = None,
    group: int = 1,
    **attrs: Any,
) -> Tensor:
    """ONNX Conv: x [batch, channels, *spatial], w [out, channels / group, *kernel]."""
    at = windows(x.shape[2:], kernel_shape or w.shape[2:], **attrs)
    return nn.conv(
        x, w, bias, stride=at.stride, padding=at.padding, dilation=at.dilation, groups=group, data_format="NCHW"
    )


@converts("ConvTranspose")
def conv_transpose(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    /,
    *,
    kernel_shape: Ints | None = None,
    group: int = 1,
    auto_pad: str = "NOTSET",
    output_shape: Ints | None = None,
    output_padding: Ints | None = None,
    **attrs: Any,
) -> Tensor:
    """ONNX ConvTranspose: x [batch, channels, *spatial], w [channels, out / group, *kernel].

    `output_shape`, or `auto_pad`, decides how much of the full result is cut off at either end.
    """
    sizes = x.shape[2:]
    at = windows(sizes, kernel_shape or w.shape[2:], **attrs)
    extra = output_padding or (0,) * len(sizes)
    cuts = at.padding
    if output_shape is None and auto_pad.startswith("SAME"):
        output_shape = tuple(n * s for n, s in zip(sizes, at.stride, strict=True))
    if output_shape is not None:
        spans = zip(sizes, at.stride, at.reach, extra, output_shape[-len(sizes) :], strict=True)
        totals = [s * (n - 1) + e + r - wanted for n, s, r, e, wanted in spans]
        halves = [(t // 2, t - t // 2) for t in totals]
        cuts = tuple((a, b) if auto_pad == "SAME_UPPER" else (b, a) for a, b in halves)
    return nn.conv_transpose(
        x,
        w,
        bias,
        stride=at.stride,
        padding=[(max(low, 0), max(high, 0)) for low, high in cuts],
        output_padding=[e - min(low, 0) - min(high, 0) for e, (low, high) in zip(extra, cuts, strict=True)],
        dilation=at.dilation,
        groups=group,
        data_format="NCHW",
    )


@converts("DeformConv", since=19)
def deform_conv(
    x: Tensor,
    w: Tensor,
    offset: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    /,
    *,
    kernel_shape: Ints | None = None,
    group: int = 1,
    offset_group: int = 1,
    **attrs: Any,
) -> Tensor:
    """ONNX DeformConv (Dai et al., 2017; with a mask: Zhu et al., 2018), over any number of spatial axes.

    Args:
        offset: [batch, offset_group * volume * rank, *grid], in pixels; mask: [batch, offset_group * volume, *grid].
    """
    batch, channels, *sizes = x.shape
    rank = len(sizes)
    at = windows(sizes, kernel_shape or w.shape[2:], **attrs)
    grid, volume = at.grid(sizes), math.prod(at.size)
    if tuple(offset.shape[2:]) != grid:
        raise InvalidModelError(f"offsets of windows {tuple(offset.shape[2:])} do not fit the grid {grid}")
    # Places of all offsets of a window: where it would lie without them, [volume, rank, *grid].
    steps = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip(grid, at.stride, strict=True)), indexing="ij"))
    spread = [np.arange(k) * d - low for k, d, (low, _) in zip(at.size, at.dilation, at.padding, strict=True)]
    inner = np.stack(np.meshgrid(*spread, indexing="ij")).reshape(rank, volume).T
    still = inner.reshape(volume, rank, *(1,) * rank) + steps
    moved = tnp.reshape(offset, (batch * offset_group, volume, rank, *grid)) + still.astype(x.dtype)
    pixels = tnp.moveaxis(tnp.reshape(x, (batch * offset_group, channels // offset_group, *sizes)), 1, -1)
    taps = nn.image.sample(pixels, tnp.moveaxis(moved, 2, -1))  # [batch * offset_group, volume, *grid, channels]
    if mask is not None:
        taps = taps * tnp.reshape(mask, (batch * offset_group, volume, *grid, 1))
    taps = tnp.reshape(taps, (batch, offset_group, volume, math.prod(grid), channels // offset_group))
    taps = tnp.reshape(tnp.transpose(taps, (0, 1, 4, 2, 3)), (batch, group, channels // group, volume, -1))
    kernels = tnp.reshape(w, (group, -1, channels // group, volume))
    y = tnp.reshape(tnp.einsum("bgcvp,gocv->bgop", taps, kernels), (batch, w.shape[0], *grid))
    return y if bias is None else y + tnp.reshape(bias, (-1, *(1,) * rank))


@converts("Col2Im", since=18, static=["image_shape", "block_shape"])
def col2im(
    x: Tensor,
    image_shape: Array,
    block_shape: Array,
    /,
    *,
    strides: Ints | None = None,
    pads: Ints | None = None,
    dilations: Ints | None = None,
) -> Tensor:
    """ONNX Col2Im: blocks [batch, channels * volume, blocks] added up where they overlap in the image."""
    sizes = tuple(image_shape.tolist())
    at = windows(sizes, tuple(block_shape.tolist()), strides=strides, pads=pads, dilations=dilations)
    return nn.fold_patches(
        tnp.reshape(x, (*x.shape[:2], *at.grid(sizes))),
        sizes,
        at.size,
        stride=at.stride,
        padding=at.padding,
        dilation=at.dilation,
        data_format="NCHW",
    )


@converts("CausalConvWithState", since=27)
def causal_conv_with_state(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    past_state: Tensor | None = None,
    /,
    *,
    activation: str = "none",
) -> tuple[Tensor, Tensor]:
    """ONNX CausalConvWithState: depthwise over [batch, channels, time], after the kernel's reach of earlier steps."""
    if activation not in ("none", "silu", "swish"):
        raise InvalidModelError(f"activation is none, silu or swish, not {activation}")
    reach = w.shape[2] - 1
    if past_state is None:
        past_state = tnp.zeros((*x.shape[:2], reach), x.dtype)
    whole = tnp.concatenate([past_state, x], 2)
    y = nn.conv(whole, w, bias, groups=x.shape[1], data_format="NCHW")
    return y if activation == "none" else nn.silu(y), whole[:, :, x.shape[2] :]
