"""Folds along one axis that keep their intermediate results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from tgc.ir import Attr
from tgc.ops.batch import after, by_attrs
from tgc.ops.creation import full_like, iota
from tgc.ops.elementwise import add, bit_and, cast, div, eq, mul, select
from tgc.ops.kinds import Batch, Grad, Primitive, Reduce, flag, integer
from tgc.ops.movement import inverse, reshape, transpose
from tgc.ops.reduce import reduce_max, reduce_min, reduce_prod, reduce_sum
from tgc.ops.samples import Draw, case, distinct, reals, samples
from tgc.ops.scatter import scatter_add
from tgc.types import BF16, F16, F32, I64, DType, TensorType


@dataclass(frozen=True, eq=False, repr=False)
class Cumulative(Primitive):
    """out[..., i, ...] = finish(fold of step over the elements 0..i along `axis`, from init), as a `Reduce` folds.

    With the attribute `reverse` over the elements from the last one down to i.
    """

    _: KW_ONLY
    init: Callable[..., tuple[Any, ...]]
    step: Callable[..., tuple[Any, ...]]  # (s, state, x)
    finish: Callable[..., Any]
    domain: frozenset[DType]
    batch: Batch
    heavy = True

    def infer(self, operands: Sequence[TensorType], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
        self.expect(operands, self.domain)
        (x,) = operands
        axis: Any = attrs["axis"]
        if not 0 <= axis < x.rank:
            raise self.refuse(f"no axis {axis}", operands)
        return (TensorType(x.dtype, x.shape),)


_CASES = (
    case((3, 5), axis=1, reverse=False),
    case((3, 5), axis=1, reverse=True),
    case((4, 2, 3), axis=1, reverse=False),
    case((5, 4), axis=0, reverse=True),
    case((2, 300), axis=0, reverse=False),
    case((0, 3), axis=0, reverse=False),
    case((3, 0), axis=0, reverse=True),
)


def _reference(ufunc: np.ufunc) -> Callable[..., np.ndarray]:
    """NumPy's accumulation; half precision folds in float32, as everywhere in tgc."""

    def reference(x: np.ndarray, *, axis: int, reverse: bool) -> np.ndarray:
        wide = x.astype(F32) if x.dtype in (F16, BF16) else x
        wide = np.flip(wide, axis) if reverse else wide
        out = ufunc.accumulate(wide, axis=axis, dtype=wide.dtype) if wide.size else wide
        return (np.flip(out, axis) if reverse else out).astype(x.dtype)

    return reference


def _cumulative(name: str, ufunc: np.ufunc, fold: Reduce, grad: Grad, draw: Draw) -> Cumulative:
    """Define the cumulative form of a reduction."""
    return Cumulative(
        name,
        reference=_reference(ufunc),
        init=fold.init,
        step=lambda s, state, x: fold.step(s, state, x, None),
        finish=fold.finish,
        domain=fold.domain,
        grad=grad,
        batch=by_attrs(name, axis=after),
        attrs={"axis": integer, "reverse": flag},
        samples=samples(draw, cases=_CASES, ulps=16),
    )


def _prod_grad(g: Any, x: Any, *, out: Any, axis: int, reverse: bool) -> tuple[Any]:
    """d out[i] / d x[k] = out[i] / x[k] for i >= k; the product without x[k] if that is the first zero; then zero."""
    zero, one = full_like(x, 0), full_like(x, 1)
    at_zero = eq(x, zero)
    zeros = cumsum(cast(at_zero, dtype=x.dtype), axis=axis, reverse=reverse)
    first = bit_and(at_zero, eq(zeros, one))
    without = cumprod(select(first, one, x), axis=axis, reverse=reverse)
    before = div(cumsum(mul(g, out), axis=axis, reverse=not reverse), select(at_zero, one, x))
    at_first = cumsum(mul(g, select(eq(zeros, zero), zero, without)), axis=axis, reverse=not reverse)
    return (select(eq(zeros, zero), before, select(first, at_first, zero)),)


def _extreme_grad(g: Any, x: Any, *, out: Any, axis: int, reverse: bool) -> tuple[Any]:
    """To the element that attains the extreme, the latest of equal ones."""
    rank = len(x.shape)
    perm = (*(a for a in range(rank) if a != axis), axis)
    last = [transpose(v, perm=perm) for v in (x, out, g)]
    shape, n, total = last[0].shape, x.shape[axis], x.size
    x, out, g = (reshape(v, shape=(total // n if n else 0, n)) for v in last)
    position = iota(shape=x.shape, dtype=I64, axis=1)
    none = full_like(position, n - 1 if reverse else 0)
    held = select(eq(x, out), position, none)
    source = (cummin if reverse else cummax)(held, axis=1, reverse=reverse)
    flat = add(source, mul(iota(shape=x.shape, dtype=I64, axis=0), full_like(position, n)))
    zeros = full_like(reshape(x, shape=(total,)), 0)
    grad = reshape(scatter_add(zeros, reshape(flat, shape=(total,)), reshape(g, shape=(total,))), shape=shape)
    return (transpose(grad, perm=inverse(perm)),)


cumsum: Cumulative = _cumulative(
    "cumsum", np.add, reduce_sum,
    lambda g, x, *, out, axis, reverse: (cumsum(g, axis=axis, reverse=not reverse),), reals(),
)  # fmt: skip
cumprod: Cumulative = _cumulative("cumprod", np.multiply, reduce_prod, _prod_grad, reals(0.5, 1.5))
cummax: Cumulative = _cumulative("cummax", np.maximum, reduce_max, _extreme_grad, distinct())
cummin: Cumulative = _cumulative("cummin", np.minimum, reduce_min, _extreme_grad, distinct())

__all__ = ["Cumulative", "cummax", "cummin", "cumprod", "cumsum"]
