"""NumPy's operators on top of the primitives: promotion and broadcasting; `tgc.ops.indexing` has indexing.

Primitives take operands of one shape and dtype. The functions here bring them there as NumPy 2 does (NEP 50: Python
numbers are weak), for tracers and NumPy arrays alike, and are shared by the tracer's operators and `tgc.numpy`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tgc.errors import AxisError, DTypeError, ShapeError
from tgc.ir import recorder
from tgc.ops import contraction, creation, elementwise, movement
from tgc.ops.kinds import Elementwise
from tgc.sizes import Size, integer, is_size
from tgc.types import (
    BF16,
    BOOL,
    C128,
    F16,
    F32,
    F64,
    FLOAT8S,
    I64,
    INTS,
    REALS,
    U64,
    UNSIGNED,
    DType,
    Shape,
    as_dtype,
    complex_dtype,
    is_complex,
    is_inexact,
)

WEAK = (bool, int, float, complex, Size)
_WEAK_DTYPES = {bool: BOOL, int: I64, float: F64, complex: C128, Size: I64}


def is_weak(x: Any) -> bool:
    """Whether `x` is a Python number, which adapts to the dtype of what it meets."""
    return getattr(x, "weak", False) or (isinstance(x, WEAK) and not isinstance(x, np.generic))


def dtype_of(x: Any) -> DType:
    """The dtype of a tensor, array or number."""
    if isinstance(x, WEAK) and not isinstance(x, np.generic):
        return _WEAK_DTYPES[type(x)] if type(x) in _WEAK_DTYPES else as_dtype(np.asarray(x).dtype)
    return as_dtype(x.dtype) if hasattr(x, "dtype") else as_dtype(np.asarray(x).dtype)


def shape_of(x: Any) -> Shape:
    """The shape of a tensor, array or number."""
    return tuple(x.shape) if hasattr(x, "shape") else () if is_size(x) else np.shape(x)


def result_type(*xs: Any) -> DType:
    """NumPy 2's result dtype of operands that may be tensors, arrays, dtypes or Python numbers."""
    strong = [as_dtype(x) if isinstance(x, np.dtype | type | str) else dtype_of(x) for x in xs if not is_weak(x)]
    if not strong:
        return as_dtype(np.result_type(*(dtype_of(x) for x in xs)))
    dtype = strong[0]
    for other in strong[1:]:
        dtype = _promote(dtype, other)
    for x in xs:
        if is_weak(x) and dtype_of(x) == C128 and not is_complex(dtype):
            dtype = complex_dtype(dtype)
        elif is_weak(x) and dtype_of(x) == F64 and not is_inexact(dtype):
            dtype = F64
        elif is_weak(x) and dtype_of(x) == I64 and dtype == BOOL:
            dtype = I64
    return dtype


def _promote(a: DType, b: DType) -> DType:
    if a == b:
        return a
    if a in FLOAT8S or b in FLOAT8S:
        raise DTypeError(f"{a} and {b} do not meet in one dtype: float8 is for storage; cast it to another float")
    if {a, b} == {F16, BF16}:
        return F32
    if BF16 in (a, b):  # NumPy has no rule: as with float16
        as_half = as_dtype(np.promote_types(F16, a if b == BF16 else b))
        return BF16 if as_half == F16 else as_half
    return as_dtype(np.promote_types(a, b))


def as_tensor(x: Any, dtype: DType) -> Any:
    """`x` in `dtype`: tracers are cast, numbers and arrays converted at once (Python numbers must fit: NEP 50).

    Raises:
        DTypeError: it would lose imaginary parts.
    """
    if dtype in REALS | FLOAT8S and is_complex(dtype_of(x)):
        raise DTypeError(f"{dtype_of(x)} does not become {dtype}, without imaginary parts: take real or abs of it")
    if hasattr(x, "trace") and not isinstance(x, np.ndarray | np.generic):  # arrays have a method of that name
        return x if x.dtype == dtype else elementwise.cast(x, dtype=dtype)
    if is_size(x):
        if recorder() is not None and dtype in creation.SIZED:
            return creation.fill((), dtype, x)
        x = int(x)
    if is_weak(x) and isinstance(x, int) and dtype in INTS and not isinstance(x, bool):
        info = np.iinfo(dtype)
        if not info.min <= x <= info.max:
            raise OverflowError(f"Python integer {x} out of bounds for {dtype}")
    if is_weak(x):
        return np.array(x).astype(dtype)
    return np.asarray(x).astype(dtype, copy=False)


def broadcast_shapes(*shapes: Shape, op: str = "broadcast") -> Shape:
    """NumPy's broadcast of the shapes of `op`'s operands.

    Raises:
        ShapeError: they do not fit each other.
    """
    rank = max(map(len, shapes), default=0)
    found: list[int] = [1] * rank
    for shape in shapes:
        for a, n in enumerate(shape, rank - len(shape)):
            if n != 1 and found[a] != n:
                if found[a] != 1:
                    raise ShapeError(f"{op}: shapes {', '.join(map(str, shapes))} cannot be broadcast together")
                found[a] = n
    return tuple(found)


