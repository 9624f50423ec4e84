"""Scatter primitives: rows of a tensor combined with updates, at places known at run time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tgc.errors import DTypeError
from tgc.ops.batch import from_front, in_front, offset_indices, primitive, size_of, to_front
from tgc.ops.creation import full_like, iota
from tgc.ops.elementwise import cast, div, eq, mul, select
from tgc.ops.kinds import Grad, Primitive, Scatter
from tgc.ops.movement import as_places, broadcast, reshape, take
from tgc.ops.samples import Draw, case, distinct, indices, reals, samples
from tgc.types import ALL, I64, INTS, NUMBERS, REALS, TensorType


def _type(op: Primitive, operands: Sequence[TensorType]) -> TensorType:
    domain = {"scatter_set": ALL, "scatter_max": REALS, "scatter_min": REALS}.get(op.name, NUMBERS)
    op.expect(operands, domain, INTS, domain)
    x, index, update = operands
    if update.dtype != x.dtype:
        raise DTypeError(f"{op.name}({', '.join(map(str, operands))}): the dtypes of operand 0 and its updates differ")
    if x.rank < 1 or update.shape != index.shape + x.shape[1:]:
        raise op.refuse("updates must have the shape of the indices, then of operand 0's rows", operands)
    return TensorType(x.dtype, x.shape)


def _batch_of(name: str) -> Callable[[Sequence[Any], Sequence[bool]], Any]:
    def rule(operands: Sequence[Any], batched: Sequence[bool]) -> Any:
        n = size_of(operands, batched)
        x, update = (in_front(operands[k], batched[k], n) for k in (0, 2))
        index, m, op = operands[1], x.shape[1], primitive(name)
        if not batched[1]:
            return to_front(op(to_front(x, 1), index, from_front(update, len(index.shape))), 1)
        flat = reshape(x, shape=(n * m, *x.shape[2:]))
        return reshape(op(flat, offset_indices(index, m), update), shape=x.shape)

    return rule


def _scatter(
    name: str,
    *,
    at: Callable[[np.ndarray, np.ndarray, np.ndarray], None],
    combine: Callable[..., Any],
    grad: Grad,
    draw: Draw,
    ulps: float = 2.0,
) -> Scatter:
    """Define a scatter; `at(out, index, update)` is NumPy's, in place."""

    def reference(x: np.ndarray, index: np.ndarray, update: np.ndarray) -> np.ndarray:
        out = x.copy()
        at(out, as_places(index), update)
        return out

    return Scatter(
        name,
        attrs={},
        type_rule=_type,
        reference=reference,
        combine=combine,
        grad=grad,
        batch=_batch_of(name),
        samples=samples(
            draw, indices(4, -4), draw, cases=(case((4, 3), (5,), (5, 3)), case((4,), (2, 3), (2, 3))), ulps=ulps
        ),
    )


def _put(out: np.ndarray, index: np.ndarray, update: np.ndarray) -> None:
    rows = update.reshape(index.size, *out.shape[1:])
    for place, row in zip(index.ravel(), rows, strict=True):
        out[place] = row


def _set_grad(g: Any, x: Any, index: Any, update: Any, *, out: Any) -> tuple[Any, ...]:
    """The last update of a row gets the cotangent of that row, the others and operand 0's row nothing."""
    flat = reshape(index, shape=(index.size,))
    number = iota(shape=flat.shape, dtype=I64, axis=0)
    last = scatter_set(iota(shape=(x.shape[0],), dtype=I64, axis=0), flat, number)  # read only where it was set
    wins = reshape(eq(take(last, flat), number), shape=index.shape)
    wins = broadcast(wins, axes=tuple(range(len(index.shape))), shape=update.shape)
    rows = take(g, index)
    return scatter_set(g, index, full_like(update, 0)), None, select(wins, rows, full_like(rows, 0))


def _mul_grad(g: Any, x: Any, index: Any, update: Any, *, out: Any) -> tuple[Any, ...]:
    """g times the product of all other factors of the row, which is divided by what is not zero."""
    zero_x, zero_u = eq(x, full_like(x, 0)), eq(update, full_like(update, 0))
    one_x, one_u = full_like(x, 1), full_like(update, 1)
    zeros = scatter_add(cast(zero_x, dtype=x.dtype), index, cast(zero_u, dtype=x.dtype))
    product = scatter_mul(select(zero_x, one_x, x), index, select(zero_u, one_u, update))  # of the factors but zeros

    def others(factor: Any, is_zero: Any, product: Any, zeros: Any) -> Any:
        none, zero = full_like(factor, 1), full_like(factor, 0)
        alone = select(eq(zeros, none), product, zero)
        return select(is_zero, alone, select(eq(zeros, zero), div(product, select(is_zero, none, factor)), zero))

    at = others(update, zero_u, take(product, index), take(zeros, index))
    return mul(g, others(x, zero_x, product, zeros)), None, mul(take(g, index), at)


def _extreme_grad(g: Any, x: Any, index: Any, update: Any, *, out: Any) -> tuple[Any, ...]:
    """Equal shares to all that attain the extreme."""
    own, theirs = cast(eq(x, out), dtype=x.dtype), cast(eq(update, take(out, index)), dtype=x.dtype)
    share = div(g, scatter_add(own, index, theirs))
    return mul(own, share), None, mul(theirs, take(share, index))


scatter_add: Scatter = _scatter(
    "scatter_add", at=np.add.at, combine=lambda s, x, u: s.add(x, u), draw=reals(), ulps=8,
    grad=lambda g, x, index, update, *, out: (g, None, take(g, index)),
)  # fmt: skip
scatter_set: Scatter = _scatter("scatter_set", at=_put, combine=lambda s, x, u: u, draw=reals(), grad=_set_grad)
scatter_mul: Scatter = _scatter(
    "scatter_mul", at=np.multiply.at, combine=lambda s, x, u: s.mul(x, u), draw=distinct(0.5, 1.5), grad=_mul_grad,
    ulps=8,
)  # fmt: skip
scatter_max: Scatter = _scatter(
    "scatter_max", at=np.maximum.at, combine=lambda s, x, u: s.maximum(x, u), draw=distinct(), grad=_extreme_grad
)
scatter_min: Scatter = _scatter(
    "scatter_min", at=np.minimum.at, combine=lambda s, x, u: s.minimum(x, u), draw=distinct(), grad=_extreme_grad
)

__all__ = ["scatter_add", "scatter_max", "scatter_min", "scatter_mul", "scatter_set"]
