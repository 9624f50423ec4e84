"""Shapes, axes, joining and splitting. Sizes, axes and shifts are static: Python ints."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np

from tgc.errors import AttributeSpecError, ShapeError
from tgc.numpy.base import Array, ArrayLike, Axes, DTypeLike, along, as_array, axes_of, axis_of, refuse, replace, sizes
from tgc.ops import arithmetic, movement
from tgc.ops.arithmetic import as_tensor, result_type
from tgc.sizes import equal_shapes
from tgc.trace import Tracer
from tgc.types import as_dtype

__all__ = [
    "array_split", "atleast_1d", "atleast_2d", "broadcast_arrays", "broadcast_shapes", "broadcast_to", "concat",
    "concatenate", "expand_dims", "flip", "hstack", "matrix_transpose", "moveaxis", "permute_dims", "ravel",
    "repeat", "reshape", "roll", "split", "squeeze", "stack", "swapaxes", "tile", "transpose", "unstack", "vstack",
]  # fmt: skip


def reshape(a: ArrayLike, /, shape: int | Sequence[int], *, copy: bool | None = None) -> Array:
    """The same elements, row-major, under another shape; one size may be -1.

    Args:
        copy: of an array: True for a new one, False for a view (an error if there is none), None for one if need be.
    Raises:
        ValueError: `copy` is False, and the array has no such view.
    """
    a = as_array(a)
    if copy is not None and isinstance(a, np.ndarray):
        return np.reshape(a, sizes(arithmetic.reshape(a, shape).shape), copy=copy)
    return arithmetic.reshape(a, shape)


def ravel(a: ArrayLike) -> Array:
    """The elements, row-major, along one axis."""
    return reshape(a, -1) if as_array(a).size else reshape(a, 0)


def transpose(a: ArrayLike, axes: Sequence[int] | None = None) -> Array:
    """Axes permuted, reversed by default."""
    a = as_array(a)
    if axes is not None and len(axes) != a.ndim:
        raise refuse("transpose", [a], f"axes {tuple(axes)} do not name each axis once")
    return arithmetic.transpose(a, axes)


def permute_dims(a: ArrayLike, /, axes: Sequence[int]) -> Array:
    """Axes permuted."""
    return transpose(a, axes)


def matrix_transpose(x: ArrayLike, /) -> Array:
    """The last two axes swapped."""
    return swapaxes(x, -1, -2)


def swapaxes(a: ArrayLike, axis1: int, axis2: int) -> Array:
    """Two axes swapped."""
    a = as_array(a)
    perm = list(range(a.ndim))
    i, j = axis_of("swapaxes", a, axis1), axis_of("swapaxes", a, axis2)
    perm[i], perm[j] = perm[j], perm[i]
    return arithmetic.transpose(a, perm)


def moveaxis(a: ArrayLike, /, source: int | Sequence[int], destination: int | Sequence[int]) -> Array:
    """Axes `source` brought to the places `destination`; the others stay in order."""
    a = as_array(a)
    both = [arithmetic.listed(t) for t in (source, destination)]
    start, end = ([axis_of("moveaxis", a, i) for i in t] for t in both)
    if len(start) != len(end) or len(set(start)) != len(start) or len(set(end)) != len(end):
        raise refuse("moveaxis", [a], f"source {source} and destination {destination} do not pair distinct axes")
    perm = [i for i in range(a.ndim) if i not in start]
    for place, axis in sorted(zip(end, start, strict=True)):
        perm.insert(place, axis)
    return arithmetic.transpose(a, perm)


def expand_dims(a: ArrayLike, /, axis: int | Sequence[int] = 0) -> Array:
    """Axes of size one inserted, so that they are `axis` of the result."""
    a = as_array(a)
    rank = a.ndim + len(arithmetic.listed(axis))
    try:
        new = arithmetic.axes_tuple(axis, rank)
    except ShapeError as error:
        raise type(error)(str(refuse("expand_dims", [a], str(error)))) from None
    rest = iter(a.shape)
    return reshape(a, tuple(1 if i in new else next(rest) for i in range(rank)))


def squeeze(a: ArrayLike, /, axis: Axes = None) -> Array:
    """Axes of size one removed: `axis`, or all of them.

    Raises:
        ShapeError: one of `axis` has another size.
    """
    a = as_array(a)
    axes = [i for i, n in enumerate(a.shape) if n == 1] if axis is None else axes_of("squeeze", a, axis)
    if any(a.shape[i] != 1 for i in axes):
        raise refuse("squeeze", [a], f"axis {axis} has not size one")
    return reshape(a, tuple(n for i, n in enumerate(a.shape) if i not in axes))


def atleast_1d(a: ArrayLike) -> Array:
    """`a`, a scalar as a vector of one element."""
    a = as_array(a)
    return a if a.ndim else reshape(a, 1)


def atleast_2d(a: ArrayLike) -> Array:
    """`a`, a vector as one row."""
    a = atleast_1d(a)
    return a if a.ndim > 1 else reshape(a, (1, a.size))


def broadcast_to(array: ArrayLike, shape: int | Sequence[int]) -> Array:
    """`array` repeated along missing axes and those of size one."""
    return arithmetic.broadcast_to(as_array(array), sizes(shape))


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape to which tensors of `shapes` broadcast."""
    return arithmetic.broadcast_shapes(*map(tuple, shapes))


