"""Floats that are known to be integers in units of scales: what DequantizeLinear makes, and what is made of that.

    clip(sum_i (integers_i - zero_i) * scale_i + offset, low, high)

While a graph is traced, a value may be such a sum (`Scaled`) instead of a tensor. Operators with a function here
(`on_scaled`, in `tgc.frontends.onnx.ops.scaled`) act on the integers: products become int32 contractions, movements and
maxima move and compare codes, additions add terms, and QuantizeLinear rounds the whole sum at once, in units of its own
scale. So models that are written as floats between QuantizeLinear and DequantizeLinear compute in integers and keep
8 bits in memory. To every other operator such a value is the tensor of float32 that it stands for (`settled`).

Scales and zero points are numbers that are known; where they are arguments (`Model.apply`) nothing is `Scaled`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from tgc import numpy as tnp
from tgc.frontends.onnx.values import Tensor
from tgc.numpy.base import real_operands
from tgc.ops.elementwise import fma
from tgc.trace import Tracer
from tgc.types import F32, I8, I32, U8

NOTHING = np.zeros(())
CODES = (U8, I8)
WHOLE = 2.0**30  # magnitude up to which float32 is surely cast to int32


@dataclass(frozen=True, eq=False)
class Term:
    """(integers - zero) * scale.

    Attributes:
        integers: traced uint8 (int8 is shifted by 128, with its zero) or int32; known ones of any width.
        scale, zero: float32 and int64 that broadcast to the integers.
    """

    integers: Tensor
    scale: np.ndarray
    zero: np.ndarray = field(default_factory=lambda: NOTHING)

    @property
    def uniform(self) -> bool:
        """Whether all integers have one scale and zero point."""
        return self.scale.size == self.zero.size == 1

    def alike(self, other: Term) -> bool:
        """Whether integers of both mean the same numbers."""
        same = np.array_equal(self.scale, other.scale) and np.array_equal(self.zero, other.zero)
        return same and self.integers.dtype == other.integers.dtype

    def floats(self) -> Tensor:
        """float32, as ONNX's DequantizeLinear."""
        y = tnp.astype(self.integers, F32)
        y = tnp.subtract(y, self.zero.astype(F32)) if self.zero.any() else y
        return tnp.multiply(y, self.scale)


@dataclass(frozen=True, eq=False)
class Scaled:
    """A tensor of float32 as a sum of `terms`, which broadcast, and a float64 `offset`, limited to `low` and `high`.

    Attributes:
        made: makes the tensor as it would be without this: what is known stays so, or is folded later.
    """

    terms: tuple[Term, ...]
    offset: np.ndarray = field(default_factory=lambda: NOTHING)
    low: float = -math.inf
    high: float = math.inf
    made: Callable[[], Tensor] | None = None

    @property
    def codes(self) -> Term | None:
        """The one term of traced or known 8-bit integers that this is, if it is that."""
        plain = len(self.terms) == 1 and not self.offset.any() and self.low == -math.inf and self.high == math.inf
        return self.terms[0] if plain and self.terms[0].integers.dtype in CODES else None

    @property
    def known(self) -> bool:
        """Whether the numbers are."""
        return not any(isinstance(t.integers, Tracer) for t in self.terms)

    @property
    def value(self) -> Tensor:
        """The tensor."""
        if self.made is not None:
            return self.made()
        y = self.terms[0].floats()
        for t in self.terms[1:]:
            y = tnp.add(y, t.floats())
        y = tnp.add(y, self.offset.astype(F32)) if self.offset.any() else y
        low, high = (None if math.isinf(limit) else np.float32(limit) for limit in (self.low, self.high))
        return y if low is None and high is None else tnp.clip(y, low, high)

    def rounded(self, scale: float, zero: int, low: int, high: int) -> Tensor:
        """int32: the sum in units of `scale`, rounded to even, plus `zero`, from `low` to `high`.

        The arithmetic is that of ONNX Runtime's kernels on x86 (QLinearConv, QGemm, QLinearAdd), whose results these
        are to the bit: scales are multiplied and divided in float32, what is the same for all elements is subtracted
        once, and a sum of several terms has the zero point in it when it is rounded.
        The limits of the sum become tighter ones of the integers: rounding keeps the order.
        """
        unit = np.float32(scale)
        least, top = (min(max(float(np.rint(limit / scale)) + zero, low), high) for limit in (self.low, self.high))
        terms = [(t, t.scale / unit) for t in reversed(self.terms)]
        shift, most = np.zeros((), F32), 0.0
        for t, ratio in terms:
            shift = fma.reference(t.zero.astype(F32), ratio, shift)
            most += float(ratio.max()) * (2**8 if t.integers.dtype in CODES else 2**31)
        fixed = (self.offset / scale).astype(F32) - shift
        if len(terms) > 1:
            fixed, zero = fixed + np.float32(zero), 0
        y: Any = fixed
        for t, ratio in terms:
            x = tnp.astype(t.integers, F32)
            plain = y is fixed and not fixed.any()
            y = tnp.multiply(x, ratio) if plain else fma(*real_operands("fma", x, ratio, y))
        y = tnp.rint(y)
        most += float(np.abs(fixed).max()) + abs(zero)
        if most < WHOLE:  # integers are limited by fewer instructions
            y = tnp.astype(y, I32)
            return tnp.clip(tnp.add(y, zero) if zero else y, int(least), int(top))
        y = tnp.add(y, np.float32(zero)) if zero else y
        return tnp.astype(tnp.clip(y, np.float32(least), np.float32(top)), I32)


def settled(x: Any) -> Any:
    """The tensor that a value stands for."""
    return x.value if isinstance(x, Scaled) else x


Computed = Callable[[Sequence[Any]], Any]
Handler = TypeVar("Handler", bound=Callable[..., Any])
HANDLERS: dict[str, Callable[..., Any]] = {}  # by operator


def on_scaled(*operators: str) -> Callable[[Handler], Handler]:
    """Enters the decorated function as what operators of the standard do to operands of which some are `Scaled`.

    It takes what computes the operator's rule on other operands, the operands and the attributes, and returns the
    output or outputs; NotImplemented if the operator is to have tensors.
    """

    def enter(function: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(operators, function))
        return function

    return enter


def apply(op: str, rule: Computed, operands: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """What an operator makes of operands of which some may be `Scaled`; NotImplemented if it takes none."""
    handler = HANDLERS.get(op)
    if handler is None or not (op == "DequantizeLinear" or any(isinstance(x, Scaled) for x in operands)):
        return NotImplemented
    return handler(rule, *operands, **attributes)
