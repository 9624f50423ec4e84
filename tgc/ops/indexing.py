"""NumPy's indexing on top of the primitives.

A key is read in two steps, as NumPy does: slices, new axes and integers first; then index arrays, which are broadcast
together, and whose axes take the place of the axes that they index if those are neighbors, else come first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tgc.errors import ConcretizationError, DTypeError, OutOfRangeError, ShapeError
from tgc.ops import creation, elementwise, movement
from tgc.ops.arithmetic import (
    add,
    as_tensor,
    broadcast_shapes,
    broadcast_to,
    dtype_of,
    greater_equal,
    less,
    multiply,
    reshape,
    shape_of,
    transpose,
    where,
)
from tgc.sizes import integer, is_size, larger, smaller
from tgc.types import BOOL, I64, INTS, Shape


@dataclass(frozen=True)
class Item:
    """How a key treats one axis: a new one (None), a slice, one place (int), or the places in an index array.

    The axis of an index array is new (`fresh`) where it stands for a mask without axes, which takes all or nothing.
    """

    what: slice | int | Any | None
    fresh: bool = False

    @property
    def basic(self) -> Item:
        """What the first step does with the axis."""
        return Item(None if self.fresh else slice(None)) if self.is_array else self

    @property
    def is_array(self) -> bool:
        return self.what is not None and not isinstance(self.what, slice) and not _is_int(self.what)

    def keeps(self, n: int) -> bool:
        """Whether an axis of size `n` stays as it is."""
        return isinstance(self.what, slice) and places(self.what, n) == (0, n, 1)


def _is_int(x: Any) -> bool:
    """An integer, or a size that stands for one."""
    return isinstance(x, int) or is_size(x)


def places(s: slice, n: int) -> tuple[int, int, int]:
    """`s.indices(n)` for sizes too; those that a slice names are clipped to the axis at run time."""
    if all(type(x) in (int, type(None)) for x in (s.start, s.stop, s.step, n)):
        return s.indices(n)
    step = 1 if s.step is None else integer(s.step)
    if step == 0:
        raise ShapeError("a slice cannot step by zero")
    low, high = (0, n) if step > 0 else (-1, n - 1)

    def end(x: Any, default: int) -> int:
        if x is None:
            return default
        x = integer(x)
        return larger(x + n, low) if x < 0 else smaller(x, high)

    return end(s.start, low if step > 0 else high), end(s.stop, high if step > 0 else low), step


def _is_tensor(k: Any) -> bool:
    """A tracer."""
    return hasattr(k, "trace") and not isinstance(k, np.ndarray | np.generic)


def read_key(shape: Shape, key: Any) -> list[Item]:
    """The items of a key for a tensor of `shape`, one an axis and one a new axis.

    Raises:
        ShapeError: the key has too many items, or a mask of another shape.
        DTypeError: an item is no integer, slice, None, ellipsis, boolean mask or array of integers.
        ConcretizationError: a mask is traced, so that the shape of the result is unknown.
        OutOfRangeError: an index that is known now lies outside of its axis.
    """
    keys = [_array(k) for k in (key if isinstance(key, tuple) else (key,))]
    taken = sum(0 if k is None or k is Ellipsis else _axes(k) for k in keys)
    if sum(k is Ellipsis for k in keys) > 1:
        raise ShapeError("an index holds at most one ellipsis")
    if taken > len(shape):
        raise ShapeError(f"{taken} indices for a tensor of shape {shape}")
    at = next((i for i, k in enumerate(keys) if k is Ellipsis), len(keys))
    keys[at : at + 1] = [slice(None)] * (len(shape) - taken)
    items: list[Item] = []
    axis = 0
    for k in keys:
        if k is None:
            items.append(Item(None))
        elif isinstance(k, np.ndarray) and k.dtype == BOOL:
            if k.shape != shape[axis : axis + k.ndim]:
                part = shape[axis : axis + k.ndim]
                raise ShapeError(f"a mask of shape {k.shape} does not fit the axes of sizes {part} of shape {shape}")
            items += [Item(places) for places in k.nonzero()] if k.ndim else [Item(np.zeros(int(k), I64), fresh=True)]
            axis += k.ndim
        else:
            items.append(Item(k if isinstance(k, slice) else _in_range(k, axis, shape[axis])))
            axis += 1
    return items


def _array(k: Any) -> Any:
    """An item of a key as None, ..., a slice, an int, a NumPy array (masks too) or a tracer of integers."""
    if k is None or k is Ellipsis or isinstance(k, slice):
        return k
    if _is_tensor(k):
        if dtype_of(k) == BOOL:
            raise ConcretizationError(
                f"a mask that is traced ({k!r}) selects a number of elements that is unknown; use "
                "tgc.numpy.where, or a mask of NumPy's"
            )
        if dtype_of(k) not in INTS:
            raise DTypeError(f"an index holds integers, not {k!r}")
        return k
    if isinstance(k, list | tuple) and any(_is_tensor(v) for v in k):
        parts = [reshape(as_tensor(v, I64), (1, *shape_of(v))) for v in k]
        return movement.concat(*parts, axis=0)
    if is_size(k):
        return k
    array = np.asarray(k)
    if isinstance(k, list | tuple) and not array.size:
        array = array.astype(I64)
    if array.dtype != BOOL and not np.issubdtype(array.dtype, np.integer):
        raise DTypeError(
            f"index {k!r:.60} is not supported: use integers, slices, ..., None, masks and tensors of integers"
        )
    if array.dtype == BOOL:
        return array
    return int(array) if not array.ndim else array.astype(I64, copy=False)


def _axes(k: Any) -> int:
    """How many axes an item takes."""
    return k.ndim if isinstance(k, np.ndarray) and k.dtype == BOOL else 1


def _in_range(k: Any, axis: int, n: int) -> Any:
    """An index counted from the front, as far as it is known."""
    if _is_tensor(k):
        return k
    low, high = (k, k) if _is_int(k) else (k.min(initial=0), k.max(initial=-n))
    if low < -n or high >= n:
        if _is_int(k):
            raise ShapeError(f"index {k} is out of bounds for axis {axis} of size {n}")
        raise OutOfRangeError(f"index {high if high >= n else low} is out of bounds for axis {axis} of size {n}")
    return k % n if _is_int(k) else np.where(k < 0, k + n, k)


def index(x: Any, key: Any) -> Any:
    """`x[key]` as in NumPy, for keys of integers, slices, ellipsis, None, tensors of integers and NumPy's masks.

    Raises:
        ShapeError, DTypeError, ConcretizationError: see `read_key`.
        OutOfRangeError: an index is known to lie outside of its axis; indices that are traced are checked at run time.
    """
    return apply(x, read_key(shape_of(x), key))


def apply(x: Any, items: Sequence[Item]) -> Any:
    """A tensor indexed by the items of a key."""
    x = _basic(x, [i.basic for i in items])
    kept = [i for i in items if not _is_int(i.what)]
    arrays = {axis: i.what for axis, i in enumerate(kept) if i.is_array}
    if not arrays:
        return x
    used = [k for k, i in enumerate(items) if i.is_array or _is_int(i.what)]
    neighbors = used == list(range(used[0], used[-1] + 1))
    place = min(arrays) if neighbors else 0
    return _gather(x, arrays, place)


def _basic(x: Any, items: Sequence[Item]) -> Any:
    start, stop, step, flip, final = [], [], [], [], []
    shape, axis = shape_of(x), 0
    for item in items:
        if item.what is None:
            final.append(1)
            continue
        n = shape[axis]
        if isinstance(item.what, slice):
            a, b, c = places(item.what, n)
            count = larger(-(-(b - a) // c), 0)
            if c < 0:
                flip.append(axis)
                a, b, c = (a + (count - 1) * c, a + 1, -c) if count else (0, 0, 1)
            a, b = (a, max(a, b)) if count else (0, 0)
            final.append(count)
        else:
            i = integer(item.what)
            a, b, c = i, i + 1, 1
        start.append(a)
        stop.append(b)
        step.append(c)
        axis += 1
    if start != [0] * len(shape) or stop != list(shape) or step != [1] * len(shape):
        x = movement.slice_(x, start=start, stop=stop, step=step)
    if flip:
        x = movement.reverse(x, axes=flip)
    return reshape(x, final)


def _gather(x: Any, arrays: dict[int, Any], place: int) -> Any:
    """Elements at the places in `arrays` along some axes; the arrays' own axes come behind `place` of the others."""
    shape = shape_of(x)
    rest = [a for a in range(len(shape)) if a not in arrays]
    sizes = [shape[a] for a in arrays]
    x = transpose(x, (*arrays, *rest))
    places = flat_index(list(arrays.values()), sizes)
    if len(sizes) > 1:
        x = reshape(x, (math.prod(sizes), *(shape[a] for a in rest)))
    x = movement.take(x, places)
    k = len(shape_of(places))
    own, others = list(range(k)), list(range(k, k + len(rest)))
    return transpose(x, (*others[:place], *own, *others[place:]))


