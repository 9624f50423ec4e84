"""Names of the dtypes, their limits and kinds, and promotion."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import ml_dtypes
import numpy as np

from tgc.errors import AttributeSpecError
from tgc.numpy.base import Array, ArrayLike, DTypeLike, as_array, check_device
from tgc.ops import arithmetic, bits
from tgc.ops.arithmetic import dtype_of
from tgc.trace import Tracer
from tgc.types import COMPLEXES, F16, F32, F64, DType, as_dtype, is_float

__all__ = [
    "astype", "bfloat16", "bool", "bool_", "can_cast", "complex64", "complex128", "complexfloating", "dtype", "finfo",
    "float8_e4m3fn", "float8_e5m2", "float16", "float32", "float64", "floating", "generic", "iinfo", "inexact", "int8",
    "int16", "int32", "int64", "integer", "iscomplexobj", "isdtype", "isrealobj", "isscalar", "issubdtype", "ndarray",
    "number", "promote_types", "result_type", "signedinteger", "uint8", "uint16", "uint32", "uint64", "unsignedinteger",
    "view",
]  # fmt: skip

bfloat16 = ml_dtypes.bfloat16
float8_e4m3fn, float8_e5m2 = ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2
bool_, float16, float32, float64 = np.bool_, np.float16, np.float32, np.float64
int8, int16, int32, int64 = np.int8, np.int16, np.int32, np.int64
uint8, uint16, uint32, uint64 = np.uint8, np.uint16, np.uint32, np.uint64
complex64, complex128 = np.complex64, np.complex128
generic, number, inexact, floating, complexfloating = np.generic, np.number, np.inexact, np.floating, np.complexfloating
integer, signedinteger, unsignedinteger = np.integer, np.signedinteger, np.unsignedinteger
dtype, ndarray = np.dtype, np.ndarray
bool = np.bool_

NUMPY_FLOATS = frozenset({F16, F32, F64})  # that NumPy itself has
KINDS: dict[str, str] = {  # letters of `numpy.dtype.kind`; those of ml_dtypes count as floats
    "bool": "b", "signed integer": "i", "unsigned integer": "u", "integral": "iu", "real floating": "f",
    "complex floating": "c", "numeric": "iufc",
}  # fmt: skip


def kind_of(dtype: DType) -> str:
    """One letter for the kind of a dtype: b, i, u, f (bfloat16 and float8 included) or c."""
    return "f" if is_float(dtype) else dtype.kind


def astype(x: ArrayLike, dtype: DTypeLike, /, *, copy: Any = True, device: Any = None) -> Array:
    """`x` converted to `dtype`; floats lose their fraction on the way to integers.

    `copy=False` may return `x` itself if it has the dtype already.
    """
    check_device("astype", device)
    array, to = as_array(x), as_dtype(dtype)
    out = arithmetic.as_tensor(array, to)
    return out.copy() if copy and out is array and isinstance(out, np.ndarray) else out


def view(a: ArrayLike, dtype: DTypeLike) -> Array:
    """The bytes of `a` as elements of another dtype; the last axis shrinks or grows with their size.

    A new array, without a gradient.

    Raises:
        ShapeError: the last axis is not made of whole elements, or one of the dtypes is boolean.
    """
    x, to = as_array(a), as_dtype(dtype)
    return x if x.dtype == to else bits.bitcast(x, dtype=to)


def result_type(*arrays_and_dtypes: ArrayLike | DTypeLike) -> DType:
    """NumPy 2's result dtype (NEP 50); bfloat16 meets integers as float16 does, and float16 in float32.

    Raises:
        DTypeError: tgc does not support a dtype.
    """
    return arithmetic.result_type(*arrays_and_dtypes)


def promote_types(type1: DTypeLike, type2: DTypeLike) -> DType:
    """The dtype that operands of two dtypes meet in."""
    return result_type(as_dtype(type1), as_dtype(type2))


def can_cast(from_: ArrayLike | DTypeLike, to: DTypeLike, casting: str = "safe") -> Any:
    """Whether a dtype (or that of an array) converts to another under a rule: "no", "safe", "same_kind", "unsafe"."""
    source = from_.dtype if isinstance(from_, Tracer | np.ndarray | np.generic) else from_
    return np.can_cast(as_dtype(source), as_dtype(to), casting)  # type: ignore[arg-type]


def isdtype(dtype: DTypeLike, kind: DTypeLike | tuple[DTypeLike, ...]) -> Any:
    """Whether `dtype` is `kind`: a dtype, a kind of the array API standard ("real floating", ...), or one of several.

    Raises:
        AttributeSpecError: there is no kind of that name.
    """
    found = as_dtype(dtype)
    if isinstance(kind, tuple):
        return any(isdtype(found, k) for k in kind)
    if not isinstance(kind, str):
        return found == as_dtype(kind)
    if kind not in KINDS:
        raise AttributeSpecError(f"isdtype: {kind!r} is no kind; there are {', '.join(KINDS)}")
    return kind_of(found) in KINDS[kind]


def issubdtype(arg1: DTypeLike, arg2: DTypeLike) -> Any:
    """Whether a dtype lies below another in NumPy's hierarchy; those of ml_dtypes are floating."""
    if isinstance(arg1, type) and issubclass(arg1, np.generic) and arg1.__module__ == "numpy":
        return np.issubdtype(arg1, arg2)
    found = as_dtype(arg1)
    ancestors = (np.floating, np.inexact, np.number, np.generic)
    return arg2 in ancestors if is_float(found) and found not in NUMPY_FLOATS else np.issubdtype(found, arg2)


@dataclass(frozen=True, slots=True)
class FloatInfo:
    """Limits of a floating-point dtype, named as NumPy's `finfo` names them; Python numbers, as the standard asks."""

    dtype: DType
    bits: int
    nmant: int
    minexp: int
    maxexp: int
    precision: int
    eps: float
    epsneg: float
    resolution: float
    max: float
    min: float
    tiny: float
    smallest_normal: float
    smallest_subnormal: float


def finfo(dtype: DTypeLike | ArrayLike) -> FloatInfo:
    """Limits of a floating-point dtype; those of ml_dtypes included, of complex ones those of their parts."""
    found = as_dtype(dtype.dtype if isinstance(dtype, Tracer | np.ndarray) else dtype)
    info = np.finfo(found) if found in NUMPY_FLOATS | COMPLEXES else ml_dtypes.finfo(found)  # type: ignore[no-untyped-call]
    kinds = {f.name: int if f.type == "int" else float for f in fields(FloatInfo) if f.name != "dtype"}
    return FloatInfo(np.dtype(info.dtype), **{name: kind(getattr(info, name)) for name, kind in kinds.items()})  # type: ignore[arg-type]


def iinfo(dtype: DTypeLike | ArrayLike) -> Any:
    """Limits of an integer dtype, as NumPy's `iinfo`."""
    return np.iinfo(as_dtype(dtype.dtype if isinstance(dtype, Tracer | np.ndarray) else dtype))


def iscomplexobj(x: ArrayLike) -> Any:
    """Whether the dtype of `x` is complex, whatever its numbers."""
    return dtype_of(x).kind == "c"


def isrealobj(x: ArrayLike) -> Any:
    """Whether the dtype of `x` is not complex."""
    return not iscomplexobj(x)


def isscalar(element: Any) -> Any:
    """Whether `element` is a number; arrays of no axes are not."""
    return np.isscalar(element)
