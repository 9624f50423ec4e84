"""Elementwise primitives. Operands may broadcast, and then the result does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tgc.frontends.onnx.emitters.emission import Emission, NoOperatorError, Place, Shape, element_type, exports
from tgc.ir import Node
from tgc.sizes import is_size
from tgc.types import BOOL, F64, DType

Rule = Callable[..., str]  # of the emission, the dtype of operands, and their names

# Primitives that are one operator.
_SAME = {
    "abs": "Abs", "acos": "Acos", "acosh": "Acosh", "asin": "Asin", "asinh": "Asinh", "atan": "Atan",
    "atanh": "Atanh", "ceil": "Ceil", "cos": "Cos", "cosh": "Cosh", "eq": "Equal", "erf": "Erf",
    "exp": "Exp", "floor": "Floor", "ge": "GreaterOrEqual", "gelu": "Gelu", "gt": "Greater", "identity": "Identity",
    "is_inf": "IsInf", "is_nan": "IsNaN", "le": "LessOrEqual", "log": "Log", "lt": "Less", "maximum": "Max",
    "minimum": "Min", "mul": "Mul", "pow": "Pow", "relu": "Relu", "round": "Round", "select": "Where",
    "sigmoid": "Sigmoid", "sign": "Sign", "sin": "Sin", "sinh": "Sinh", "sqrt": "Sqrt", "sub": "Sub", "tan": "Tan",
    "tanh": "Tanh",
}  # fmt: skip


def joint(shapes: Sequence[Shape]) -> Shape:
    """The shape to which shapes that fit each other broadcast."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(s)) + s for s in shapes]
    return tuple(next((n for n in sizes if is_size(n) or n != 1), 1) for sizes in zip(*padded, strict=True))


def _emitter(rule: Rule) -> Callable[[Emission, Node], Place]:
    def emit(e: Emission, node: Node) -> Place:
        places = [e.places[v] for v in node.operands]
        shape = joint([p.shape for p in places])
        turned = e.unturned(places)
        name = rule(e, node.operands[-1].dtype, *(p.name for p in (turned[0] if turned else places)))
        return Place(e.turned(name, turned[1]) if turned else name, shape)

    return emit


def composed(name: str) -> Callable[[Rule], Rule]:
    """Enter a rule that is made of several operators."""

    def enter(rule: Rule) -> Rule:
        exports(name)(_emitter(rule))
        return rule

    return enter


_PREDICATES = {"eq", "ge", "gt", "is_inf", "is_nan", "le", "lt"}


def _same(name: str) -> Rule:
    result = BOOL if name in _PREDICATES else None
    return lambda e, dtype, *xs: e.typed(_SAME[name], *xs, dtype=dtype, result=result)


for _name in _SAME:
    exports(_name)(_emitter(_same(_name)))


@exports("add")
def add(e: Emission, node: Node) -> Place:
    """Add; the bias of a convolution is an operand of that."""
    x, y = (e.places[v] for v in node.operands)
    for product, bias in ((x, y), (y, x)):
        if product.name in e.biased and bias.shape == product.shape[-1:]:
            return Place(e.biased[product.name](bias.name), product.shape)
    return _emitter(lambda e, dtype, *xs: e.typed("Add", *xs, dtype=dtype))(e, node)


@exports("div")
def div(e: Emission, node: Node) -> Place:
    """Div; a sum that is divided by the number of its elements is a mean."""
    x, y = (e.places[v] for v in node.operands)
    if x.name in e.means and not y.shape and y.name in e.known:
        count, mean = e.means[x.name]
        if e.known[y.name] == count:
            return Place(mean(), x.shape)
    return _emitter(lambda e, dtype, *xs: e.typed("Div", *xs, dtype=dtype))(e, node)


@composed("neg")
def neg(e: Emission, dtype: DType, x: str) -> str:
    """-x; unsigned integers have no Neg."""
    return e.op("Sub", e.scalar(0, dtype), x) if dtype.kind == "u" else e.op("Neg", x)