def flat_index(indices: Sequence[Any], sizes: Sequence[int]) -> Any:
    """Indices into several axes as indices into these axes in a row; those out of range are out of range there too."""
    if len(indices) == 1:
        return indices[0]
    shape = broadcast_shapes(*map(shape_of, indices), op="index")
    flat: Any = None
    inside: Any = None
    for k, n in zip(indices, sizes, strict=True):
        k = as_tensor(k, I64)
        if _is_tensor(k):
            k = where(less(k, 0), add(k, n), k)
            good = broadcast_to(elementwise.bit_and(greater_equal(k, 0), less(k, n)), shape)
            inside = good if inside is None else elementwise.bit_and(inside, good)
        k = broadcast_to(k, shape)
        flat = k if flat is None else add(multiply(flat, n), k)
    return flat if inside is None else where(inside, flat, math.prod(sizes))


@dataclass(frozen=True)
class Target:
    """What a key selects of a tensor of shape (count, *rest), its leading axes folded: the rows at places `rows`."""

    count: int
    rest: Shape
    rows: Any


def target(shape: Shape, key: Any) -> Target:
    """The rows of a tensor of `shape` that a key selects; axes that the key does not touch behind all others are rows.

    Raises:
        as `index`.
    """
    items, rank = read_key(shape, key), len(shape)
    while items and rank and items[-1].keeps(shape[rank - 1]):
        items, rank = items[:-1], rank - 1
    n = math.prod(shape[:rank])
    rows = apply(reshape(creation.iota(shape=(n,), dtype=I64, axis=0), shape[:rank]), items)
    return Target(n, tuple(shape[rank:]), rows)


__all__ = ["Target", "index", "target"]
