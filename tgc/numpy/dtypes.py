"""Names of the dtypes, their limits, and promotion."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from tgc.numpy.base import ArrayLike, DTypeLike
from tgc.ops import arithmetic
from tgc.types import DType, as_dtype

__all__ = [
    "bfloat16", "bool_", "finfo", "float16", "float32", "float64", "iinfo", "int8", "int16", "int32", "int64",
    "result_type", "uint8", "uint16", "uint32", "uint64",
]  # fmt: skip

bfloat16 = ml_dtypes.bfloat16
bool_, float16, float32, float64 = np.bool_, np.float16, np.float32, np.float64
int8, int16, int32, int64 = np.int8, np.int16, np.int32, np.int64
uint8, uint16, uint32, uint64 = np.uint8, np.uint16, np.uint32, np.uint64


def result_type(*arrays_and_dtypes: ArrayLike | DTypeLike) -> DType:
    """NumPy 2's result dtype (NEP 50); bfloat16 meets integers as float16 does, and float16 in float32.

    Raises:
        DTypeError: tgc does not support a dtype.
    """
    return arithmetic.result_type(*arrays_and_dtypes)


def finfo(dtype: DTypeLike) -> Any:
    """Limits of a floating-point dtype, as NumPy's `finfo`; bfloat16 included."""
    return ml_dtypes.finfo(as_dtype(dtype))  # type: ignore[no-untyped-call]


def iinfo(dtype: DTypeLike) -> Any:
    """Limits of an integer dtype, as NumPy's `iinfo`."""
    return np.iinfo(as_dtype(dtype))
