"""Searching, choosing, and what depends on where elements are not zero.

The number of elements that are found is the shape of the result, which a trace must know: on tracers these functions
take a static `size`, beyond which places are `fill_value` (as JAX's), or are refused.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tgc.errors import AttributeSpecError
from tgc.numpy.base import Array, ArrayLike, as_array, concrete, refuse
from tgc.numpy.cumulative import cumsum
from tgc.numpy.elementwise import logical_and, truth
from tgc.numpy.grids import unravel_index
from tgc.numpy.indexing import take
from tgc.numpy.manipulation import ravel, reshape, stack
from tgc.numpy.reductions import sum
from tgc.numpy.sorting import searchsorted
from tgc.ops import arithmetic, creation
from tgc.ops.arithmetic import (
    add,
    as_tensor,
    broadcast_shapes,
    broadcast_to,
    less,
    less_equal,
    maximum,
    minimum,
    remainder,
    result_type,
)
from tgc.types import I64

__all__ = [
    "argwhere", "choose", "compress", "digitize", "extract", "flatnonzero", "nonzero", "piecewise", "select", "where",
]  # fmt: skip

_SIZE = "give `size`, the number of places to return, or call it outside of jit"


def flatnonzero(a: ArrayLike, *, size: int | None = None, fill_value: int = 0) -> Array:
    """int64[n]: the places of the elements that are not zero in the flattened array, in order.

    Args:
        size: n, which may then be less or more than there are; required of tracers.
        fill_value: the place that is returned where there are fewer.
    Raises:
        ConcretizationError: `a` is traced and there is no `size`.
    """
    x = ravel(a)
    if size is None:
        return np.flatnonzero(*concrete("flatnonzero", x, instead=_SIZE))
    n = operator.index(size)
    # The k-th place is where the running count first reaches k + 1.
    count = cumsum(truth(x), dtype=I64)
    places = searchsorted(count, add(_counter(n), 1))
    return arithmetic.where(less(places, x.size), places, fill_value)


def _counter(n: int) -> Array:
    return creation.iota(shape=(n,), dtype=I64, axis=0)


def nonzero(a: ArrayLike, /, *, size: int | None = None, fill_value: int = 0) -> tuple[Array, ...]:
    """The coordinates of the elements that are not zero, one int64[n] an axis, in row-major order.

    `size` and `fill_value` as in `flatnonzero`; the fill is that of each coordinate.

    Raises:
        ShapeError: `a` has no axes.
        ConcretizationError: `a` is traced and there is no `size`.
    """
    x = as_array(a)
    if not x.ndim:
        raise refuse("nonzero", [x], "the operand needs an axis")
    if size is None:
        return np.nonzero(*concrete("nonzero", x, instead=_SIZE))
    flat = flatnonzero(x, size=size, fill_value=x.size)
    found = less(flat, x.size)
    return tuple(arithmetic.where(found, i, fill_value) for i in unravel_index(flat, x.shape))


def argwhere(a: ArrayLike, *, size: int | None = None, fill_value: int = 0) -> Array:
    """int64[n, rank]: the coordinates of the elements that are not zero; `size` and `fill_value` as in `nonzero`."""
    x = as_array(a)
    if size is None:
        return np.argwhere(*concrete("argwhere", x, instead=_SIZE))
    return stack(nonzero(x, size=size, fill_value=fill_value), -1)


def where(condition: ArrayLike, x: ArrayLike | None = None, y: ArrayLike | None = None, /, **sized: Any) -> Any:
    """x where the condition holds, else y; of a condition alone, its `nonzero`."""
    if x is None and y is None:
        return nonzero(condition, **sized)
    if x is None or y is None or sized:
        raise AttributeSpecError("where takes a condition, or a condition, x and y")
    return arithmetic.where(condition, x, y)


def extract(condition: ArrayLike, arr: ArrayLike) -> Array:
    """The elements of the flattened array where the condition holds; not on tracers."""
    mask, x = concrete("extract", condition, arr)
    return np.extract(mask, x)


def compress(condition: ArrayLike, a: ArrayLike, axis: int | None = None) -> Array:
    """The slices of `a` along `axis` for which a static vector holds."""
    (mask,) = concrete("compress", condition, instead="the condition must be static")
    if mask.ndim != 1:
        raise refuse("compress", [mask], "the condition must be a vector")
    return take(a, np.flatnonzero(mask), axis)


def select(condlist: Sequence[ArrayLike], choicelist: Sequence[ArrayLike], default: ArrayLike = 0) -> Array:
    """Elements of the first of `choicelist` whose condition holds, else the default.

    Raises:
        AttributeSpecError: there are not as many conditions as choices, or none.
    """
    if len(condlist) != len(choicelist) or not condlist:
        raise AttributeSpecError(f"select: {len(condlist)} conditions for {len(choicelist)} choices")
    dtype = result_type(*choicelist, default)
    out = as_tensor(default, dtype)
    for condition, choice in zip(condlist[::-1], choicelist[::-1], strict=True):
        out = arithmetic.where(condition, as_tensor(choice, dtype), out)
    return out


def piecewise(x: ArrayLike, condlist: Sequence[ArrayLike], funclist: Sequence[Any], *args: Any, **kw: Any) -> Array:
    """A function made of pieces, in the dtype of `x`: the last of `condlist` that holds says which of `funclist`.

    One function more than conditions is what holds elsewhere (else 0); functions may be numbers. All are evaluated
    everywhere.
    """
    x = as_array(x)
    if len(funclist) not in (len(condlist), len(condlist) + 1):
        raise AttributeSpecError(f"piecewise: {len(condlist)} conditions for {len(funclist)} functions")

    def value(f: Callable[..., Any] | ArrayLike) -> Array:
        return as_tensor(f(x, *args, **kw) if callable(f) else f, x.dtype)

    out = value(funclist[-1]) if len(funclist) > len(condlist) else as_tensor(0, x.dtype)
    for condition, f in zip(condlist, funclist, strict=False):
        out = arithmetic.where(condition, value(f), out)
    return broadcast_to(out, x.shape)


def choose(a: ArrayLike, choices: Sequence[ArrayLike], mode: str = "raise") -> Array:
    """Each element from that of the `choices` which the integer in `a` names; all broadcast.

    Modes "wrap" and "clip" bring the integers into range; with "raise" one outside is an error at run time.
    """
    which, xs = as_array(a), [as_array(c) for c in choices]
    shape = broadcast_shapes(which.shape, *(x.shape for x in xs), op="choose")
    dtype = result_type(*xs)
    if mode == "wrap":
        which = remainder(which, len(xs))
    elif mode == "clip":
        which = minimum(maximum(which, 0), len(xs) - 1)
    elif mode != "raise":
        raise AttributeSpecError(f"choose: mode {mode!r} is not supported; there are raise, wrap and clip")
    flat = stack([ravel(broadcast_to(as_tensor(x, dtype), shape)) for x in xs])
    count = flat.shape[1]
    which = ravel(as_tensor(broadcast_to(which, shape), I64))
    inside = logical_and(less_equal(0, which), less(which, len(xs)))
    place = arithmetic.where(inside, which * count + _counter(count), len(xs) * count)
    return reshape(take(ravel(flat), place), shape)


def digitize(x: ArrayLike, bins: ArrayLike, right: bool = False) -> Array:
    """int64: in which of the intervals between the monotonic `bins` each element lies, 0 before the first.

    An element on a boundary lies behind it, with `right` before it (the reverse for decreasing bins).
    """
    edges, x = as_array(bins), as_array(x)
    if edges.ndim != 1:
        raise refuse("digitize", [x, edges], "bins must be a vector")
    wide = reshape(x, (*x.shape, 1))
    n = edges.shape[0]
    rising = True if n < 2 else less_equal(edges[0], edges[n - 1])
    up = sum(as_tensor(less(edges, wide) if right else less_equal(edges, wide), I64), -1)
    # Falling bins count from the other end: those that are not below (with `right`: not at or below) the element.
    down = sum(as_tensor(less_equal(wide, edges) if right else less(wide, edges), I64), -1)
    nan = arithmetic.not_equal(x, x)
    return (
        arithmetic.where(nan, n, arithmetic.where(rising, up, down))
        if x.dtype.kind not in "biu"
        else (arithmetic.where(rising, up, down))
    )
