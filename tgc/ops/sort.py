"""Sorting along the last axis. NaNs come last, as in NumPy; equal elements keep their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tgc.errors import DTypeError
from tgc.ops.creation import full_like, iota
from tgc.ops.elementwise import add, mul
from tgc.ops.kinds import Primitive, flag, no_gradient
from tgc.ops.movement import reshape, take
from tgc.ops.opaque import Opaque, over_leading_axes
from tgc.ops.samples import case, distinct, reals, samples
from tgc.types import ALL, F16, F32, I64, NARROW, DType, TensorType

_CASES = (case((3, 7)), case((5,)), case((2, 3, 4)), case((2, 0)), case((0, 3)), case((300,)))


def increasing(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    """Sorted numbers between -3 and 3."""
    return np.sort(reals(-3, 3)(rng, dtype, shape), axis=-1)


def _sortable(x: np.ndarray) -> np.ndarray:
    """`x` in a dtype in which NumPy knows that NaNs come last."""
    return x.astype(F32) if x.dtype in NARROW - {F16} else x


def _checked(op: Primitive, operands: Sequence[TensorType], dtype: DType | None) -> tuple[TensorType, ...]:
    op.expect(operands, ALL)
    (x,) = operands
    if not x.rank:
        raise op.refuse("operand 0 needs an axis to sort along", operands)
    return (TensorType(dtype or x.dtype, x.shape),)


def along_last_axis(x: Any, index: Any) -> Any:
    """Elements of `x` at the places (from 0, in range) in `index` along the last axis, row by row."""
    rows, n, k = x.size // x.shape[-1] if x.size else 0, x.shape[-1], index.shape[-1]
    flat = reshape(index, shape=(rows, k))
    flat = add(flat, mul(iota(shape=(rows, k), dtype=I64, axis=0), full_like(flat, n)))
    return reshape(take(reshape(x, shape=(x.size,)), flat), shape=(*x.shape[:-1], k))


argsort: Opaque = Opaque(
    "argsort",
    attrs={},
    type_rule=lambda op, operands: _checked(op, operands, I64),
    domain=ALL,
    reference=lambda x: np.argsort(_sortable(x), axis=-1, kind="stable"),
    grad=no_gradient,
    batch=over_leading_axes("argsort"),
    samples=samples(reals(-3, 3), cases=_CASES),
)
"""i64: the places of the elements in sorted order."""

sort: Opaque = Opaque(
    "sort",
    attrs={},
    type_rule=lambda op, operands: _checked(op, operands, None),
    domain=ALL,
    reference=lambda x: np.sort(_sortable(x), axis=-1).astype(x.dtype, copy=False),
    # the inverse of a permutation is what sorts it
    grad=lambda g, x, *, out: (along_last_axis(g, argsort(argsort(x))) if x.size else g,),
    batch=over_leading_axes("sort"),
    samples=samples(distinct(), cases=_CASES),
)


def _searched(op: Primitive, operands: Sequence[TensorType], *, right: Any) -> tuple[TensorType, ...]:
    op.expect(operands, ALL, ALL)
    a, v = operands
    if a.dtype != v.dtype:
        raise DTypeError(f"{op.name}({a}, {v}): operand dtypes differ")
    if not a.rank or a.rank != v.rank or a.shape[:-1] != v.shape[:-1]:
        raise op.refuse("operands need the same axes but for the last one", operands)
    return (TensorType(I64, v.shape),)


def _search(a: np.ndarray, v: np.ndarray, *, right: bool) -> np.ndarray:
    out = np.empty(v.shape, I64)
    for row in np.ndindex(a.shape[:-1]):
        out[row] = np.searchsorted(_sortable(a[row]), _sortable(v[row]), "right" if right else "left")
    return out


searchsorted: Opaque = Opaque(
    "searchsorted",
    attrs={"right": flag},
    type_rule=_searched,
    domain=ALL,
    reference=_search,
    grad=no_gradient,
    batch=over_leading_axes("searchsorted"),
    samples=samples(
        increasing, reals(-3, 3),
        cases=(case((7,), (5,), right=False), case((7,), (5,), right=True), case((2, 4), (2, 3), right=False)),
    ),
)  # fmt: skip
"""i64: where the elements of operand 1 would be inserted in operand 0, which is sorted along its last axis."""

__all__ = ["along_last_axis", "argsort", "searchsorted", "sort"]
