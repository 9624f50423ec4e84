"""Scatter primitives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tgc.errors import DTypeError
from tgc.ops.batch import from_front, in_front, offset_indices, size_of, to_front
from tgc.ops.kinds import Primitive, Scatter
from tgc.ops.movement import reshape, take
from tgc.ops.samples import case, indices, reals, samples
from tgc.types import I32, I64, NUMBERS, TensorType


def _type(op: Primitive, operands: Sequence[TensorType]) -> TensorType:
    op.expect(operands, NUMBERS, frozenset({I32, I64}), NUMBERS)
    x, index, update = operands
    if update.dtype != x.dtype:
        raise DTypeError(f"{op.name}({', '.join(map(str, operands))}): the dtypes of operand 0 and its updates differ")
    if x.rank < 1 or update.shape != index.shape + x.shape[1:]:
        raise op.refuse("updates must have the shape of the indices, then of operand 0's rows", operands)
    return TensorType(x.dtype, x.shape)


def _reference(x: np.ndarray, index: np.ndarray, update: np.ndarray) -> np.ndarray:
    out = x.copy()
    np.add.at(out, index, update)
    return out


def _batch(operands: Sequence[Any], batched: Sequence[bool]) -> Any:
    n = size_of(operands, batched)
    x, update = (in_front(operands[k], batched[k], n) for k in (0, 2))
    index, m = operands[1], x.shape[1]
    if not batched[1]:
        return to_front(scatter_add(to_front(x, 1), index, from_front(update, len(index.shape))), 1)
    flat = reshape(x, shape=(n * m, *x.shape[2:]))
    return reshape(scatter_add(flat, offset_indices(index, m), update), shape=x.shape)


scatter_add: Scatter = Scatter(
    "scatter_add",
    attrs={},
    type_rule=_type,
    reference=_reference,
    grad=lambda g, x, index, update, *, out: (g, None, take(g, index)),
    batch=_batch,
    samples=samples(
        reals(), indices(4, -4), reals(), cases=(case((4, 3), (5,), (5, 3)), case((4,), (2, 3), (2, 3))), ulps=8
    ),
)
