"""Reductions over axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tgc.errors import GradientError
from tgc.ops.creation import full_like
from tgc.ops.elementwise import cast, div, eq, select
from tgc.ops.kinds import Grad, Reduce, integer, integers, no_gradient
from tgc.ops.movement import broadcast
from tgc.ops.samples import Draw, case, distinct, reals, samples
from tgc.types import BF16, BOOLS, F16, F32, I64, NUMBERS, REALS, DType

_CASES = (
    case((3, 4, 5), axes=(2,), chunks=0),
    case((3, 4, 5), axes=(0,), chunks=0),
    case((3, 4, 5), axes=(0, 2), chunks=0),
    case((3, 4, 5), axes=(1,), chunks=0),
    case((7,), axes=(0,), chunks=0),
    case((2, 3), axes=(), chunks=0),
    case((5, 70), axes=(0, 1), chunks=0),
    case((0, 4), axes=(1,), chunks=0),
)
_CHUNKED = (
    case((7, 4), axes=(0,), chunks=3),
    case((3, 5, 4), axes=(1, 2), chunks=2),
    case((2, 6), axes=(0,), chunks=2),
)
_EMPTY = (
    case((0, 4), axes=(0,), chunks=0),
    case((2, 6), axes=(0,), chunks=4),
)


def _chunked(f: Callable[..., Any]) -> Callable[..., np.ndarray]:
    """A reference with `chunks`, from one without; half precision folds in float32, as everywhere in tgc."""

    def whole(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        wide = x.astype(F32) if x.dtype in (F16, BF16) else x
        return np.asarray(f(wide, axes)).astype(x.dtype) if x.dtype in (F16, BF16) else np.asarray(f(wide, axes))

    def reference(x: np.ndarray, *, axes: tuple[int, ...], chunks: int) -> np.ndarray:
        if not chunks:
            return whole(x, axes)
        n = x.shape[axes[0]]
        cuts = [i * n // chunks for i in range(chunks + 1)]
        parts = (np.take(x, range(a, b), axis=axes[0]) for a, b in itertools.pairwise(cuts))
        return np.stack([whole(part, axes) for part in parts])

    return reference


def _kept(x: Any, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a for a in range(len(x.shape)) if a not in axes)


def _spread(g: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """A reduction's result, repeated along the axes that were reduced."""
    return broadcast(g, axes=_kept(x, axes), shape=x.shape)


def _whole(grad: Grad) -> Grad:
    """A gradient rule that refuses reductions in chunks: those are a pass's doing, after differentiation."""

    def rule(g: Any, x: Any, *, out: Any, axes: tuple[int, ...], chunks: int) -> tuple[Any, ...]:
        if chunks:
            raise GradientError("a reduction in chunks has no gradient: chunks are introduced after differentiation")
        return grad(g, x, out=out, axes=axes)

    return rule


def _extreme_grad(g: Any, x: Any, *, out: Any, axes: tuple[int, ...]) -> tuple[Any]:
    """Equal shares to all elements that attain the extreme."""
    hit = cast(eq(x, _spread(out, x, axes)), dtype=x.dtype)
    return (hit * _spread(div(g, reduce_sum(hit, axes=axes, chunks=0)), x, axes),)


def _prod_grad(g: Any, x: Any, *, out: Any, axes: tuple[int, ...]) -> tuple[Any]:
    """g * out / x, and where an operand is zero the product of the others (zero if another one is zero too)."""
    zero, one = full_like(x, 0), full_like(x, 1)
    at_zero = eq(x, zero)
    zeros = _spread(reduce_sum(cast(at_zero, dtype=x.dtype), axes=axes, chunks=0), x, axes)
    others = _spread(reduce_prod(select(at_zero, one, x), axes=axes, chunks=0), x, axes)
    alone = select(eq(zeros, one), others, zero)
    return (_spread(g, x, axes) * select(at_zero, alone, select(eq(zeros, zero), others / x, zero)),)


