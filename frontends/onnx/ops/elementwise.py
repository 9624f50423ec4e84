"""Arithmetic, comparisons, logic and bits, element by element.

Operands broadcast as NumPy's do since opset 7. Before, attributes say that the second one does, and from which axis of
the first one on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import numpy as np

from tgc import nn
from tgc import numpy as tnp
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Tensor


@converts("Mean", since=6)
def mean(*inputs: Tensor) -> Tensor:
    """ONNX Mean: of the operands, not of their elements."""
    return tnp.divide(reduce(tnp.add, inputs), len(inputs))


def is_integer(x: Tensor) -> bool:
    """Whether the elements are integers."""
    return x.dtype.kind in "iu"


def div(a: Tensor, b: Tensor, /) -> Tensor:
    """ONNX Div: quotients of integers are rounded towards zero."""
    if not is_integer(a):
        return tnp.divide(a, b)
    quotient = tnp.floor_divide(a, b)
    if a.dtype.kind == "u":
        return quotient
    inexact = tnp.not_equal(tnp.multiply(quotient, b), a)
    below = tnp.logical_and(inexact, tnp.logical_xor(tnp.less(a, 0), tnp.less(b, 0)))
    return tnp.add(quotient, tnp.astype(below, a.dtype))


@converts("Mod", since=10)
def mod(a: Tensor, b: Tensor, /, *, fmod: int = 0) -> Tensor:
    """ONNX Mod: the remainder has the sign of `b`, with `fmod` that of `a`."""
    return tnp.fmod(a, b) if fmod else tnp.mod(a, b)


def power(x: Tensor, y: Tensor, /) -> Tensor:
    """ONNX Pow: in x's dtype, whatever that of the exponent. A known exponent may make it a product or a root."""
    if is_integer(x):
        return tnp.astype(tnp.power(x, y), x.dtype)
    if isinstance(y, np.ndarray) and y.size == 1 and y.ndim <= x.ndim:
        return tnp.power(x, float(y.item()))
    return tnp.power(x, tnp.astype(y, x.dtype))


@converts("Clip", since=11)
def clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None, /) -> Tensor:
    """ONNX Clip: `high` wins where the limits cross."""
    return tnp.clip(x, low, high)


@converts("Clip", since=6)
def clip_6(x: Tensor, /, *, min: float = -math.inf, max: float = math.inf) -> Tensor:
    """ONNX Clip until opset 10: limits that are attributes, by default the extreme finite numbers of x's dtype."""
    info = tnp.finfo(x.dtype)
    low, high = np.clip((min, max), float(info.min), float(info.max)).tolist()
    return tnp.clip(x, low, high)


@converts("Where", since=9)
def where(condition: Tensor, x: Tensor, y: Tensor, /) -> Tensor:
    """ONNX Where."""
    return tnp.where(condition, x, y)


@converts("IsInf", since=10)
def is_inf(x: Tensor, /, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    """ONNX IsInf: whether an element is an infinity of a sign that counts."""
    if detect_negative and detect_positive:
        return tnp.isinf(x)
    if detect_negative or detect_positive:
        return tnp.isposinf(x) if detect_positive else tnp.isneginf(x)
    return tnp.zeros(x.shape, bool)


@converts("BitShift", since=11)
def bit_shift(x: Tensor, y: Tensor, /, *, direction: str) -> Tensor:
    """ONNX BitShift. Shifts by a negative number, or by all bits or more, leave what the sign's extension does."""
    right = direction == "RIGHT"
    inside = tnp.logical_and(tnp.greater_equal(y, 0), tnp.less(y, 8 * x.dtype.itemsize))
    shifted = (tnp.right_shift if right else tnp.left_shift)(x, tnp.where(inside, y, 0))
    beyond = tnp.negative(tnp.astype(tnp.less(x, 0), x.dtype)) if right and x.dtype.kind == "i" else 0
    return tnp.where(inside, shifted, beyond)


_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": tnp.abs, "Acos": tnp.acos, "Acosh": tnp.acosh, "Asin": tnp.asin, "Asinh": tnp.asinh, "Atan": tnp.atan,
    "Atanh": tnp.atanh, "BitwiseNot": tnp.bitwise_not, "Ceil": tnp.ceil, "Cos": tnp.cos, "Cosh": tnp.cosh,
    "Erf": tnp.erf, "Exp": tnp.exp, "Floor": tnp.floor, "IsNaN": tnp.isnan, "Log": tnp.log, "Neg": tnp.negative,
    "Not": tnp.logical_not, "Reciprocal": tnp.reciprocal, "Relu": nn.relu, "Round": tnp.round,
    "Sigmoid": nn.sigmoid, "Sign": tnp.sign, "Sin": tnp.sin, "Sinh": tnp.sinh, "Softplus": nn.softplus,
    "Softsign": nn.softsign, "Mish": nn.mish, "HardSwish": nn.hard_swish, "Sqrt": tnp.sqrt, "Tan": tnp.tan,
    "Tanh": tnp.tanh, "Identity": lambda x: x,
}  # fmt: skip
_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": tnp.add, "And": tnp.logical_and, "BitwiseAnd": tnp.bitwise_and, "BitwiseOr": tnp.bitwise_or,
    "BitwiseXor": tnp.bitwise_xor, "Div": div, "Equal": tnp.equal, "Greater": tnp.greater,
    "GreaterOrEqual": tnp.greater_equal, "Less": tnp.less, "LessOrEqual": tnp.less_equal, "Mul": tnp.multiply,
    "Or": tnp.logical_or, "Pow": power, "Sub": tnp.subtract, "Xor": tnp.logical_xor,
}  # fmt: skip
_FOLDED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"Max": tnp.maximum, "Min": tnp.minimum, "Sum": tnp.add}


def _enter_unary(name: str, function: Callable[[Tensor], Tensor]) -> None:
    converts(name)(lambda x, /: function(x))


def _enter_binary(name: str, function: Callable[[Tensor, Tensor], Tensor]) -> None:
    converts(name, since=7)(lambda a, b, /: function(a, b))

    @converts(name)
    def from_axis(a: Tensor, b: Tensor, /, *, broadcast: int = 0, axis: int | None = None) -> Tensor:
        behind = 0 if axis is None else a.ndim - axis % a.ndim - b.ndim
        return function(a, tnp.reshape(b, (*b.shape, *[1] * behind)) if behind else b)


def _enter_folded(name: str, function: Callable[[Tensor, Tensor], Tensor]) -> None:
    converts(name, since=6)(lambda *inputs: reduce(function, inputs))


for _name, _unary in _UNARY.items():
    _enter_unary(_name, _unary)
for _name, _binary in _BINARY.items():
    _enter_binary(_name, _binary)
for _name, _folded in _FOLDED.items():
    _enter_folded(_name, _folded)
