"""Quantization, and products of quantized tensors.

Products are computed with floats, for which there are fast kernels: those whose results are integers of 32 bits with a
width that holds every sum exactly, those that are quantized again in float32.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tgc import nn
from tgc import numpy as tnp
from tgc.frontends.onnx.errors import InvalidModelError
from tgc.frontends.onnx.formats import FORMATS, convert, decoded, dtype_of, encoded_integers
from tgc.frontends.onnx.ops.windows import windows
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Tensor
from tgc.numpy.base import accumulator
from tgc.types import F32, F64, I32, INTS, U8, DType


def _spread(value: Tensor, x: Any, axis: int, block_size: int) -> Tensor:
    """A scale or zero point: of the tensor, of each place along `axis`, or of each block of elements along it.

    Raises:
        InvalidModelError: it does not fit the tensor.
    """
    if not value.ndim or math.prod(value.shape) == 1:
        return tnp.reshape(value, ())
    axis %= max(x.ndim, 1)
    if value.ndim == 1 and not block_size:
        if value.shape[0] != x.shape[axis]:
            raise InvalidModelError(f"{value.shape[0]} scales do not fit axis {axis} of shape {tuple(x.shape)}")
        return tnp.reshape(value, (-1, *(1,) * (x.ndim - 1 - axis)))
    if value.ndim != x.ndim or not block_size:
        raise InvalidModelError(f"scales of shape {tuple(value.shape)} do not fit shape {tuple(x.shape)}")
    repeated = tnp.repeat(value, block_size, axis)
    return repeated[(*[slice(None)] * axis, slice(x.shape[axis]))]


def _quantized(x: Tensor, zero: Tensor | None, to: DType, saturate: bool = True) -> Any:
    """Numbers in units of a scale as `to`: rounded to even and limited where that is one of integers."""
    x = tnp.astype(x, F32) if x.dtype != F64 else x
    if to in INTS:
        low, high = int(np.iinfo(to).min), int(np.iinfo(to).max)
    elif to in FORMATS and FORMATS[to].integer:
        low, high = FORMATS[to].limits
    else:
        return convert(x if zero is None else x + tnp.astype(zero, x.dtype), to, saturate=saturate)
    y = tnp.rint(x)
    y = tnp.astype(tnp.clip(y if zero is None else y + tnp.astype(zero, y.dtype), low, high), I32)
    return encoded_integers(y, to) if to in FORMATS else tnp.astype(y, to)


@converts("QuantizeLinear", since=10)
def quantize_linear(
    x: Tensor,
    y_scale: Tensor,
    y_zero_point: Any = None,
    /,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Any:
    """ONNX QuantizeLinear: x / scale, in the precision of the scale or `precision`, plus the zero point."""
    to = y_zero_point.dtype if y_zero_point is not None else dtype_of(output_dtype) if output_dtype else U8
    work = dtype_of(precision) if precision else decoded(y_scale).dtype
    scale = _spread(tnp.astype(decoded(y_scale), work), x, axis, block_size)
    zero = None if y_zero_point is None else _spread(decoded(y_zero_point), x, axis, block_size)
    return _quantized(tnp.astype(x, work) / scale, zero, np.dtype(to), bool(saturate))


@converts("DequantizeLinear", since=10)
def dequantize_linear(
    x: Any,
    x_scale: Tensor,
    x_zero_point: Any = None,
    /,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Tensor:
    """ONNX DequantizeLinear: (x - zero point) * scale, in float32 or better."""
    scale = decoded(x_scale)
    to = dtype_of(output_dtype) if output_dtype else scale.dtype
    work = accumulator(to)
    y = decoded(x, work)
    if x_zero_point is not None:
        y = y - _spread(decoded(x_zero_point, work), x, axis, block_size)
    return convert(y * _spread(tnp.astype(scale, work), x, axis, block_size), to)


@converts("DynamicQuantizeLinear", since=11)
def dynamic_quantize_linear(x: Tensor, /) -> tuple[Tensor, Tensor, Tensor]:
    """ONNX DynamicQuantizeLinear: (uint8, scale, zero point), for the range of `x` and 0."""
    low, high = tnp.minimum(tnp.min(x), 0), tnp.maximum(tnp.max(x), 0)
    scale = (high - low) / 255
    unit = tnp.where(scale == 0, 1, scale)
    zero = tnp.clip(tnp.rint(-low / unit), 0, 255)
    return _quantized(x / unit, zero, U8), tnp.astype(scale, F32), tnp.astype(zero, U8)


# --------------------------------------------------------------------------------------------------------- products


def _placed(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A scale or zero point: one number, a vector, which gets `shape`, or a tensor that broadcasts as it is."""
    return tnp.reshape(value, () if math.prod(value.shape) == 1 else shape if value.ndim == 1 else value.shape)


