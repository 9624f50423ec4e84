"""Loops cut where the condition of a guard changes, so that most of their turns ask nothing.

The condition is a conjunction of comparisons: an element lies inside of a padded operand. What no loop changes is asked
before the loops; what one changes holds, where it is affine in the loop's variable, for a range of its turns. The loop
becomes three: in the middle one these comparisons hold, in the others nothing is read, and what is contiguous in any of
them is one loop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from typing import TypeAlias

from tgc.backends.loops.axes import Axis, collapse, nest
from tgc.backends.loops.ir import (
    Apply,
    Const,
    Expr,
    For,
    Guard,
    If,
    Let,
    Stmt,
    Store,
    Var,
    read_by,
    substitute,
    walk,
)  # fmt: skip
from tgc.backends.loops.pull import SCALAR
from tgc.types import BOOL, I64

Loops: TypeAlias = Callable[[Sequence[Axis], Sequence[Store]], tuple[Stmt, ...]]


def cut(axes: Sequence[Axis], stores: Sequence[Store], loops: Loops) -> tuple[Stmt, ...]:
    """Loops over `axes`, outermost first, around stores: in pieces, if all guards in them have one condition.

    `loops` makes those of a piece, whose axes have been merged where they can be.
    """
    conditions = {x.condition for x in walk([s.value for s in stores]) if isinstance(x, Guard)}
    if len(conditions) > 1:
        return nest(axes, stores)
    if not conditions or not axes:
        merged, _, stores = collapse(axes, [s.value for s in stores], stores)
        return loops(merged, stores)
    conjuncts = list(_conjuncts(*conditions))
    axis, *inner = axes
    names = {a.var for a in axes}
    if before := [c for c in conjuncts if names.isdisjoint(read_by(c))]:
        inside, outside = (cut(axes, _knowing(stores, before, hold), loops) for hold in (True, False))
        return (If(reduce(SCALAR.bit_and, before), inside, outside),)
    own = [c for c in conjuncts if not (names - {axis.var}) & read_by(c)]
    bounds = [_bound(c, axis.var) for c in own]
    if not own or None in bounds:
        return (For(axis.var, axis.lo, axis.end, cut(inner, stores, loops)),)
    lows, highs = ([b[1] for b in bounds if b and b[0] == kind] for kind in ("ge", "lt"))
    first, end = Var(f"{axis.var}_first"), Var(f"{axis.var}_end")

    def piece(lo: Expr, hi: Expr, hold: bool) -> tuple[Stmt, ...]:
        left = _knowing(stores, own, hold)
        if hold and len(own) < len(conjuncts):
            return (For(axis.var, lo, hi, cut(inner, left, loops)),)
        return cut([replace(axis, lo=lo, hi=hi, whole=False), *inner], left, loops)

    return (
        Let(first.name, SCALAR.minimum(reduce(SCALAR.maximum, lows, axis.lo), axis.end)),
        Let(end.name, SCALAR.maximum(reduce(SCALAR.minimum, highs, axis.end), first)),
        *piece(axis.lo, first, False),
        *piece(first, end, True),
        *piece(end, axis.end, False),
    )


def _conjuncts(condition: Expr) -> Iterator[Expr]:
    if isinstance(condition, Apply) and condition.primitive == "bit_and" and condition.dtype == BOOL:
        for operand in condition.operands:
            yield from _conjuncts(operand)
    else:
        yield condition


def _knowing(stores: Sequence[Store], some: Collection[Expr], hold: bool) -> list[Store]:
    """The stores where `some` comparisons of the guards' condition all hold, or do not all hold."""
    memo: dict[Expr, Expr] = {}

    def answered(x: Expr) -> Expr | None:
        if not isinstance(x, Guard):
            return None
        if not hold:
            return substitute(x.otherwise, answered, memo)
        then = substitute(x.then, answered, memo)
        unknown = [c for c in _conjuncts(x.condition) if c not in some]
        return Guard(reduce(SCALAR.bit_and, unknown), then, x.otherwise, x.dtype) if unknown else then

    return [Store(s.buffer, s.index, substitute(s.value, answered, memo)) for s in stores]


def _bound(comparison: Expr, var: str) -> tuple[str, Expr] | None:
    """Where `ge` begins to hold, or `lt` ends to, as a variable grows; None if a comparison is of another form."""
    if not isinstance(comparison, Apply) or comparison.primitive not in ("ge", "lt"):
        return None
    place, limit = comparison.operands
    found = _affine(place, var)
    if found is None or var in read_by(limit):
        return None
    step, less = found
    return comparison.primitive, (limit + less + (step - 1)) // Const(step, I64)


def _affine(x: Expr, var: str) -> tuple[int, Expr] | None:
    """The positive step, and what is taken off, of step * var - less."""
    if x == Var(var):
        return 1, Const(0, I64)
    if not isinstance(x, Apply) or x.primitive not in ("add", "sub", "mul"):
        return None
    left, right = x.operands
    found = _affine(left, var)
    if found is None or var in read_by(right):
        return None
    step, less = found
    if x.primitive == "mul":
        return (step * int(right.value), less * right) if isinstance(right, Const) and right.value > 0 else None
    return step, less + right if x.primitive == "sub" else less - right


__all__ = ["cut"]