def broadcast_to(x: Any, shape: Sequence[int]) -> Any:
    """`x` repeated along missing axes and axes of size one."""
    shape, old = tuple(shape), shape_of(x)
    lead = len(shape) - len(old)
    if not lead and old == shape:
        return x
    if lead < 0 or any(n not in (1, m) for n, m in zip(old, shape[lead:], strict=True)):
        raise ShapeError(f"cannot broadcast shape {old} to {shape}")
    axes = [a + lead for a, n in enumerate(old) if n == shape[a + lead]]
    squeezed = tuple(shape[a] for a in axes)
    return movement.broadcast(x if squeezed == old else movement.reshape(x, shape=squeezed), axes=axes, shape=shape)


def elementwise_operands(xs: Sequence[Any], dtype: DType | None = None, op: str = "broadcast") -> list[Any]:
    """The operands of `op` in one dtype and shape."""
    dtype = dtype or result_type(*xs)
    shape = broadcast_shapes(*(shape_of(x) for x in xs), op=op)
    return [broadcast_to(as_tensor(x, dtype), shape) for x in xs]


def _binary(
    op: Elementwise, name: str, doc: str, *, boolean: Any = None, real: bool = False
) -> Callable[[Any, Any], Any]:
    def function(x: Any, y: Any, /) -> Any:
        dtype = result_type(x, y)
        if real and not is_inexact(dtype):
            dtype = F64
        use = op
        if dtype == BOOL and dtype not in op.domain:
            if boolean is None:
                raise DTypeError(f"{name} is not defined for booleans; cast them, or use the logical functions")
            use = boolean
        return use(*elementwise_operands((x, y), dtype, name))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc} Broadcasts and promotes its operands."
    return function


e = elementwise
add = _binary(e.add, "add", "x + y; of booleans, their disjunction.", boolean=e.bit_or)
subtract = _binary(e.sub, "subtract", "x - y.")
multiply = _binary(e.mul, "multiply", "x * y; of booleans, their conjunction.", boolean=e.bit_and)
divide = _binary(e.div, "divide", "x / y, true division.", real=True)
floor_divide = _binary(e.floor_div, "floor_divide", "floor(x / y); an integer divided by zero is zero.")
remainder = _binary(e.mod, "remainder", "x - floor(x / y) * y, with the sign of y.")
maximum = _binary(e.maximum, "maximum", "The larger of two, NaN if either is.", boolean=e.bit_or)
minimum = _binary(e.minimum, "minimum", "The smaller of two, NaN if either is.", boolean=e.bit_and)
arctan2 = _binary(e.atan2, "arctan2", "The angle of the point (y, x), in radians.", real=True)
bitwise_and = _binary(e.bit_and, "bitwise_and", "Bitwise and.")
bitwise_or = _binary(e.bit_or, "bitwise_or", "Bitwise or.")
bitwise_xor = _binary(e.bit_xor, "bitwise_xor", "Bitwise exclusive or.")
left_shift = _binary(e.shift_left, "left_shift", "x shifted left by y bits.")
right_shift = _binary(e.shift_right, "right_shift", "x shifted right by y bits, keeping its sign.")


def _in_range(x: Any, other: Any) -> Any:
    """`x`, or where it is a Python integer beyond the integers of `other`'s dtype, an infinity: it compares alike."""
    dtype = dtype_of(other)
    if is_size(x) and dtype in INTS and not is_weak(other):
        x = int(x)
    if not is_weak(x) or not isinstance(x, int) or dtype not in INTS or is_weak(other):
        return x
    info = np.iinfo(dtype)
    return x if info.min <= x <= info.max else math.copysign(math.inf, x)


def _comparison(op: Elementwise, name: str, doc: str) -> Callable[[Any, Any], Any]:
    """Integers compare exactly, as NumPy 2's do: int64 and uint64, which have no dtype in common, in uint64."""
    promoted = _binary(op, name, doc)

    def exact(x: Any, y: Any, /) -> Any:
        x, y = _in_range(x, y), _in_range(y, x)
        dtypes = dtype_of(x), dtype_of(y)
        if is_weak(x) or is_weak(y) or U64 not in dtypes or not set(dtypes) <= INTS or UNSIGNED.issuperset(dtypes):
            return promoted(x, y)
        unsigned = promoted(as_tensor(x, U64), as_tensor(y, U64))
        if dtypes[0] == U64:  # a negative number is to the other one as it is to zero
            return where(less(y, 0), promoted(0, y), unsigned)
        return where(less(x, 0), promoted(x, 0), unsigned)

    exact.__name__ = exact.__qualname__ = name
    exact.__doc__ = promoted.__doc__
    return exact


equal = _comparison(e.eq, "equal", "x == y.")
not_equal = _comparison(e.ne, "not_equal", "x != y.")
less = _comparison(e.lt, "less", "x < y.")
less_equal = _comparison(e.le, "less_equal", "x <= y.")
greater = _comparison(e.gt, "greater", "x > y.")
greater_equal = _comparison(e.ge, "greater_equal", "x >= y.")
_power = _binary(e.power, "power", "x ** y.")