def _shifted(x: Any, zero: Any, shape: tuple[int, ...], dtype: DType) -> Tensor:
    """x - zero point."""
    y = decoded(x, dtype)
    if zero is None:
        return y
    return y - _placed(decoded(zero, dtype), shape)


def _holds_sums(w: Any, zero: Any, count: int) -> DType:
    """The float that holds sums of `count` products of shifted 8-bit integers, the one factor being `w`."""
    most = 255 * count
    if isinstance(w, np.ndarray) and (zero is None or isinstance(zero, np.ndarray)) and w.size:
        shift = 0 if zero is None else int(np.abs(zero.astype(np.int64)).max())
        most = min(most, (int(np.abs(w.astype(np.int64)).max()) + shift) * count)
    return F32 if 255 * most < 2**24 else F64


def _scale(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    return _placed(tnp.astype(value, F32), shape)


ROW, COLUMN = (-1, 1), (-1,)


def _product(a: Any, b: Any, a_zero: Any, b_zero: Any, dtype: DType) -> Tensor:
    return tnp.matmul(_shifted(a, a_zero, ROW, dtype), _shifted(b, b_zero, COLUMN, dtype))


@converts("MatMulInteger", since=10)
def matmul_integer(a: Tensor, b: Tensor, a_zero_point: Any = None, b_zero_point: Any = None, /) -> Tensor:
    """ONNX MatMulInteger: int32, with zero points of `a`, or its rows, and of `b`, or its columns."""
    dtype = _holds_sums(b, b_zero_point, a.shape[-1])
    return tnp.astype(_product(a, b, a_zero_point, b_zero_point, dtype), I32)


@converts("QLinearMatMul", since=10)
def qlinear_matmul(
    a: Any, a_scale: Tensor, a_zero_point: Any, b: Any, b_scale: Tensor, b_zero_point: Any, y_scale: Tensor,
    y_zero_point: Any, /,
) -> Any:  # fmt: skip
    """ONNX QLinearMatMul: scales and zero points are of the tensor, of rows of `a` and `y`, or of columns of `b`."""
    y = _product(a, b, a_zero_point, b_zero_point, F32)
    y = y * (_scale(a_scale, ROW) * _scale(b_scale, COLUMN) / _scale(y_scale, ROW))
    return _quantized(y, _placed(decoded(y_zero_point), ROW), np.dtype(y_zero_point.dtype))


def _convolved(
    x: Any, w: Any, x_zero: Any, w_zero: Any, bias: Tensor | None, dtype: DType, attrs: dict[str, Any]
) -> Tensor:
    group, kernel = attrs.pop("group", 1), attrs.pop("kernel_shape", None) or w.shape[2:]
    at = windows(x.shape[2:], kernel, **attrs)
    filters = (-1, *(1,) * (w.ndim - 1))
    x, w = _shifted(x, x_zero, (), dtype), _shifted(w, w_zero, filters, dtype)
    return nn.conv(
        x, w, bias, stride=at.stride, padding=at.padding, dilation=at.dilation, groups=group, data_format="NCHW"
    )


@converts("ConvInteger", since=10)
def conv_integer(x: Tensor, w: Tensor, x_zero_point: Any = None, w_zero_point: Any = None, /, **attrs: Any) -> Tensor:
    """ONNX ConvInteger: int32; padding is the zero point of `x`."""
    dtype = _holds_sums(w, w_zero_point, math.prod(w.shape[1:]))
    return tnp.astype(tnp.rint(_convolved(x, w, x_zero_point, w_zero_point, None, dtype, attrs)), I32)


@converts("QLinearConv", since=10)
def qlinear_conv(
    x: Any, x_scale: Tensor, x_zero_point: Any, w: Any, w_scale: Tensor, w_zero_point: Any, y_scale: Tensor,
    y_zero_point: Any, bias: Tensor | None = None, /, **attrs: Any,
) -> Any:  # fmt: skip
    """ONNX QLinearConv: scales and zero points of `w` are of the tensor or of each filter; the bias is int32."""
    bias = None if bias is None else tnp.astype(bias, F32)
    y = _convolved(x, w, x_zero_point, w_zero_point, bias, F32, attrs)
    filters = (-1, *(1,) * (w.ndim - 2))
    y = y * (_scale(x_scale, ()) * _scale(w_scale, filters) / _scale(y_scale, ()))
    return _quantized(y, tnp.reshape(decoded(y_zero_point), ()), np.dtype(y_zero_point.dtype))
