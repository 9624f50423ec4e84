"""Formulas of real expressions in Python's operators: what the rules of complex numbers are written in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from tgc.backends.loops.ir import Apply, Const, Expr
from tgc.types import BOOL, DType

Number: TypeAlias = "Real | float"


@dataclass(frozen=True)
class Real:
    """A float or boolean expression. Numbers that it meets take its dtype; `equals` is the comparison by value."""

    x: Expr

    @property
    def dtype(self) -> DType:
        return self.x.dtype

    def __add__(self, other: Number) -> Real:
        return apply("add", self, other)

    def __radd__(self, other: float) -> Real:
        return apply("add", other, self)

    def __sub__(self, other: Number) -> Real:
        return apply("sub", self, other)

    def __rsub__(self, other: float) -> Real:
        return apply("sub", other, self)

    def __mul__(self, other: Number) -> Real:
        return apply("mul", self, other)

    def __rmul__(self, other: float) -> Real:
        return apply("mul", other, self)

    def __truediv__(self, other: Number) -> Real:
        return apply("div", self, other)

    def __rtruediv__(self, other: float) -> Real:
        return apply("div", other, self)

    def __neg__(self) -> Real:
        return apply("neg", self)

    def __abs__(self) -> Real:
        return apply("abs", self)

    def __lt__(self, other: Number) -> Real:
        return apply("lt", self, other, result=BOOL)

    def __gt__(self, other: Number) -> Real:
        return apply("gt", self, other, result=BOOL)

    def __ge__(self, other: Number) -> Real:
        return apply("ge", self, other, result=BOOL)

    def equals(self, other: Number) -> Real:
        return apply("eq", self, other, result=BOOL)

    def __and__(self, other: Real) -> Real:
        return apply("bit_and", self, other)

    def __or__(self, other: Real) -> Real:
        return apply("bit_or", self, other)

    def __invert__(self) -> Real:
        return apply("bit_not", self)


def apply(primitive: str, *operands: Number, result: DType | None = None) -> Real:
    """A scalar primitive of real operands, at least one of which is an expression."""
    dtype = next(x.dtype for x in operands if isinstance(x, Real))
    xs = tuple(x.x if isinstance(x, Real) else Const(float(x), dtype) for x in operands)
    return Real(Apply(primitive, xs, result or dtype))


def constant(value: float, like: Real) -> Real:
    """A number in the dtype of an expression."""
    return Real(Const(float(value), like.dtype))


def function(name: str, result: DType | None = None) -> Callable[..., Real]:
    """A scalar primitive as a function."""
    return lambda *xs: apply(name, *xs, result=result)


def select(condition: Real, x: Number, y: Number) -> Real:
    """x if the condition holds, else y; at least one is an expression."""
    dtype = next(v.dtype for v in (x, y) if isinstance(v, Real))
    a, b = (v.x if isinstance(v, Real) else Const(float(v), dtype) for v in (x, y))
    return Real(Apply("select", (condition.x, a, b), dtype))


exp, exp2, expm1, log, log1p, sqrt = map(function, ("exp", "exp2", "expm1", "log", "log1p", "sqrt"))
sin, cos, tan, sinh, cosh, asinh = map(function, ("sin", "cos", "tan", "sinh", "cosh", "asinh"))
atan2, copysign, maximum = map(function, ("atan2", "copysign", "maximum"))
is_nan, is_inf, is_finite = (function(name, BOOL) for name in ("is_nan", "is_inf", "is_finite"))

__all__ = [
    "Number", "Real", "apply", "asinh", "atan2", "constant", "copysign", "cos", "cosh", "exp", "exp2", "expm1",
    "function", "is_finite", "is_inf", "is_nan", "log", "log1p", "maximum", "select", "sin", "sinh", "sqrt", "tan",
]  # fmt: skip