def broadcast_arrays(*arrays: ArrayLike) -> list[Array]:
    """The arrays, all broadcast to one shape."""
    xs = [as_array(a) for a in arrays]
    shape = arithmetic.broadcast_shapes(*(x.shape for x in xs))
    return [arithmetic.broadcast_to(x, shape) for x in xs]


# ----------------------------------------------------------------------------------------------- joining and splitting


def concatenate(arrays: Sequence[ArrayLike], /, axis: int | None = 0, dtype: DTypeLike | None = None) -> Array:
    """Arrays joined along an existing axis (None: flattened first), promoted to one dtype.

    Raises:
        ShapeError: there is nothing to join, or other axes differ in size.
    """
    xs = [as_array(a) for a in arrays]
    if not xs:
        raise ShapeError("concatenate needs at least one array")
    if axis is None:
        xs, axis = [ravel(x) for x in xs], 0
    place = axis_of("concatenate", xs[0], axis)
    if any(x.ndim != xs[0].ndim or replace(x.shape, place) != replace(xs[0].shape, place) for x in xs):
        raise refuse("concatenate", xs, f"shapes differ along axes other than {axis}")
    to = result_type(*xs) if dtype is None else as_dtype(dtype)
    parts = [as_tensor(x, to) for x in xs]
    return parts[0] if len(parts) == 1 else movement.concat(*parts, axis=place)


def stack(arrays: Sequence[ArrayLike], /, axis: int = 0, dtype: DTypeLike | None = None) -> Array:
    """Arrays of one shape joined along a new axis."""
    xs = [as_array(a) for a in arrays]
    if not all(equal_shapes(x.shape, xs[0].shape) for x in xs[1:]):
        raise refuse("stack", xs, "shapes differ")
    return concatenate([expand_dims(x, axis) for x in xs], axis, dtype)


def unstack(x: ArrayLike, /, *, axis: int = 0) -> tuple[Array, ...]:
    """The slices of `x` along `axis`, without it."""
    x = as_array(x)
    at = axis_of("unstack", x, axis)
    return tuple(x[(slice(None),) * at + (i,)] for i in range(x.shape[at]))


def vstack(arrays: Sequence[ArrayLike]) -> Array:
    """Arrays (vectors as rows) joined along the first axis."""
    return concatenate([atleast_2d(a) for a in arrays], 0)


def hstack(arrays: Sequence[ArrayLike]) -> Array:
    """Arrays joined along the second axis, vectors along their only one."""
    xs = [atleast_1d(a) for a in arrays]
    return concatenate(xs, 0 if xs and xs[0].ndim == 1 else 1)


def _cut(a: Array, axis: int, start: int, stop: int) -> Array:
    return a if (start, stop) == (0, a.shape[axis]) else a[(slice(None),) * axis + (slice(start, stop),)]


