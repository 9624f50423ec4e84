"""Convolution over one, two or three axes; which, the rank of the operand says.

Data formats name the place of the channels, whatever the number of spatial axes:

    "NHWC"  x [batch, *spatial, channels], kernel [*kernel, in / groups, out] ("HWIO")
    "NCHW"  x [batch, channels, *spatial], kernel [out, in / groups, *kernel] ("OIHW")

tgc computes in the first. The second adds transposes, most of which the layout pass removes.
"""

from __future__ import annotations

from collections.abc import Sequence

from tgc.nn.base import Padding, channels_last, pad_pairs, per_axis
from tgc.numpy.base import Array, ArrayLike, as_array, refuse
from tgc.numpy.products import operands
from tgc.ops import arithmetic, contraction
from tgc.ops.arithmetic import add

__all__ = ["conv", "conv_transpose", "depthwise_conv", "separable_conv"]


def _prepare(function: str, x: ArrayLike, w: ArrayLike, data_format: str) -> tuple[Array, Array]:
    """Operands in one dtype, the kernel as HWIO."""
    x, w = operands(function, x, w)
    if x.ndim != w.ndim:
        raise refuse(function, [x, w], "operand and kernel must have the same number of axes")
    if data_format == "NCHW":
        w = arithmetic.transpose(w, (*range(2, w.ndim), 1, 0))
    return x, w


def _biased(function: str, y: Array, bias: ArrayLike | None) -> Array:
    if bias is None:
        return y
    bias = as_array(bias)
    if bias.shape != y.shape[-1:]:
        raise refuse(function, [y, bias], f"the bias must have the shape {y.shape[-1:]}")
    return add(y, bias)


def conv(
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "valid",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    data_format: str = "NHWC",
) -> Array:
    """Cross-correlation of `x` with `w`, plus `bias` [out]; half precision accumulates in float32.

    `padding` is "valid" (none), "same" (ceil(size / stride) results, an odd element at the end), "causal" (all of it in
    front: no result depends on what comes after it), a number for all sides, one for each axis, or (low, high) for each
    axis. With `groups` equal to the input's channels the convolution is depthwise: out channel o then reads channel
    o // (out / groups). Compiled, 3x3 kernels may be applied in Winograd's domain, see `tgc.ops.winograd` for how close
    results are and how far an infinity reaches.

    Raises:
        ShapeError: operands, bias and groups do not fit, or the kernel is larger than the padded operand.
        AttributeSpecError: an attribute has the wrong form.
    """
    x, w = _prepare("conv", x, w, data_format)
    x, back = channels_last("conv", x, data_format)
    rank = x.ndim - 2
    stride, dilation = per_axis("conv", "stride", stride, rank), per_axis("conv", "dilation", dilation, rank)
    reach = [(k - 1) * d + 1 for k, d in zip(w.shape[:-2], dilation, strict=True)]
    pairs = pad_pairs("conv", padding, x.shape[1:-1], reach, stride)
    y = contraction.conv(x, w, stride=stride, padding=pairs, dilation=dilation, groups=groups)
    return back(_biased("conv", y, bias))


def conv_transpose(
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "valid",
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    data_format: str = "NHWC",
) -> Array:
    """The transpose (the gradient by the input) of the convolution with the same attributes, plus `bias`.

    The kernel is that of this convolution, whose input is our result: [*kernel, out / groups, in] in "NHWC", as Keras
    has it, and [in, out / groups, *kernel] in "NCHW", as PyTorch has it. With reach r = (kernel - 1) * dilation + 1 the
    result's sizes are

        "same"       size * stride
        "valid"      (size - 1) * stride + max(r, stride)
        "causal"     (size - 1) * stride + 1
        (low, high)  (size - 1) * stride + r - low - high

    each plus `output_padding`.

    Raises:
        ShapeError: operands, bias and groups do not fit.
        AttributeSpecError: an attribute has the wrong form.
    """
    name = "conv_transpose"
    x, w = _prepare(name, x, w, data_format)
    x, back = channels_last(name, x, data_format)
    rank = x.ndim - 2
    if x.shape[-1] != w.shape[-1] or groups < 1 or x.shape[-1] % groups:
        raise refuse(name, [x, w], f"{x.shape[-1]} input channels do not fit the kernel's last axis in {groups} groups")
    stride, dilation = per_axis(name, "stride", stride, rank), per_axis(name, "dilation", dilation, rank)
    extra = per_axis(name, "output_padding", output_padding, rank)
    reach = [(k - 1) * d + 1 for k, d in zip(w.shape[:-2], dilation, strict=True)]
    steps = list(zip(x.shape[1:-1], stride, reach, strict=True))
    if padding == "same":
        sizes = [n * s for n, s, _ in steps]
    elif padding == "valid":
        sizes = [(n - 1) * s + max(r, s) for n, s, r in steps]
    else:
        given = pad_pairs(name, padding, x.shape[1:-1], reach, stride)
        sizes = [(n - 1) * s + r - low - high for (n, s, r), (low, high) in zip(steps, given, strict=True)]
    pairs = pad_pairs(name, padding, sizes, reach, stride)
    sizes = [n + p for n, p in zip(sizes, extra, strict=True)]
    shape = (x.shape[0], *sizes, w.shape[-2] * groups)
    y = contraction.conv_input_grad(x, w, shape=shape, stride=stride, padding=pairs, dilation=dilation, groups=groups)
    return back(_biased(name, y, bias))


def depthwise_conv(
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "valid",
    dilation: int | Sequence[int] = 1,
    data_format: str = "NHWC",
) -> Array:
    """Each channel of `x` convolved on its own with as many filters as `w` has multiples.

    Args:
        w: [*kernel, channels, multiple] in "NHWC", as Keras has it, [channels, multiple, *kernel] in "NCHW". Channel c
            of `x` makes the channels c * multiple, c * multiple + 1, ... of the result.
        bias: [channels * multiple]; the rest as in `conv`.

    Raises:
        ShapeError: operands and bias do not fit.
        AttributeSpecError: an attribute has the wrong form.
    """
    x, w = as_array(x), as_array(w)
    first = data_format == "NCHW"
    at = 0 if first else w.ndim - 2
    if w.ndim != x.ndim or w.ndim < 3 or w.shape[at] != x.shape[1 if first else -1]:
        raise refuse("depthwise_conv", [x, w], f"the kernel must have as many axes as x, and its channels on axis {at}")
    channels, multiple = w.shape[at : at + 2]
    filters = (channels * multiple, 1) if first else (1, channels * multiple)
    w = arithmetic.reshape(w, (*w.shape[:at], *filters, *w.shape[at + 2 :]))
    return conv(x, w, bias, stride=stride, padding=padding, dilation=dilation, groups=channels, data_format=data_format)


def separable_conv(
    x: ArrayLike,
    depthwise: ArrayLike,
    pointwise: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "valid",
    dilation: int | Sequence[int] = 1,
    data_format: str = "NHWC",
) -> Array:
    """`depthwise_conv`, then a `conv` with the kernel `pointwise` of size one, plus `bias` (Chollet, 2017)."""
    middle = depthwise_conv(x, depthwise, stride=stride, padding=padding, dilation=dilation, data_format=data_format)
    return conv(middle, pointwise, bias, data_format=data_format)