@composed("ne")
def ne(e: Emission, dtype: DType, x: str, y: str) -> str:
    """x != y."""
    return e.op("Not", e.op("Equal", x, y))


@composed("mod")
def mod(e: Emission, dtype: DType, x: str, y: str) -> str:
    """The remainder with the sign of y, of floats by way of the one with that of x."""
    if dtype.kind in "iu":
        return e.op("Mod", x, y)
    rest, zero = e.op("Mod", x, y, fmod=1), e.scalar(0, dtype)
    other = e.op("Xor", e.op("Less", rest, zero), e.op("Less", y, zero))
    return e.op("Where", e.op("And", other, ne(e, dtype, rest, zero)), e.op("Add", rest, y), rest)


@composed("floor_div")
def floor_div(e: Emission, dtype: DType, x: str, y: str) -> str:
    """The quotient without the remainder, which is whole."""
    quotient = e.op("Div", e.op("Sub", x, mod(e, dtype, x, y)), y)
    return quotient if dtype.kind in "iu" else e.op("Round", quotient)


@composed("trunc")
def trunc(e: Emission, dtype: DType, x: str) -> str:
    """Towards zero."""
    return e.op("Where", e.op("Less", x, e.scalar(0, dtype)), e.op("Ceil", x), e.op("Floor", x))


@composed("rsqrt")
def rsqrt(e: Emission, dtype: DType, x: str) -> str:
    """1 / sqrt(x)."""
    return e.op("Reciprocal", e.op("Sqrt", x))


@composed("exp2")
def exp2(e: Emission, dtype: DType, x: str) -> str:
    """2 ** x."""
    return e.op("Pow", e.scalar(2, dtype), x)


@composed("expm1")
def expm1(e: Emission, dtype: DType, x: str) -> str:
    """Near zero 2 t / (1 - t) with t = tanh(x / 2), which does not cancel."""
    one, two = e.scalar(1, dtype), e.scalar(2, dtype)
    t = e.op("Tanh", e.op("Div", x, two))
    near = e.op("Div", e.op("Mul", t, two), e.op("Sub", one, t))
    return e.op("Where", e.op("Less", e.op("Abs", x), one), near, e.op("Sub", e.op("Exp", x), one))


@composed("log1p")
def log1p(e: Emission, dtype: DType, x: str) -> str:
    """log(u) x / (u - 1) with u = 1 + x, as rounded: Goldberg, "What every computer scientist should know", 1991."""
    one = e.scalar(1, dtype)
    u = e.op("Add", x, one)
    exact = e.op("Or", e.op("Equal", u, one), e.op("IsInf", u))
    ratio = e.op("Div", x, e.op("Where", exact, one, e.op("Sub", u, one)))
    return e.op("Where", e.op("Equal", u, one), x, e.op("Mul", e.op("Log", u), e.op("Where", exact, one, ratio)))


def _logarithm(base: int) -> Rule:
    return lambda e, dtype, x: e.op("Mul", e.op("Log", x), e.scalar(1 / math.log(base), dtype))


composed("log2")(_logarithm(2))
composed("log10")(_logarithm(10))


@composed("cbrt")
def cbrt(e: Emission, dtype: DType, x: str) -> str:
    """The cube root, with the sign of x."""
    return e.op("Mul", e.op("Sign", x), e.op("Pow", e.op("Abs", x), e.scalar(1 / 3, dtype)))


@composed("is_finite")
def is_finite(e: Emission, dtype: DType, x: str) -> str:
    """Neither an infinity nor NaN."""
    return e.op("Not", e.op("Or", e.op("IsInf", x), e.op("IsNaN", x)))


@composed("fma")
def fma(e: Emission, dtype: DType, x: str, y: str, z: str) -> str:
    """x * y + z, rounded to float32 after float64."""
    x, y, z = (e.op("Cast", v, to=element_type(F64)) for v in (x, y, z))
    return e.op("Cast", e.op("Add", e.op("Mul", x, y), z), to=element_type(dtype))