def _reduce(
    name: str,
    *,
    reference: Callable[..., Any],
    init: Callable[[DType], Any],
    step: str,
    grad: Grad,
    draw: Draw,
    empty: bool,
    domain: frozenset[DType] = REALS,
) -> Reduce:
    """Define a reduction whose state is one number and whose step is one scalar primitive."""
    return Reduce(
        name,
        reference=_chunked(reference),
        init=lambda s, dtype: (s.const(init(dtype), dtype),),
        step=lambda s, state, x, position: (getattr(s, step)(state[0], x),),
        finish=lambda s, state: state[0],
        domain=domain,
        result=lambda dtype: dtype,
        empty=empty,
        splits=True,
        grad=grad if grad is no_gradient else _whole(grad),
        attrs={"axes": integers, "chunks": integer},
        samples=samples(draw, cases=_CASES + _CHUNKED + (_EMPTY if empty else ()), ulps=16),
    )


def _lowest(dtype: DType) -> Any:
    return -np.inf if dtype.kind not in "biu" else np.iinfo(dtype).min


def _highest(dtype: DType) -> Any:
    return np.inf if dtype.kind not in "biu" else np.iinfo(dtype).max


reduce_sum = _reduce(
    "sum", reference=lambda x, axes: np.sum(x, axes, dtype=x.dtype), init=lambda dtype: 0, step="add",
    grad=lambda g, x, *, out, axes: (_spread(g, x, axes),), draw=reals(), empty=True, domain=NUMBERS,
)  # fmt: skip
reduce_prod = _reduce(
    "prod", reference=lambda x, axes: np.prod(x, axes, dtype=x.dtype), init=lambda dtype: 1, step="mul",
    grad=_prod_grad, draw=reals(0.5, 1.5), empty=True, domain=NUMBERS,
)  # fmt: skip
reduce_max = _reduce(
    "max", reference=lambda x, axes: np.max(x, axes), init=_lowest, step="maximum", grad=_extreme_grad,
    draw=distinct(), empty=False,
)  # fmt: skip
reduce_min = _reduce(
    "min", reference=lambda x, axes: np.min(x, axes), init=_highest, step="minimum", grad=_extreme_grad,
    draw=distinct(), empty=False,
)  # fmt: skip
reduce_any = _reduce(
    "any", reference=lambda x, axes: np.any(x, axes), init=lambda dtype: False, step="bit_or", grad=no_gradient,
    draw=reals(), empty=True, domain=BOOLS,
)  # fmt: skip
reduce_all = _reduce(
    "all", reference=lambda x, axes: np.all(x, axes), init=lambda dtype: True, step="bit_and", grad=no_gradient,
    draw=reals(), empty=True, domain=BOOLS,
)  # fmt: skip


def _arg_reference(f: Callable[..., Any]) -> Callable[..., np.ndarray]:
    def reference(x: np.ndarray, *, axes: tuple[int, ...], chunks: int) -> np.ndarray:
        kept = _kept(x, axes)
        rows = x.transpose(*kept, *axes).reshape([x.shape[a] for a in kept] + [math.prod(x.shape[a] for a in axes)])
        return np.asarray(f(rows, -1)).astype(np.int64)

    return reference


def _arg(name: str, reference: Callable[..., Any], worst: Callable[[DType], Any], better: str) -> Reduce:
    """The position (along the reduced axes, row-major) of the first extreme element; NaN counts as extreme."""

    def step(s: Any, state: tuple[Any, Any], x: Any, position: Any) -> tuple[Any, Any]:
        best, at = state
        first = s.lt(at, s.const(0, I64))
        wins = s.bit_or(first, getattr(s, better)(x, best))
        if s.dtype(x).kind not in "biu":
            wins = s.bit_or(wins, s.bit_and(s.is_nan(x), s.bit_not(s.is_nan(best))))
        return s.select(wins, x, best), s.select(wins, position, at)

    return Reduce(
        name,
        reference=_arg_reference(reference),
        init=lambda s, dtype: (s.const(worst(dtype), dtype), s.const(-1, I64)),
        step=step,
        finish=lambda s, state: state[1],
        domain=REALS,
        result=lambda dtype: I64,
        empty=False,
        splits=False,
        grad=no_gradient,
        attrs={"axes": integers, "chunks": integer},
        samples=samples(reals(-3, 3), cases=_CASES),
    )


argmax = _arg("argmax", np.argmax, _lowest, "gt")
argmin = _arg("argmin", np.argmin, _highest, "lt")

__all__ = ["argmax", "argmin", "reduce_all", "reduce_any", "reduce_max", "reduce_min", "reduce_prod", "reduce_sum"]
