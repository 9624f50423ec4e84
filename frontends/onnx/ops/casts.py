"""Changes of the element type. `tgc.frontends.onnx.formats` has those between numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from tgc import numpy as tnp
from tgc.frontends.onnx import formats
from tgc.frontends.onnx.errors import UntraceableError
from tgc.frontends.onnx.objects import is_text
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Array, Tensor
from tgc.types import BOOL


def _text_of(x: Array) -> Array:
    """Numbers as the shortest strings that are read as the same numbers."""
    return np.array([str(v) for v in x.ravel()], dtype=object).reshape(x.shape)


def _numbers_of(x: Array, to: np.dtype) -> Any:
    """The numbers that strings spell: "1e-5", "+INF" and "NaN" among them; integers may have a decimal point."""
    wide = np.array([float(v) for v in x.ravel()], np.float64).reshape(x.shape)
    if to.kind in "iu":  # whole numbers beyond 2**53 are not float64
        exact = [int(v) if v.strip().lstrip("+-").isdigit() else int(float(v)) for v in x.ravel().tolist()]
        return np.array(exact, dtype=object).reshape(x.shape).astype(to)
    return formats.convert(wide, to)


@converts("Cast")
def cast(x: Tensor, /, *, to: int, saturate: int = 1, round_mode: str = "up") -> Any:
    """ONNX Cast: `to` is the number of an element type.

    Raises:
        UntraceableError: to strings, of numbers that are traced.
    """
    if to == TensorProto.STRING:
        if is_text(x):
            return x
        if not isinstance(known := formats.leave(x), np.ndarray):
            raise UntraceableError("numbers that are unknown while tracing do not become strings")
        return _text_of(known)
    dtype = formats.dtype_of(to)
    if is_text(x):
        return _numbers_of(x, dtype)
    return formats.convert(x, dtype, saturate=bool(saturate), round_mode=round_mode)


@converts("CastLike", since=15)
def cast_like(x: Tensor, target_type: Tensor, /, *, saturate: int = 1, round_mode: str = "up") -> Any:
    """ONNX CastLike: `x` in the element type of `target_type`."""
    to = TensorProto.STRING if is_text(target_type) else helper.np_dtype_to_tensor_dtype(target_type.dtype)
    return cast(x, to=to, saturate=saturate, round_mode=round_mode)


@converts("BitCast", since=26)
def bit_cast(x: Any, /, *, to: int) -> Any:
    """ONNX BitCast: the bits of elements as those of another type of that width."""
    dtype = formats.dtype_of(to)
    codes = x.codes if isinstance(x, formats.Coded) else tnp.astype(x, np.uint8) if x.dtype == BOOL else x
    if dtype in formats.FORMATS:
        return formats.Coded(tnp.view(codes, np.uint8), dtype)
    return tnp.not_equal(codes, 0) if dtype == BOOL else tnp.view(codes, dtype)
