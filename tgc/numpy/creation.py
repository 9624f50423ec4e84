"""New tensors. Shapes and ranges are static; without a dtype the element type is NumPy's default (float64, int64)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tgc.errors import AttributeSpecError, DTypeError
from tgc.numpy.base import Array, ArrayLike, DTypeLike, accumulator, along, as_array, refuse, sizes
from tgc.ops import arithmetic, creation, elementwise
from tgc.ops.arithmetic import as_tensor, dtype_of, result_type
from tgc.trace import Tracer
from tgc.types import BOOL, F64, as_dtype

__all__ = [
    "arange", "array", "asarray", "copy", "empty", "empty_like", "full", "full_like", "linspace", "meshgrid",
    "ones", "ones_like", "zeros", "zeros_like",
]  # fmt: skip

Size = int | Sequence[int]


def asarray(a: ArrayLike, dtype: DTypeLike | None = None) -> Array:
    """`a` as an array; nested sequences may hold tracers."""
    a = as_array(a) if not arithmetic.is_weak(a) or dtype is None else a
    return a if dtype is None else as_tensor(a, as_dtype(dtype))


def array(object: ArrayLike, dtype: DTypeLike | None = None) -> Array:
    """`object` as a new array (tracers are immutable and need no copy)."""
    a = asarray(object, dtype)
    return a.copy() if a is object and isinstance(a, np.ndarray) else a


def copy(a: ArrayLike) -> Array:
    """A new array with the elements of `a`."""
    return array(a)


def full(shape: Size, fill_value: ArrayLike, dtype: DTypeLike | None = None) -> Array:
    """A tensor filled with one number, or with an array that broadcasts to `shape`."""
    value = asarray(fill_value, dtype)
    if isinstance(value, Tracer) or value.ndim:
        return arithmetic.broadcast_to(value, sizes(shape))
    return creation.full(shape=sizes(shape), dtype=value.dtype, value=value.item())


def zeros(shape: Size, dtype: DTypeLike = F64) -> Array:
    """Zeros."""
    return full(shape, 0, dtype)


def ones(shape: Size, dtype: DTypeLike = F64) -> Array:
    """Ones."""
    return full(shape, 1, dtype)


def empty(shape: Size, dtype: DTypeLike = F64) -> Array:
    """Zeros: tgc has no uninitialised tensors."""
    return zeros(shape, dtype)


def full_like(a: ArrayLike, fill_value: ArrayLike, dtype: DTypeLike | None = None, shape: Size | None = None) -> Array:
    """A filled tensor of the shape and dtype of `a`, unless given."""
    a = as_array(a)
    return full(a.shape if shape is None else shape, fill_value, a.dtype if dtype is None else dtype)


def zeros_like(a: ArrayLike, dtype: DTypeLike | None = None, shape: Size | None = None) -> Array:
    """Zeros of the shape and dtype of `a`, unless given."""
    return full_like(a, 0, dtype, shape)


def ones_like(a: ArrayLike, dtype: DTypeLike | None = None, shape: Size | None = None) -> Array:
    """Ones of the shape and dtype of `a`, unless given."""
    return full_like(a, 1, dtype, shape)


def empty_like(a: ArrayLike, dtype: DTypeLike | None = None, shape: Size | None = None) -> Array:
    """Zeros of the shape and dtype of `a`, unless given."""
    return zeros_like(a, dtype, shape)


def _static(function: str, *numbers: Any) -> list[Any]:
    """Python numbers that a tensor's size or values are made from."""
    for x in numbers:
        if isinstance(x, Tracer) or np.ndim(x):
            raise AttributeSpecError(f"{function} needs numbers that are known while tracing, not {x!r}")
    return [x.item() if isinstance(x, np.generic | np.ndarray) else x for x in numbers]


def arange(start: float, /, stop: float | None = None, step: float = 1, dtype: DTypeLike | None = None) -> Array:
    """start, start + step, ... below `stop`; from zero if only one number is given.

    Raises:
        AttributeSpecError: a number is traced, or `step` is zero.
    """
    first, last, by = _static("arange", *((0, start, step) if stop is None else (start, stop, step)))
    to = (
        as_dtype(dtype)
        if dtype is not None
        else result_type(*(dtype_of(x) for x in (start, stop, step) if x is not None))
    )
    if to == BOOL:
        raise DTypeError("arange has no booleans")
    if by == 0:
        raise AttributeSpecError("arange: step is zero")
    n = max(math.ceil((last - first) / by), 0)
    # As NumPy: the step is the difference of the first two elements in the result's dtype.
    work = accumulator(to)
    begin, second = (as_tensor(as_tensor(x, to), work) for x in (first, first + by if n > 1 else first))
    steps = creation.iota(shape=(n,), dtype=work, axis=0)
    return as_tensor(arithmetic.add(arithmetic.multiply(steps, second - begin), begin), to)


def linspace(start: float, stop: float, num: int = 50, endpoint: bool = True, dtype: DTypeLike | None = None) -> Array:
    """`num` evenly spaced numbers from `start` to `stop`, this included if `endpoint`; float64 unless given.

    Raises:
        AttributeSpecError: a number is traced, or `num` is negative.
    """
    first, last, num = _static("linspace", start, stop, num)
    if num < 0:
        raise AttributeSpecError(f"linspace: num is negative: {num}")
    to = F64 if dtype is None else as_dtype(dtype)
    steps = creation.iota(shape=(num,), dtype=F64, axis=0)
    gaps = num - 1 if endpoint else num
    points = arithmetic.add(arithmetic.multiply(steps, (last - first) / max(gaps, 1)), float(first))
    if endpoint and num > 1:
        points = arithmetic.where(arithmetic.equal(steps, gaps), float(last), points)
    return as_tensor(points if to.kind not in "iu" else elementwise.floor(points), to)


def meshgrid(*xi: ArrayLike, indexing: str = "xy", sparse: bool = False) -> list[Array]:
    """Coordinate tensors of the grid that vectors span; "xy" swaps the first two axes, "ij" does not.

    Raises:
        ShapeError: an operand has more than one axis.
    """
    if indexing not in ("xy", "ij"):
        raise AttributeSpecError(f"meshgrid: indexing is 'xy' or 'ij', not {indexing!r}")
    xs = [as_array(x) for x in xi]
    if any(x.ndim > 1 for x in xs):
        raise refuse("meshgrid", xs, "operands must be vectors")
    places = list(range(len(xs)))
    if indexing == "xy" and len(xs) > 1:
        places[:2] = [1, 0]
    by_place = dict(zip(places, xs, strict=True))
    shape = [by_place[i].size for i in range(len(xs))]
    flat = [arithmetic.reshape(x, x.size) for x in xs]
    if sparse:
        return [
            arithmetic.reshape(x, [-1 if a == p else 1 for a in range(len(xs))])
            for x, p in zip(flat, places, strict=True)
        ]
    return [along(x, [p], shape) for x, p in zip(flat, places, strict=True)]
