"""New tensors. Shapes and ranges are static; without a dtype the element type is NumPy's default (float64, int64).

`device` is that of the array API standard: None or "cpu".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tgc.errors import AttributeSpecError, DTypeError
from tgc.numpy.base import Array, ArrayLike, DTypeLike, accumulator, as_array, check_device, sizes, static
from tgc.ops import arithmetic, creation, elementwise
from tgc.ops.arithmetic import as_tensor, dtype_of, result_type
from tgc.sizes import is_size, larger
from tgc.trace import Tracer
from tgc.types import BOOL, F64, as_dtype, is_inexact

__all__ = [
    "arange", "array", "asanyarray", "asarray", "ascontiguousarray", "copy", "empty", "empty_like", "from_dlpack",
    "fromfunction", "full", "full_like", "geomspace", "linspace", "logspace", "ones", "ones_like", "zeros",
    "zeros_like",
]  # fmt: skip

Size = int | Sequence[int]


def asarray(a: ArrayLike, /, dtype: DTypeLike | None = None, *, device: Any = None, copy: bool | None = None) -> Array:
    """`a` as an array; nested sequences may hold tracers.

    Args:
        copy: True for a new array, False for none (an error if there must be one), None for one if there must be.
    Raises:
        ValueError: `copy` is False, and `a` is no array of that dtype.
    """
    check_device("asarray", device)
    source = a
    a = as_array(a) if not arithmetic.is_weak(a) or dtype is None else a
    out = a if dtype is None else as_tensor(a, as_dtype(dtype))
    if isinstance(out, Tracer):  # immutable
        return out
    shared = out is source or (isinstance(source, np.ndarray) and np.may_share_memory(out, source))
    if copy is False and not shared:
        raise ValueError(f"asarray(copy=False): a {type(source).__name__} does not become an array without a copy")
    return out.copy() if copy and shared else out


def array(object: ArrayLike, dtype: DTypeLike | None = None, *, copy: bool | None = True) -> Array:
    """`object` as a new array (tracers are immutable and need no copy)."""
    return asarray(object, dtype, copy=copy)


def copy(a: ArrayLike) -> Array:
    """A new array with the elements of `a`."""
    return array(a)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Array:
    """The tensor of another library as an array, without a copy where that library allows it (DLPack)."""
    check_device("from_dlpack", device)
    return as_array(x if isinstance(x, Tracer) else np.from_dlpack(x, device=device, copy=copy))


def full(shape: Size, fill_value: ArrayLike, dtype: DTypeLike | None = None, *, device: Any = None) -> Array:
    """A tensor filled with one number, or with an array that broadcasts to `shape`."""
    value = asarray(fill_value, dtype, device=device)
    if isinstance(value, Tracer) or value.ndim:
        return arithmetic.broadcast_to(value, sizes(shape))
    return creation.full(shape=sizes(shape), dtype=value.dtype, value=value.item())


def zeros(shape: Size, dtype: DTypeLike | None = None, *, device: Any = None) -> Array:
    """Zeros."""
    return full(shape, 0, F64 if dtype is None else dtype, device=device)


def ones(shape: Size, dtype: DTypeLike | None = None, *, device: Any = None) -> Array:
    """Ones."""
    return full(shape, 1, F64 if dtype is None else dtype, device=device)


def empty(shape: Size, dtype: DTypeLike | None = None, *, device: Any = None) -> Array:
    """Zeros: tgc has no uninitialised tensors."""
    return zeros(shape, dtype, device=device)


def full_like(
    a: ArrayLike,
    /,
    fill_value: ArrayLike,
    dtype: DTypeLike | None = None,
    shape: Size | None = None,
    *,
    device: Any = None,
) -> Array:
    """A filled tensor of the shape and dtype of `a`, unless given."""
    a = as_array(a)
    size, to = a.shape if shape is None else shape, a.dtype if dtype is None else dtype
    return full(size, fill_value, to, device=device)


def zeros_like(
    a: ArrayLike, /, dtype: DTypeLike | None = None, shape: Size | None = None, *, device: Any = None
) -> Array:
    """Zeros of the shape and dtype of `a`, unless given."""
    return full_like(a, 0, dtype, shape, device=device)


def ones_like(
    a: ArrayLike, /, dtype: DTypeLike | None = None, shape: Size | None = None, *, device: Any = None
) -> Array:
    """Ones of the shape and dtype of `a`, unless given."""
    return full_like(a, 1, dtype, shape, device=device)


def empty_like(
    a: ArrayLike, /, dtype: DTypeLike | None = None, shape: Size | None = None, *, device: Any = None
) -> Array:
    """Zeros of the shape and dtype of `a`, unless given."""
    return full_like(a, 0, dtype, shape, device=device)


def fromfunction(function: Any, shape: Sequence[int], *, dtype: DTypeLike | None = None) -> Any:
    """`function` of the coordinates of all elements, one tensor an axis, in float64 unless given."""
    size, to = sizes(shape), F64 if dtype is None else as_dtype(dtype)
    return function(*(creation.iota(shape=size, dtype=to, axis=axis) for axis in range(len(size))))


def arange(
    start: float,
    /,
    stop: float | None = None,
    step: float = 1,
    dtype: DTypeLike | None = None,
    *,
    device: Any = None,
) -> Array:
    """start, start + step, ... below `stop`; from zero if only one number is given.

    Raises:
        AttributeSpecError: a number is traced, or `step` is zero.
    """
    check_device("arange", device)
    first, last, by = static("arange", *((0, start, step) if stop is None else (start, stop, step)))
    to = (
        as_dtype(dtype)
        if dtype is not None
        else result_type(*(dtype_of(x) for x in (start, stop, step) if x is not None))
    )
    if to == BOOL:
        raise DTypeError("arange has no booleans")
    if by == 0:
        raise AttributeSpecError("arange: step is zero")
    exact = all(isinstance(x, int) or is_size(x) for x in (first, last, by))
    n = larger(-((first - last) // by) if exact else math.ceil((last - first) / by), 0)
    # As NumPy: the step is the difference of the first two elements in the result's dtype.
    work = accumulator(to)
    begin, second = (as_tensor(as_tensor(x, to), work) for x in (first, first + by if n > 1 else first))
    steps = creation.iota(shape=(n,), dtype=work, axis=0)
    with np.errstate(over="ignore"):
        return as_tensor(arithmetic.add(arithmetic.multiply(steps, second - begin), begin), to)


def linspace(
    start: ArrayLike,
    stop: ArrayLike,
    /,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: DTypeLike | None = None,
    axis: int = 0,
    *,
    device: Any = None,
) -> Any:
    """`num` evenly spaced numbers from `start` to `stop`, this included if `endpoint`.

    `start` and `stop` broadcast; their points lie along `axis` of the result. The dtype is that of the two, float64
    for integers, unless given. With `retstep`, a pair: the points, and the distance between them.

    Raises:
        AttributeSpecError: `num` is traced or negative.
    """
    check_device("linspace", device)
    (num,) = static("linspace", num)
    if num < 0:
        raise AttributeSpecError(f"linspace: num is negative: {num}")
    common = result_type(start, stop)
    work = common if is_inexact(common) else F64
    to = work if dtype is None else as_dtype(dtype)
    first, last = arithmetic.elementwise_operands((start, stop), work, "linspace")
    gaps = num - 1 if endpoint else num
    distance = arithmetic.divide(arithmetic.subtract(last, first), gaps) if gaps > 0 else full_like(first, math.nan)
    rank = first.ndim + 1
    place = arithmetic.axis_index(axis, rank)
    steps = arithmetic.reshape(
        as_tensor(creation.iota(shape=(num,), dtype=F64, axis=0), work), (num,) + (1,) * (rank - 1)
    )
    stride = distance if gaps > 0 else arithmetic.subtract(last, first)
    points = arithmetic.add(arithmetic.multiply(steps, stride), first)
    if endpoint and num > 1:
        points = arithmetic.where(arithmetic.equal(steps, float(gaps)), last, points)
    points = as_tensor(elementwise.floor(points) if to.kind in "iu" else points, to)
    if place:
        points = arithmetic.transpose(points, [*range(1, place + 1), 0, *range(place + 1, rank)])
    return (points, distance) if retstep else points


def logspace(
    start: ArrayLike,
    stop: ArrayLike,
    num: int = 50,
    endpoint: bool = True,
    base: ArrayLike = 10.0,
    dtype: DTypeLike | None = None,
    axis: int = 0,
) -> Array:
    """`num` numbers from base ** start to base ** stop, evenly spaced on a logarithmic scale."""
    points = arithmetic.power(base, linspace(start, stop, num, endpoint, axis=axis))
    return points if dtype is None else as_tensor(points, as_dtype(dtype))


def geomspace(
    start: ArrayLike,
    stop: ArrayLike,
    num: int = 50,
    endpoint: bool = True,
    dtype: DTypeLike | None = None,
    axis: int = 0,
) -> Array:
    """`num` numbers from `start` to `stop`, each the same multiple of the one before; both have one sign.

    NaN where the signs differ.
    """
    first, last = arithmetic.elementwise_operands(
        (start, stop), F64 if arithmetic.is_weak(start) else None, "geomspace"
    )
    work = result_type(first, last)
    first, last = (as_tensor(x, work if is_inexact(work) else F64) for x in (first, last))
    growth = linspace(0.0, elementwise.log(arithmetic.divide(last, first)), num, endpoint, axis=axis)
    rank = growth.ndim
    place = arithmetic.axis_index(axis, rank)
    shape = (*first.shape[:place], 1, *first.shape[place:])
    points = arithmetic.multiply(arithmetic.reshape(first, shape), elementwise.exp(growth))
    if num:
        at = creation.iota(shape=growth.shape, dtype=F64, axis=place)
        points = arithmetic.where(arithmetic.equal(at, 0.0), arithmetic.reshape(first, shape), points)
        if endpoint and num > 1:
            points = arithmetic.where(arithmetic.equal(at, float(num - 1)), arithmetic.reshape(last, shape), points)
    to = points.dtype if dtype is None else as_dtype(dtype)
    return as_tensor(points, to)


asanyarray = ascontiguousarray = asarray