@composed("copysign")
def copysign(e: Emission, dtype: DType, x: str, y: str) -> str:
    """|x| with the sign of y, which for a zero that of 1 / y is."""
    zero = e.scalar(0, dtype)
    below = e.op("Less", e.op("Where", e.op("Equal", y, zero), e.op("Reciprocal", y), y), zero)
    size = e.op("Abs", x)
    return e.op("Where", below, e.op("Neg", size), size)


@composed("atan2")
def atan2(e: Emission, dtype: DType, y: str, x: str) -> str:
    """The angle of (x, y): atan(y / x), to which left of the origin half a turn is added."""
    zero, turn = e.scalar(0, dtype), copysign(e, dtype, e.scalar(math.pi, dtype), y)
    at_origin = e.op("And", e.op("Equal", x, zero), e.op("Equal", y, zero))
    angle = e.op("Atan", e.op("Div", y, e.op("Where", at_origin, e.scalar(1, dtype), x)))
    left = e.op("Less", e.op("Where", e.op("Equal", x, zero), e.op("Reciprocal", x), x), zero)
    aside = e.op("And", left, e.op("Or", ne(e, dtype, x, zero), at_origin))
    return e.op("Where", aside, e.op("Add", angle, turn), angle)


@composed("silu")
def silu(e: Emission, dtype: DType, x: str) -> str:
    """x * sigmoid(x)."""
    return e.op("Mul", x, e.op("Sigmoid", x))


@composed("gelu_tanh")
def gelu_tanh(e: Emission, dtype: DType, x: str) -> str:
    """The approximation by tanh."""
    return e.op("Gelu", x, approximate="tanh")


def _half(e: Emission, dtype: DType, x: str) -> str:
    """(x + 1) / 2."""
    return e.op("Mul", e.op("Add", x, e.scalar(1, dtype)), e.scalar(0.5, dtype))


@composed("gelu_gate")
def gelu_gate(e: Emission, dtype: DType, x: str) -> str:
    """The distribution function of the normal distribution."""
    return _half(e, dtype, e.op("Erf", e.op("Mul", x, e.scalar(math.sqrt(0.5), dtype))))


@composed("gelu_tanh_gate")
def gelu_tanh_gate(e: Emission, dtype: DType, x: str) -> str:
    """Nearly so, by tanh."""
    cube = e.op("Mul", e.op("Mul", e.op("Mul", x, x), x), e.scalar(0.044715, dtype))
    return _half(e, dtype, e.op("Tanh", e.op("Mul", e.op("Add", x, cube), e.scalar(math.sqrt(2 / math.pi), dtype))))


def _bits(logical: str, bitwise: str) -> Rule:
    return lambda e, dtype, *xs: e.op(logical if dtype == BOOL else bitwise, *xs)


for _name, _logical, _bitwise in (
    ("bit_and", "And", "BitwiseAnd"),
    ("bit_or", "Or", "BitwiseOr"),
    ("bit_xor", "Xor", "BitwiseXor"),
    ("bit_not", "Not", "BitwiseNot"),
):
    composed(_name)(_bits(_logical, _bitwise))


def _shift(direction: str) -> Rule:
    def rule(e: Emission, dtype: DType, x: str, y: str) -> str:
        if dtype.kind != "u":
            raise NoOperatorError(f"ONNX shifts unsigned integers only, not {dtype}")
        return e.op("BitShift", x, y, direction=direction)

    return rule


composed("shift_left")(_shift("LEFT"))
composed("shift_right")(_shift("RIGHT"))


@exports("cast")
def cast(e: Emission, node: Node) -> Place:
    """Cast; floats out of the range of float8 are no number there."""
    (v,) = node.operands
    place = e.places[v]
    return Place(e.op("Cast", place.name, to=element_type(np.dtype(node.attrs["dtype"]))), place.shape)


@exports("stop_gradient", "barrier")
def passed(e: Emission, node: Node) -> Place:
    """What they say concerns gradients and order alone."""
    return e.places[node.operands[0]]
