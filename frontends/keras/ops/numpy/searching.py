"""Sorting, searching, and taking elements at places."""

from __future__ import annotations

import functools
from typing import Any

from tgc import numpy as tnp
from tgc.frontends.keras.ops.promotion import converted, promoted
from tgc.frontends.keras.ops.tensors import Tensor, cast, convert_to_tensor

__all__ = [
    "argpartition", "argsort", "digitize", "isin", "nonzero", "searchsorted", "sort", "take", "take_along_axis",
    "unique", "unravel_index", "vectorize",
]  # fmt: skip

argpartition = converted(tnp.argpartition, result="int32")
digitize = promoted(tnp.digitize, result="int32", parameters="x, bins")
nonzero = converted(tnp.nonzero, result="int32")
sort = converted(tnp.sort)
take = converted(tnp.take, 2, parameters="x, indices, axis=None")
take_along_axis = converted(tnp.take_along_axis, 2, parameters="x, indices, axis=None")
vectorize = tnp.vectorize


def argsort(x: Any, axis: int | None = -1) -> Tensor:
    """int32: the places of the elements in sorted order."""
    x = convert_to_tensor(x)
    return cast(tnp.argsort(x, axis if x.ndim else None), "int32")


@functools.partial(promoted, operands=2)
def isin(x1: Tensor, x2: Tensor, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each element of x1 is one of x2 (with `invert`, is none)."""
    return tnp.isin(x1, x2, invert=invert)


@functools.partial(promoted, operands=2, result="int32")
def searchsorted(sorted_sequence: Tensor, values: Tensor, side: str = "left") -> Tensor:
    """int32: where `values` would be inserted in a sorted vector.

    Raises:
        ValueError: it is no vector.
    """
    if sorted_sequence.ndim != 1:
        raise ValueError(
            "`searchsorted` only supports 1-D sorted sequences. You can use `keras.ops.vectorized_map` to extend it to "
            f"N-D sequences. Received: sorted_sequence.shape={sorted_sequence.shape}"
        )
    return tnp.searchsorted(sorted_sequence, values, side)


def unravel_index(indices: Any, shape: Any) -> tuple[Tensor, ...]:
    """The coordinates of indices into a flattened tensor of `shape`, in their dtype."""
    indices = convert_to_tensor(indices)
    return tuple(cast(x, indices.dtype) for x in tnp.unravel_index(indices, shape))


def unique(
    x: Any,
    sorted: bool = True,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    """Distinct elements (or slices along `axis`) in order, and what is asked for of them: int32.

    `size` is how many there are in the result; `fill_value` (0) stands where there are fewer.

    Raises:
        ConcretizationError: `x` is traced, and there is no `size`, or more is asked for than the elements.
    """
    x = convert_to_tensor(x)
    asked = (return_index, return_inverse, return_counts)
    if axis is None and size is not None:
        fill = 0 if fill_value is None else fill_value
        found = tnp.unique(x, *asked, equal_nan=False, size=size, fill_value=fill)
    else:
        found = tnp.unique(x, *asked, axis, equal_nan=False)
    values, *others = found if isinstance(found, tuple) else (found,)
    if axis is not None and size is not None:
        values = _fitted(values, size, axis, 0 if fill_value is None else fill_value)
        fills = [f for f, wanted in zip((others[0][0] if return_index else 0, None, 0), asked, strict=True) if wanted]
        others = [o if f is None else _fitted(o, size, 0, f) for f, o in zip(fills, others, strict=True)]
    return (values, *(cast(o, "int32") for o in others)) if others else values


def _fitted(x: Tensor, size: int, axis: int, fill: Any) -> Tensor:
    """`x` cut, or filled up, to `size` along an axis."""
    n, axis = x.shape[axis], axis % x.ndim
    widths = [(0, max(size - n, 0) if a == axis else 0) for a in range(x.ndim)]
    return tnp.take(tnp.pad(x, widths, constant_values=fill), range(size), axis)
