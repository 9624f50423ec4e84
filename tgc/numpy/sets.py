"""Sets of numbers. All but `isin` give as many elements as there happen to be: not on tracers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tgc.numpy.base import Array, ArrayLike, as_array, concrete
from tgc.numpy.elementwise import logical_not
from tgc.numpy.manipulation import ravel, reshape
from tgc.numpy.reductions import any
from tgc.ops.arithmetic import equal, result_type

__all__ = ["intersect1d", "isin", "setdiff1d", "setxor1d", "union1d"]


def isin(element: ArrayLike, test_elements: ArrayLike, *, invert: bool = False) -> Array:
    """Whether each element is one of `test_elements` (with `invert`, is none). Compares all pairs."""
    x, y = as_array(element), ravel(test_elements)
    found = any(equal(reshape(x, (*x.shape, 1)), y), -1)
    return logical_not(found) if invert else found


def _pair(function: str, x: ArrayLike, y: ArrayLike) -> list[np.ndarray]:
    a, b = concrete(function, x, y)
    dtype = result_type(a, b)
    return [a.astype(dtype), b.astype(dtype)]


def union1d(ar1: ArrayLike, ar2: ArrayLike) -> np.ndarray:
    """The sorted elements that are in one of the arrays."""
    return np.union1d(*_pair("union1d", ar1, ar2))


def intersect1d(ar1: ArrayLike, ar2: ArrayLike, assume_unique: bool = False, return_indices: bool = False) -> Any:
    """The sorted elements that are in both arrays; with `return_indices`, also where each is first found."""
    pair = _pair("intersect1d", ar1, ar2)
    found: Any = np.intersect1d
    return found(*pair, assume_unique=assume_unique, return_indices=return_indices)


def setdiff1d(ar1: ArrayLike, ar2: ArrayLike) -> np.ndarray:
    """The sorted elements of `ar1` that are not in `ar2`."""
    a, b = _pair("setdiff1d", ar1, ar2)
    return np.setdiff1d(a, b)


def setxor1d(ar1: ArrayLike, ar2: ArrayLike) -> np.ndarray:
    """The sorted elements that are in one of the arrays and not in the other."""
    a, b = _pair("setxor1d", ar1, ar2)
    return np.asarray(np.setxor1d(a, b))
