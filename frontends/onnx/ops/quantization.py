"""Quantization, and products of quantized tensors, which are computed with integers (`integers.py`)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tgc import numpy as tnp
from tgc.frontends.onnx.errors import InvalidModelError
from tgc.frontends.onnx.formats import FORMATS, convert, decoded, dtype_of, encoded_integers
from tgc.frontends.onnx.ops.integers import HALF, Integers, computed, convolution, flipped, matmul
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Tensor
from tgc.numpy.base import accumulator
from tgc.types import F32, F64, I8, I32, INTS, U8, DType


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
    if to == I8:  # by way of uint8, which products take (`integers.py`)
        shifted = np.asarray(HALF, F32) if zero is None else computed(tnp.add, computed(tnp.astype, zero, F32), HALF)
        return flipped(_quantized(x, shifted, U8))
    if to in INTS:
        low, high = int(np.iinfo(to).min), int(np.iinfo(to).max)
    elif to in FORMATS and FORMATS[to].integer:
        low, high = FORMATS[to].limits
    else:
        return convert(x if zero is None else x + tnp.astype(zero, x.dtype), to, saturate=saturate)
    y = tnp.rint(x)
    y = y if zero is None or (isinstance(zero, np.ndarray) and not zero.any()) else y + tnp.astype(zero, y.dtype)
    y = tnp.astype(tnp.clip(y, low, high), I32)
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


def _scale(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """float32: one number, a vector, which gets `shape`, or a tensor that broadcasts as it is."""
    shape = () if math.prod(value.shape) == 1 else shape if value.ndim == 1 else value.shape
    return tnp.reshape(tnp.astype(value, F32), shape)


ROW, COLUMN = (-1, 1), (-1,)


@converts("MatMulInteger", since=10)
def matmul_integer(a: Tensor, b: Tensor, a_zero_point: Any = None, b_zero_point: Any = None, /) -> Tensor:
    """ONNX MatMulInteger: int32, with zero points of `a`, or its rows, and of `b`, or its columns."""
    return matmul(Integers.of(a, a_zero_point, ROW), Integers.of(b, b_zero_point, COLUMN))


@converts("QLinearMatMul", since=10)
def qlinear_matmul(
    a: Any, a_scale: Tensor, a_zero_point: Any, b: Any, b_scale: Tensor, b_zero_point: Any, y_scale: Tensor,
    y_zero_point: Any, /,
) -> Any:  # fmt: skip
    """ONNX QLinearMatMul: scales and zero points are of the tensor, of rows of `a` and `y`, or of columns of `b`."""
    if np.dtype(a.dtype) in INTS:
        y = tnp.astype(matmul_integer(a, b, a_zero_point, b_zero_point), F32)
    else:  # floats of 8 bits
        rows, columns = (decoded(x, F32) - _scale(decoded(zero, F32), shape)
                         for x, zero, shape in ((a, a_zero_point, ROW), (b, b_zero_point, COLUMN)))  # fmt: skip
        y = tnp.matmul(rows, columns)
    y = y * (_scale(a_scale, ROW) * _scale(b_scale, COLUMN) / _scale(y_scale, ROW))
    return _quantized(y, _scale(decoded(y_zero_point), ROW), np.dtype(y_zero_point.dtype))


@converts("ConvInteger", since=10)
def conv_integer(x: Tensor, w: Tensor, x_zero_point: Any = None, w_zero_point: Any = None, /, **attrs: Any) -> Tensor:
    """ONNX ConvInteger: int32; padding is the zero point of `x`."""
    return convolution(Integers.of(x, x_zero_point), Integers.of(w, w_zero_point, (-1, *(1,) * (w.ndim - 1))), **attrs)


@converts("QLinearConv", since=10)
def qlinear_conv(
    x: Any, x_scale: Tensor, x_zero_point: Any, w: Any, w_scale: Tensor, w_zero_point: Any, y_scale: Tensor,
    y_zero_point: Any, bias: Tensor | None = None, /, **attrs: Any,
) -> Any:  # fmt: skip
    """ONNX QLinearConv: scales and zero points of `w` are of the tensor or of each filter; the bias is int32."""
    channels = (-1, *(1,) * (w.ndim - 2))
    y = convolution(Integers.of(x, x_zero_point), Integers.of(w, w_zero_point, (-1, 1, *channels[1:])), bias, **attrs)
    y = tnp.astype(y, F32) * (_scale(x_scale, ()) * _scale(w_scale, channels) / _scale(y_scale, ()))
    return _quantized(y, _scale(decoded(y_zero_point), ()), np.dtype(y_zero_point.dtype))
