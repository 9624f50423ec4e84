"""Functions of vectors along an axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tgc.batching import vectorize
from tgc.ir import recorder
from tgc.numpy.base import Array, ArrayLike, as_array, axis_of, refuse
from tgc.numpy.manipulation import moveaxis, reshape
from tgc.ops.batch import in_front

__all__ = ["apply_along_axis"]


def apply_along_axis(func1d: Callable[..., Any], axis: int, arr: ArrayLike, *args: Any, **kwargs: Any) -> Array:
    """`func1d(vector, *args, **kwargs)` of the vectors along `axis`, in the place of which are the axes of its result.

    In a trace `func1d` is traced once and mapped (see `tgc.vmap`); on arrays it is called on one vector after another.

    Raises:
        ShapeError: `arr` has no such axis, or there is no vector.
        TraceError: in a trace, `func1d` contains an op that cannot be mapped.
    """
    x = as_array(arr)
    at = axis_of("apply_along_axis", x, axis)
    kept = tuple(n for a, n in enumerate(x.shape) if a != at)
    if 0 in kept:
        raise refuse("apply_along_axis", [x], f"there are no vectors along axis {axis}")
    if recorder() is None:
        return np.apply_along_axis(lambda v: np.asarray(func1d(v, *args, **kwargs)), at, x)
    rows = reshape(moveaxis(x, at, -1), (-1, x.shape[at]))
    (y,) = vectorize(lambda v: [func1d(v, *args, **kwargs)], [rows], [True], rows.shape[0])
    made = in_front(y.tensor, y.batched, rows.shape[0])
    inner = made.shape[1:]
    behind = tuple(range(len(kept), len(kept) + len(inner)))
    return moveaxis(reshape(made, (*kept, *inner)), behind, tuple(range(at, at + len(inner))))
