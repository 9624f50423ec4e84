"""Padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tgc.errors import AttributeSpecError
from tgc.numpy.base import Array, ArrayLike, as_array, refuse
from tgc.numpy.indexing import take
from tgc.ops import movement
from tgc.ops.arithmetic import as_tensor

__all__ = ["pad"]

_REPEATING = ("edge", "reflect", "symmetric", "wrap")


def pad(
    array: ArrayLike,
    pad_width: int | Sequence[int] | Sequence[Sequence[int]],
    mode: str = "constant",
    constant_values: float = 0,
) -> Array:
    """`array` with `pad_width` more elements: one number, one (before, after), or such a pair an axis.

    Modes are "constant" (one number for all sides), "edge", "reflect", "symmetric" and "wrap".

    Raises:
        AttributeSpecError: another mode, or several constants.
        ShapeError: `pad_width` fits no axes or is negative, or an axis has no elements to repeat.
    """
    a = as_array(array)
    try:
        widths = np.broadcast_to(np.asarray(pad_width, dtype=np.int64), (a.ndim, 2)).tolist()
    except ValueError:
        raise refuse("pad", [a], f"pad_width {pad_width} is no pair an axis") from None
    if any(w < 0 for pair in widths for w in pair):
        raise refuse("pad", [a], f"pad_width {pad_width} is negative")
    if mode == "constant":
        if np.ndim(constant_values):
            raise AttributeSpecError(f"pad: constant_values must be one number, not {constant_values!r}")
        low, high = ([pair[side] for pair in widths] for side in (0, 1))
        value = as_tensor(constant_values, a.dtype).item()
        return movement.pad(a, low=low, high=high, interior=[0] * a.ndim, value=value)
    if mode not in _REPEATING:
        raise AttributeSpecError(f"pad: mode {mode!r} is not supported; there are constant, {', '.join(_REPEATING)}")
    for axis, pair in enumerate(widths):
        if any(pair):
            if not a.shape[axis]:
                raise refuse("pad", [a], f"axis {axis} has no elements for mode {mode!r} to repeat")
            a = take(a, np.pad(np.arange(a.shape[axis]), pair, mode=mode), axis)  # type: ignore[call-overload]
    return a
