"""Convolutions. Kernels are [*kernel, in / groups, out] in both data formats."""

from __future__ import annotations

from collections.abc import Sequence

from keras.src.backend.common import backend_utils

from tgc import nn
from tgc.frontends.keras.ops.nn.formats import last
from tgc.frontends.keras.ops.promotion import promote
from tgc.frontends.keras.ops.tensors import Tensor, convert_to_tensor
from tgc.nn.base import per_axis

__all__ = ["conv", "conv_transpose", "depthwise_conv", "separable_conv"]

Sizes = int | Sequence[int]


def conv(
    inputs: Tensor,
    kernel: Tensor,
    strides: Sizes = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Sizes = 1,
) -> Tensor:
    """The convolution, in as many groups as the kernel's input channels go into those of `inputs`."""
    kernel = convert_to_tensor(kernel)
    x, back = last("conv", convert_to_tensor(inputs, dtype=kernel.dtype), data_format)
    channels, each = x.shape[-1], kernel.shape[-2]
    if channels % each:
        raise ValueError(f"conv: {channels} input channels are no multiple of the kernel's {each}")
    y = nn.conv(x, kernel, stride=strides, padding=padding.lower(), dilation=dilation_rate, groups=channels // each)
    return back(y)


def depthwise_conv(
    inputs: Tensor,
    kernel: Tensor,
    strides: Sizes = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Sizes = 1,
) -> Tensor:
    """Each channel convolved on its own; kernel [*kernel, channels, multiple]."""
    inputs, kernel = promote(inputs, kernel)
    x, back = last("depthwise_conv", inputs, data_format)
    return back(nn.depthwise_conv(x, kernel, stride=strides, padding=padding.lower(), dilation=dilation_rate))


def separable_conv(
    inputs: Tensor,
    depthwise_kernel: Tensor,
    pointwise_kernel: Tensor,
    strides: Sizes = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Sizes = 1,
) -> Tensor:
    """`depthwise_conv`, then a convolution with a kernel of size one."""
    inputs, depthwise_kernel, pointwise_kernel = promote(inputs, depthwise_kernel, pointwise_kernel)
    x, back = last("separable_conv", inputs, data_format)
    y = nn.separable_conv(
        x, depthwise_kernel, pointwise_kernel, stride=strides, padding=padding.lower(), dilation=dilation_rate
    )
    return back(y)


def conv_transpose(
    inputs: Tensor,
    kernel: Tensor,
    strides: Sizes = 1,
    padding: str = "valid",
    output_padding: Sizes | None = None,
    data_format: str | None = None,
    dilation_rate: Sizes = 1,
) -> Tensor:
    """The transpose of a convolution; kernel [*kernel, out, in]."""
    inputs, kernel = promote(inputs, kernel)
    x, back = last("conv_transpose", inputs, data_format)
    rank = x.ndim - 2
    stride, dilation = (
        per_axis("conv_transpose", name, value, rank)
        for name, value in (("strides", strides), ("dilation_rate", dilation_rate))
    )
    # What Keras computes for JAX is by how much the dilated input is padded; here it is the result that is cut.
    pads = backend_utils.compute_conv_transpose_padding_args_for_jax(
        x.shape, kernel.shape, stride, padding, output_padding, dilation
    )
    reach = [(k - 1) * d for k, d in zip(kernel.shape[:-2], dilation, strict=True)]
    cuts = [(r - low, r - high) for r, (low, high) in zip(reach, pads, strict=True)]
    y = nn.conv_transpose(
        x,
        kernel,
        stride=stride,
        padding=[(low, max(high, 0)) for low, high in cuts],
        output_padding=[max(-high, 0) for _, high in cuts],
        dilation=dilation,
    )
    return back(y)
