"""What the functions of `tgc.numpy` and `tgc.nn` share: names of types, reading of arguments, errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from tgc.errors import AttributeSpecError, ConcretizationError, DTypeError, ShapeError
from tgc.ops import arithmetic, movement
from tgc.sizes import equal_shapes, is_size
from tgc.trace import Tracer
from tgc.types import BF16, F16, F32, F64, DType, Shape, as_dtype, is_complex, is_inexact, tensor_type

Array: TypeAlias = Any  # a Tracer or a NumPy array
ArrayLike: TypeAlias = Any  # an Array, a number, or a nested sequence of these
Axes: TypeAlias = "int | Sequence[int] | None"
DTypeLike: TypeAlias = Any  # a NumPy dtype, a scalar type such as float32, or a name


def as_array(x: ArrayLike) -> Array:
    """`x` as it is if it is an array, else as a NumPy array; a sequence that holds tracers becomes one tracer.

    Raises:
        DTypeError: tgc does not support the dtype.
        ShapeError: a sequence is ragged.
    """
    if isinstance(x, Tracer):
        return x
    if isinstance(x, list | tuple) and any(isinstance(v, Tracer | list | tuple) for v in x):
        parts = [as_array(v) for v in x]
        if any(isinstance(p, Tracer) for p in parts):
            dtype = arithmetic.result_type(*parts)
            if not all(equal_shapes(p.shape, parts[0].shape) for p in parts[1:]):
                raise refuse("asarray", parts, "the parts of a sequence differ in shape")
            rows = (movement.reshape(arithmetic.as_tensor(p, dtype), shape=(1, *p.shape)) for p in parts)
            return movement.concat(*rows, axis=0)
    array = np.asarray(x)
    return array.astype(as_dtype(array.dtype), copy=False)


def check_device(function: str, device: Any) -> None:
    """Refuse a device that eager arrays do not lie on.

    Raises:
        AttributeSpecError: `device` is neither None nor "cpu".
    """
    if device not in (None, "cpu"):
        raise AttributeSpecError(f"{function}: there is no device {device!r}; arrays lie on 'cpu'")


def static(function: str, *numbers: Any) -> list[Any]:
    """Python numbers that a tensor's size or values are made from.

    Raises:
        AttributeSpecError: one is traced, or no number.
    """
    for x in numbers:
        if isinstance(x, Tracer) or (not is_size(x) and np.ndim(x)):
            raise AttributeSpecError(f"{function} needs numbers that are known while tracing, not {x!r}")
    return [x.item() if isinstance(x, np.generic | np.ndarray) else x for x in numbers]


def concrete(function: str, *arrays: ArrayLike, instead: str = "call it outside of jit") -> list[np.ndarray]:
    """The operands of a function whose result's shape depends on their numbers, as NumPy arrays.

    Raises:
        ConcretizationError: one is traced.
    """
    xs = [as_array(a) for a in arrays]
    for x in xs:
        if isinstance(x, Tracer):
            raise ConcretizationError(
                f"the shape of {function}({describe(x)}) depends on numbers that are unknown while tracing{x.origin}; "
                f"{instead}"
            )
    return xs


def as_inexact(x: ArrayLike) -> Array:
    """`x` as an array of floats or complex numbers: booleans and integers become float64."""
    x = as_array(x)
    return x if is_inexact(x.dtype) else arithmetic.as_tensor(x, F64)


def as_real(x: ArrayLike, function: str = "function of real numbers") -> Array:
    """`x` as an array of floats: booleans and integers become float64.

    Raises:
        DTypeError: `x` is complex.
    """
    x = as_inexact(x)
    if is_complex(x.dtype):
        raise DTypeError(f"{function}({describe(x)}) is not defined for complex numbers")
    return x


def real_operands(function: str, *xs: ArrayLike) -> list[Array]:
    """The operands in one shape and floating-point dtype; ints become float64.

    Raises:
        DTypeError: one is complex.
    """
    dtype = arithmetic.result_type(*xs)
    if is_complex(dtype):
        raise DTypeError(
            f"{function} is not defined for complex numbers: {', '.join(describe(as_array(x)) for x in xs)}"
        )
    return arithmetic.elementwise_operands(xs, dtype if is_inexact(dtype) else F64, function)


def describe(x: Array) -> str:
    """dtype and shape, for messages."""
    return str(tensor_type(x.dtype, x.shape))


def refuse(function: str, operands: Sequence[Array], reason: str) -> ShapeError:
    """The error that says why operand shapes do not fit a function."""
    return ShapeError(f"{function}({', '.join(describe(as_array(x)) for x in operands)}): {reason}")


def axes_of(function: str, x: Array, axis: Axes) -> tuple[int, ...]:
    """Sorted axes of `x` counted from the front, all of them for None.

    Raises:
        ShapeError: one does not exist or is named twice.
    """
    try:
        return arithmetic.axes_tuple(axis, x.ndim)
    except ShapeError as error:
        raise type(error)(str(refuse(function, [x], str(error)))) from None


def axis_of(function: str, x: Array, axis: int) -> int:
    """One axis of `x`, counted from the front."""
    return axes_of(function, x, (axis,))[0]


def sizes(shape: int | Sequence[int]) -> Shape:
    """A shape from an int or a sequence of ints."""
    return tensor_type(F32, shape if isinstance(shape, Sequence | np.ndarray) else (shape,)).shape


def along(x: Array, axes: Sequence[int], shape: Sequence[int]) -> Array:
    """`x` (whose axes are `axes` of the result, in order) repeated along all other axes of `shape`."""
    return movement.broadcast(x, axes=axes, shape=shape)


def spread(x: Array, axes: Sequence[int], shape: Sequence[int]) -> Array:
    """`x`, the result of reducing `axes` of a tensor of `shape`, repeated along these axes."""
    return along(x, [a for a in range(len(shape)) if a not in axes], shape)


def accumulator(dtype: DType) -> DType:
    """The dtype in which means, variances and norms are computed: float32 for half precision."""
    return F32 if dtype in (F16, BF16) else dtype


def replace(t: Sequence[int], axis: int, *new: int) -> Shape:
    """The tuple with the entry at `axis` replaced by `new`."""
    return (*t[:axis], *new, *t[axis + 1 :])