def power(x: Any, y: Any, /) -> Any:
    """x ** y. Small whole exponents become products."""
    if is_weak(y) and not isinstance(y, bool) and y in (1, 2, 3) and (isinstance(y, int) or is_inexact(dtype_of(x))):
        square = multiply(x, x) if y > 1 else x
        return multiply(square, x) if y == 3 else square
    if is_weak(y) and y == 0.5 and is_inexact(dtype_of(x)):
        return e.sqrt(x)
    return _power(x, y)


def negative(x: Any, /) -> Any:
    """-x."""
    return e.neg(x)


def absolute(x: Any, /) -> Any:
    """|x|; booleans are unchanged."""
    return x if dtype_of(x) == BOOL else e.absolute(x)


def positive(x: Any, /) -> Any:
    """x itself."""
    return x


def invert(x: Any, /) -> Any:
    """Bitwise not; of booleans, their negation."""
    return e.bit_not(x)


def where(condition: Any, x: Any, y: Any, /) -> Any:
    """x where the condition holds, else y."""
    if dtype_of(condition) != BOOL:
        condition = not_equal(condition, 0)
    dtype = result_type(x, y)
    shape = broadcast_shapes(shape_of(condition), shape_of(x), shape_of(y), op="where")
    parts = (broadcast_to(as_tensor(v, d), shape) for v, d in ((condition, BOOL), (x, dtype), (y, dtype)))
    return e.select(*parts)


def astype(x: Any, dtype: Any) -> Any:
    """`x` converted to `dtype`."""
    return as_tensor(x, as_dtype(dtype))


def listed(numbers: Any) -> list[Any]:
    """The numbers of a sequence or vector, or the only one."""
    several = isinstance(numbers, Sequence) or (isinstance(numbers, np.ndarray) and numbers.ndim > 0)
    return list(numbers) if several else [numbers]


def reshape(x: Any, shape: int | Sequence[int]) -> Any:
    """The same elements, row-major, under another shape; one size may be -1."""
    sizes = [integer(n) for n in listed(shape)]
    total = math.prod(shape_of(x))
    if sizes.count(-1) > 1:
        raise ShapeError(f"reshape to {tuple(sizes)}: only one size may be -1")
    if -1 in sizes:
        rest = math.prod(n for n in sizes if n != -1)
        if rest == 0 or total % rest:
            raise ShapeError(f"cannot reshape {shape_of(x)} to {tuple(sizes)}")
        sizes[sizes.index(-1)] = total // rest
    return x if tuple(sizes) == shape_of(x) and hasattr(x, "shape") else movement.reshape(x, shape=sizes)


def axis_index(axis: int, rank: int) -> int:
    """`axis` counted from the front.

    Raises:
        ShapeError: there is no such axis.
    """
    axis = operator.index(axis)
    if not -rank <= axis < rank:
        raise AxisError(f"axis {axis} is out of bounds for a tensor of {rank} dimensions")
    return axis % rank


def axes_tuple(axis: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """Sorted axes, all of them for None."""
    if axis is None:
        return tuple(range(rank))
    axes = [axis_index(a, rank) for a in listed(axis)]
    if len(set(axes)) != len(axes):
        raise ShapeError(f"axes {axis} repeat")
    return tuple(sorted(axes))


def transpose(x: Any, axes: Sequence[int] | None = None) -> Any:
    """Axes permuted, reversed by default."""
    rank = len(shape_of(x))
    perm = [axis_index(a, rank) for a in axes] if axes is not None else list(range(rank))[::-1]
    return x if perm == list(range(rank)) else movement.transpose(x, perm=perm)


def matmul(x: Any, y: Any, /) -> Any:
    """NumPy's matrix product: vectors are rows on the left, columns on the right; leading axes are batches."""
    dtype = result_type(x, y)
    if dtype == BOOL:
        raise DTypeError("matmul is not defined for booleans")
    x, y = as_tensor(x, dtype), as_tensor(y, dtype)
    if not shape_of(x) or not shape_of(y):
        raise ShapeError(f"matmul: operands {shape_of(x)} and {shape_of(y)} need at least one axis")
    rx, ry = len(shape_of(x)), len(shape_of(y))
    kx, ky = rx - 1, max(ry - 2, 0)
    if shape_of(x)[kx] != shape_of(y)[ky]:
        raise ShapeError(
            f"matmul: shapes {shape_of(x)} and {shape_of(y)} do not fit: {shape_of(x)[kx]} != {shape_of(y)[ky]}"
        )
    if ry <= 2:
        return contraction.dot(x, y, batch=((), ()), contract=((kx,), (ky,)))
    if rx == 1:
        return contraction.dot(y, x, batch=((), ()), contract=((ky,), (kx,)))
    batch = broadcast_shapes(shape_of(x)[:-2], shape_of(y)[:-2])
    x, y = (broadcast_to(v, (*batch, *shape_of(v)[-2:])) for v in (x, y))
    axes = tuple(range(len(batch)))
    return contraction.dot(x, y, batch=(axes, axes), contract=((len(batch) + 1,), (len(batch),)))


def zeros_like(x: Any) -> Any:
    """Zeros of x's shape and dtype."""
    return creation.full_like(x, 0)