def array_split(a: ArrayLike, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Array]:
    """`a` cut along `axis` before each index, or into that many parts, the first ones larger if need be."""
    a = as_array(a)
    axis = axis_of("array_split", a, axis)
    n = a.shape[axis]
    if isinstance(indices_or_sections, int | np.integer):
        parts = int(indices_or_sections)
        if parts < 1:
            raise refuse("array_split", [a], f"cannot make {parts} parts")
        cuts = [i * (n // parts) + min(i, n % parts) for i in range(1, parts)]
    else:
        cuts = [operator.index(i) for i in indices_or_sections]
    pairs = zip([0, *cuts], [*cuts, n], strict=True)
    return [_cut(a, axis, *slice(start, stop).indices(n)[:2]) for start, stop in pairs]


def split(a: ArrayLike, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Array]:
    """`a` cut along `axis` before each index, or into that many equal parts.

    Raises:
        ShapeError: the parts would not be equal.
    """
    a = as_array(a)
    n = a.shape[axis_of("split", a, axis)]
    if isinstance(indices_or_sections, int) and (indices_or_sections < 1 or n % indices_or_sections):
        raise refuse("split", [a], f"axis {axis} cannot be cut into {indices_or_sections} equal parts; see array_split")
    return array_split(a, indices_or_sections, axis)


# ------------------------------------------------------------------------------------------------- repeating and order


def tile(a: ArrayLike, /, reps: int | Sequence[int]) -> Array:
    """`a` laid side by side `reps` times along each axis."""
    a, times = as_array(a), sizes(reps)
    rank = max(a.ndim, len(times))
    times = (1,) * (rank - len(times)) + times
    shape = (1,) * (rank - a.ndim) + a.shape
    own = [2 * i + 1 for i in range(rank - a.ndim, rank)]
    spread = along(a, own, [n for pair in zip(times, shape, strict=True) for n in pair])
    return reshape(spread, tuple(t * n for t, n in zip(times, shape, strict=True)))


def repeat(a: ArrayLike, repeats: ArrayLike, axis: int | None = None) -> Array:
    """Each element `repeats` times in a row along `axis`, or of the flattened array.

    `repeats` is static: one number, or one for each element along the axis.

    Raises:
        AttributeSpecError: `repeats` is traced, as the size of the result must be known.
        ShapeError: it has not as many elements as the axis.
    """
    if isinstance(repeats, Tracer):
        raise AttributeSpecError(f"repeat needs counts that are known while tracing, not {repeats!r}")
    a = ravel(a) if axis is None else as_array(a)
    at = axis_of("repeat", a, 0 if axis is None else axis)
    times = np.asarray(repeats)
    if times.size != 1:
        if times.shape != (a.shape[at],):
            raise refuse("repeat", [a, times], f"there must be one count, or {a.shape[at]}")
        places = np.repeat(np.arange(a.shape[at]), times)
        return moveaxis(movement.take(moveaxis(a, at, 0), places), 0, at)
    count = operator.index(times.item())
    shape = replace(a.shape, at, a.shape[at], count)
    spread = along(a, [i for i in range(a.ndim + 1) if i != at + 1], shape)
    return reshape(spread, replace(a.shape, at, a.shape[at] * count))


def flip(m: ArrayLike, /, axis: Axes = None) -> Array:
    """Elements in reverse order along `axis`, or along all axes."""
    m = as_array(m)
    axes = axes_of("flip", m, axis)
    return movement.reverse(m, axes=axes) if axes else m


def roll(a: ArrayLike, /, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Array:
    """Elements moved on by `shift` along `axis` (None: of the flattened array), and from the end to the front."""
    a = as_array(a)
    if axis is None:
        return reshape(roll(ravel(a), shift, 0), a.shape)
    pairs = np.broadcast(arithmetic.listed(shift), arithmetic.listed(axis))
    for by, place in pairs:
        at = axis_of("roll", a, int(place))
        n = a.shape[at]
        cut = -int(by) % n if n else 0
        if cut:
            a = movement.concat(_cut(a, at, cut, n), _cut(a, at, 0, cut), axis=at)
    return a


concat = concatenate
