"""Scatter primitives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tgc.errors import DTypeError
from tgc.ops.kinds import Primitive, Scatter
from tgc.ops.movement import take
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


scatter_add = Scatter(
    "scatter_add",
    attrs={},
    type_rule=_type,
    reference=_reference,
    grad=lambda g, x, index, update, *, out: (g, None, take(g, index)),
    samples=samples(
        reals(), indices(4, -4), reals(), cases=(case((4, 3), (5,), (5, 3)), case((4,), (2, 3), (2, 3))), ulps=8
    ),
)
