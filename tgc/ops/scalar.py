"""The scalar language in which ops state their meaning, element by element.

A backend implements `Scalars` once and thereby has every elementwise op, movement and reduction. Expressions (`X`) are
opaque here; integer expressions also take Python's `+ - * // %`, `<` and `>=` with each other and with ints (equality
is `eq`: Python's compares structure).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from tgc.types import I64, U64, DType

X: TypeAlias = Any
LAST_PLACE = 2**63 - 1  # beyond every axis

ARITHMETIC = ("add", "sub", "mul", "div", "floor_div", "mod", "pow", "maximum", "minimum", "atan2", "copysign")
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
BITWISE = ("bit_and", "bit_or", "bit_xor", "shift_left", "shift_right", "gcd")
FUSED = ("fma",)
UNARY = ("neg", "abs", "sign", "floor", "ceil", "round", "trunc", "bit_not")
MATH = (
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "tanh", "sigmoid", "erf", "sin", "cos",
    "tan", "sinh", "cosh", "asin", "acos", "atan", "asinh", "acosh", "atanh", "cbrt",
)  # fmt: skip
PREDICATES = ("is_nan", "is_inf", "is_finite")
PARTS = ("real", "imag", "conj", "complex")
PRIMITIVES = (*ARITHMETIC, *FUSED, *COMPARISONS, *BITWISE, *UNARY, *MATH, *PREDICATES, *PARTS, "select")


class Scalars(Protocol):
    """What rules may use; each name in PRIMITIVES is a method too, with NumPy's semantics for its operands' dtype."""

    def const(self, value: bool | int | float, dtype: DType) -> X: ...
    def fill(self, value: bool | int | float, dtype: DType) -> X:
        """A constant of the graph rather than of the op: kernels may take it at run time."""
        ...

    def cast(self, x: X, dtype: DType) -> X: ...
    def dtype(self, x: X) -> DType: ...
    def load(self, operand: int, index: Sequence[X]) -> X: ...
    def dim(self, operand: int, axis: int) -> X: ...
    def size(self, axis: int) -> X: ...
    def given(self, number: int, axis: int | None = None) -> X:
        """A number among the attributes, which may be a size that is a symbol. With an axis, it is one that kernels
        take at run time.
        """
        ...

    def guard(self, condition: X, then: Callable[[], X], otherwise: X) -> X: ...
    def index(self, i: X, n: X) -> X:
        """`i` counted from the end if negative; a run-time error where it lies outside of an axis of size `n`."""
        ...

    def philox(self, key0: X, key1: X, counter: X) -> X:
        """Word `counter % 4` of Philox4x32-10 block `counter // 4` under a two-word key (Salmon et al., SC 2011)."""
        ...

    def __getattr__(self, name: str) -> Callable[..., X]: ...


def as_place(s: Any, index: X) -> X:
    """An index of any integer dtype in i64; those that i64 lacks become the last one, which is out of range."""
    if s.dtype(index) == U64:
        index = s.minimum(index, s.const(LAST_PLACE, U64))
    return s.cast(index, I64)
