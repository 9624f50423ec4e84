"""The bytes of a tensor as elements of another dtype."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tgc.ops.kinds import Primitive, dtype, no_gradient
from tgc.ops.opaque import Opaque, over_leading_axes
from tgc.ops.samples import case, reals, samples
from tgc.types import ALL, BOOLS, DType, TensorType


def _viewed(op: Primitive, operands: Sequence[TensorType], *, dtype: DType) -> tuple[TensorType, ...]:
    op.expect(operands, ALL - BOOLS)
    (x,) = operands
    if dtype in BOOLS:
        raise op.refuse("bytes are no booleans", operands)
    if x.dtype.itemsize == dtype.itemsize:
        return (TensorType(dtype, x.shape),)
    if not x.rank or x.shape[-1] * x.dtype.itemsize % dtype.itemsize:
        raise op.refuse(f"the last axis of operand 0 is not made of whole elements of {dtype}", operands)
    return (TensorType(dtype, (*x.shape[:-1], x.shape[-1] * x.dtype.itemsize // dtype.itemsize)),)


bitcast: Opaque = Opaque(
    "bitcast",
    attrs={"dtype": dtype},
    type_rule=_viewed,
    domain=ALL - BOOLS,
    reference=lambda x, *, dtype: np.array(x, order="C").view(dtype),
    grad=no_gradient,
    batch=over_leading_axes("bitcast"),
    samples=samples(
        reals(), cases=(case((3, 16), dtype=np.uint8), case((2, 1, 16), dtype=np.int32), case((16,), dtype=np.float64))
    ),
)
"""The last axis shrinks or grows with the size of the elements."""

__all__ = ["bitcast"]
