"""Padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tgc.errors import AttributeSpecError
from tgc.numpy.base import Array, ArrayLike, as_array, refuse, replace
from tgc.numpy.indexing import take
from tgc.numpy.manipulation import moveaxis
from tgc.ops import creation, elementwise, movement, reduce
from tgc.ops.arithmetic import add, as_tensor, broadcast_to, divide, multiply, reshape, subtract
from tgc.types import F64, is_inexact

__all__ = ["pad"]

_REPEATING = ("edge", "reflect", "symmetric", "wrap")
_STATISTICS = ("maximum", "minimum", "mean", "median")


def pad(
    array: ArrayLike,
    pad_width: int | Sequence[int] | Sequence[Sequence[int]],
    mode: str = "constant",
    *,
    constant_values: Any = 0,
    end_values: Any = 0,
    stat_length: Any = None,
    reflect_type: str = "even",
) -> Array:
    """`array` with `pad_width` more elements: one number, one (before, after), or such a pair an axis.

    Args:
        mode: "constant"; "empty" (zeros); "edge", "reflect", "symmetric" and "wrap", which repeat elements;
            "linear_ramp"; "maximum", "minimum", "mean" and "median" of the elements along an axis.
        constant_values: numbers, given like `pad_width`, of mode "constant".
        end_values: numbers at the far ends of a ramp, given likewise.
        stat_length: how many elements next to the edge a statistic is taken of, given likewise; all for None.
        reflect_type: "odd" reflects values at that of the edge, too.
    Raises:
        AttributeSpecError: there is no such mode, or values fit no axes.
        ShapeError: `pad_width` fits no axes or is negative, or an axis has no elements to repeat.
    """
    a = as_array(array)
    try:
        widths = np.broadcast_to(np.asarray(pad_width, dtype=np.int64), (a.ndim, 2)).tolist()
    except ValueError:
        raise refuse("pad", [a], f"pad_width {pad_width} is no pair an axis") from None
    if any(w < 0 for pair in widths for w in pair):
        raise refuse("pad", [a], f"pad_width {pad_width} is negative")
    if reflect_type not in ("even", "odd"):
        raise AttributeSpecError(f"pad: reflect_type is 'even' or 'odd', not {reflect_type!r}")
    if mode in ("constant", "empty"):
        return _constant(a, widths, _sides("constant_values", constant_values if mode == "constant" else 0, a))
    if mode not in (*_REPEATING, *_STATISTICS, "linear_ramp"):
        known = ", ".join(("empty", "linear_ramp", *_REPEATING, *_STATISTICS))
        raise AttributeSpecError(f"pad: mode {mode!r} is not supported; there are constant, {known}")
    ends = _sides("end_values", end_values, a)
    lengths = _sides("stat_length", 0 if stat_length is None else stat_length, a)
    for axis, pair in enumerate(widths):
        if not any(pair):
            continue
        if not a.shape[axis]:
            raise refuse("pad", [a], f"axis {axis} has no elements for mode {mode!r} to repeat")
        if mode in _REPEATING:
            a = _repeated(a, axis, pair, mode, reflect_type == "odd" and mode in ("reflect", "symmetric"))
        elif mode == "linear_ramp":
            a = _joined(a, axis, [_ramp(a, axis, n, ends[axis][side], side) for side, n in enumerate(pair)])
        else:
            n = a.shape[axis]
            length = [n, n] if stat_length is None else [min(k, n) for k in lengths[axis]]
            if 0 in length and mode in ("maximum", "minimum"):
                raise AttributeSpecError(f"pad: stat_length of axis {axis} is zero")
            a = _joined(a, axis, [_statistic(a, axis, n, length[side], side, mode) for side, n in enumerate(pair)])
    return a


def _sides(name: str, values: Any, a: Array) -> list[list[Any]]:
    """A number, a pair, or a pair an axis, as a pair an axis."""
    try:
        sides: list[list[Any]] = np.broadcast_to(np.asarray(values), (a.ndim, 2)).tolist()
    except ValueError:
        raise AttributeSpecError(f"pad: {name} {values!r} is no pair for each of {a.ndim} axes") from None
    return sides


def _constant(a: Array, widths: Sequence[Sequence[int]], values: Sequence[Sequence[Any]]) -> Array:
    flat = [v for pair in values for v in pair]
    if len(set(flat)) <= 1:
        low, high = ([pair[side] for pair in widths] for side in (0, 1))
        value = as_tensor(flat[0] if flat else 0, a.dtype).item()
        return movement.pad(a, low=low, high=high, interior=[0] * a.ndim, value=value)
    for axis, (pair, ends) in enumerate(zip(widths, values, strict=True)):
        parts = [creation.fill(replace(a.shape, axis, n), a.dtype, v) for n, v in zip(pair, ends, strict=True)]
        a = _joined(a, axis, parts)
    return a


def _joined(a: Array, axis: int, parts: Sequence[Array]) -> Array:
    return movement.concat(parts[0], a, parts[1], axis=axis)


def _repeated(a: Array, axis: int, pair: Sequence[int], mode: str, odd: bool) -> Array:
    n = a.shape[axis]
    if not odd:
        return take(a, np.pad(np.arange(n), pair, mode=mode), axis)  # type: ignore[call-overload]
    # A linear map of the elements along the axis, whose matrix is what becomes of unit vectors.
    from tgc.numpy.products import tensordot

    odd_units = np.array([np.pad(u, pair, mode=mode, reflect_type="odd") for u in np.eye(n)])  # type: ignore[call-overload]
    return moveaxis(tensordot(a, as_tensor(odd_units, a.dtype), ([axis], [0])), -1, axis)


def _ramp(a: Array, axis: int, n: int, end: float, side: int) -> Array:
    """`n` evenly spaced slices from `end` up to the edge, without the edge."""
    work = a.dtype if is_inexact(a.dtype) else F64
    edge = as_tensor(take(a, np.asarray([-side]), axis), work)
    steps = as_tensor(np.arange(n)[:: -1 if side else 1], work)
    steps = reshape(steps, [n if i == axis else 1 for i in range(a.ndim)])
    if not n:
        return creation.fill(replace(a.shape, axis, 0), a.dtype, 0)
    ramp = add(multiply(steps, divide(subtract(edge, end), n)), end)
    return as_tensor(ramp if is_inexact(a.dtype) else elementwise.trunc(ramp), a.dtype)


def _statistic(a: Array, axis: int, n: int, length: int, side: int, mode: str) -> Array:
    """`n` slices of a statistic of the `length` slices next to an edge."""
    start = a.shape[axis] - length if side else 0
    part = take(a, np.arange(start, start + length), axis)
    if mode in ("maximum", "minimum"):
        fold: Callable[..., Any] = reduce.reduce_max if mode == "maximum" else reduce.reduce_min
        value = fold(part, axes=(axis,), chunks=0)
    else:
        work = as_tensor(part, a.dtype if is_inexact(a.dtype) else F64)
        if mode == "median":
            from tgc.numpy.quantiles import median

            value = median(work, axis)
        else:
            value = divide(reduce.reduce_sum(work, axes=(axis,), chunks=0), length)
        value = as_tensor(value if is_inexact(a.dtype) else elementwise.round(value), a.dtype)
    return broadcast_to(reshape(value, replace(a.shape, axis, 1)), replace(a.shape, axis, n))
