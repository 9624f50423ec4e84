"""The scalar vocabulary in which `vmath` functions are written, with two meanings for every operation.

A function body such as ``fma(x, a, b)`` runs on NumPy scalars when called from Python, which is what makes
kernels steppable with compilation off, and on `Emitted` values while Numba lowers a call, where each operation appends
LLVM instructions to the caller. Nothing but those instructions is type-inferred, compiled or linked, so calling such a
function costs a kernel about a millisecond of compile time.

Every instruction is strict IEEE 754 whatever `fastmath` flags the calling kernel has: compensated arithmetic and
argument reductions depend on it. Multiplications and additions are fused only where a body says `fma`, and there only
for targets that fuse: bodies do not depend on it, or ask (`fuses`).
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from llvmlite.ir.instructions import FastMathFlags
from numba.core import cgutils, types
from numba.extending import lower_builtin, type_callable

from tgc.backends.cpu.target import CpuTarget

Scalar: TypeAlias = Any
"""A NumPy scalar or an `Emitted`: bodies use only the operators and functions that both have."""

Body: TypeAlias = Callable[..., Scalar]

Kind: TypeAlias = type[np.generic]

_LLVM: dict[Kind, ir.Type] = {
    np.bool_: ir.IntType(1),
    np.int32: ir.IntType(32),
    np.int64: ir.IntType(64),
    np.float32: ir.FloatType(),
    np.float64: ir.DoubleType(),
}
_NUMBA: dict[Kind, types.Type] = {np.float32: types.float32, np.float64: types.float64}
_SAME_WIDTH: dict[Kind, Kind] = {
    np.float32: np.int32,
    np.float64: np.int64,
    np.int32: np.float32,
    np.int64: np.float64,
}

# Numba adds the kernel's flags to float instructions that have none. A flag without meaning for the instruction keeps
# them out: `arcp` only concerns divisions, `contract` only multiplications and additions.
_SEAL = {"fadd": ["arcp"], "fsub": ["arcp"], "fmul": ["arcp"], "fcmp": ["arcp"], "fdiv": ["contract"]}


class _Strict(FastMathFlags):  # type: ignore[misc]
    """No flags, for good: Numba adds the kernel's flags to every call of a function that returns a float."""

    def add(self, name: str) -> None:
        """Refuse the flag."""


def _binary(floating: str, integer: str, *, swap: bool = False) -> Callable[[Emitted, Scalar], Emitted]:
    def method(self: Emitted, other: Scalar) -> Emitted:
        name = floating if issubclass(self.kind, np.floating) else integer
        operands = (self.like(other), self.value) if swap else (self.value, self.like(other))
        return self.new(getattr(self.builder, name)(*operands, flags=_SEAL.get(name, ())))

    return method


def _compare(predicate: str) -> Callable[[Emitted, Scalar], Emitted]:
    def method(self: Emitted, other: Scalar) -> Emitted:
        operands = (predicate, self.value, self.like(other))
        if not issubclass(self.kind, np.floating):
            return self.new(self.builder.icmp_signed(*operands), np.bool_)
        emit = self.builder.fcmp_unordered if predicate == "!=" else self.builder.fcmp_ordered
        return self.new(emit(*operands, flags=_SEAL["fcmp"]), np.bool_)

    return method


class Emitted:
    """An LLVM scalar with the operators of a NumPy scalar of type `kind`; `builder` is at the call being lowered, for
    `target`.
    """

    __slots__ = ("builder", "kind", "target", "value")

    def __init__(self, builder: ir.IRBuilder, kind: Kind, value: ir.Value, target: CpuTarget) -> None:
        self.builder, self.kind, self.value, self.target = builder, kind, value, target

    def like(self, other: Scalar) -> ir.Value:
        """Return the LLVM value of `other`, which is an `Emitted` of the same kind or a Python number."""
        if not isinstance(other, Emitted):
            return ir.Constant(self.value.type, self.kind(other).item())
        if other.kind is not self.kind:
            raise TypeError(f"operands of kinds {self.kind.__name__} and {other.kind.__name__}")
        return other.value

    def new(self, value: ir.Value, kind: Kind | None = None) -> Emitted:
        """Return an `Emitted` beside this one, of the same kind unless `kind` is given."""
        return Emitted(self.builder, kind or self.kind, value, self.target)

    def cast(self, instruction: str, kind: Kind) -> Emitted:
        """Append a conversion instruction such as ``fptrunc``."""
        return self.new(getattr(self.builder, instruction)(self.value, _LLVM[kind]), kind)

    def call(self, name: str, *operands: Scalar) -> Emitted:
        """Append a call of the external function `name`, whose operands and result are all of this kind."""
        module, type_ = self.builder.module, self.value.type
        signature = ir.FunctionType(type_, [type_] * (1 + len(operands)))
        function = module.globals.get(name) or ir.Function(module, signature, name)
        result = self.builder.call(function, [self.value, *map(self.like, operands)])
        result.fastmath = _Strict()
        return self.new(result)

    def intrinsic(self, name: str, *operands: Scalar) -> Emitted:
        """Append a call of the LLVM intrinsic `name`, overloaded for this kind."""
        return self.call(f"llvm.{name}.{self.value.type.intrinsic_name}", *operands)

    __add__ = __radd__ = _binary("fadd", "add")
    __sub__, __rsub__ = _binary("fsub", "sub"), _binary("fsub", "sub", swap=True)
    __mul__ = __rmul__ = _binary("fmul", "mul")
    __truediv__, __rtruediv__ = _binary("fdiv", "fdiv"), _binary("fdiv", "fdiv", swap=True)
    __and__, __or__, __xor__ = _binary("and_", "and_"), _binary("or_", "or_"), _binary("xor", "xor")
    __lshift__, __rshift__ = _binary("shl", "shl"), _binary("ashr", "ashr")
    __lt__, __le__, __gt__, __ge__ = _compare("<"), _compare("<="), _compare(">"), _compare(">=")
    __eq__, __ne__ = _compare("=="), _compare("!=")  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]

    def __invert__(self) -> Emitted:
        return self.new(self.builder.not_(self.value))

    def __neg__(self) -> Emitted:
        return self.new(self.builder.fneg(self.value))

    def __abs__(self) -> Emitted:
        return self.intrinsic("fabs")


def fma(a: Scalar, b: Scalar, c: Scalar) -> Scalar:
    """Return a * b + c, rounded once, or for targets without such an instruction the product too; `a` is typed (not a
    Python number).

    The C library, which would round once, takes numbers one at a time.
    """
    if isinstance(a, Emitted):
        return a.intrinsic("fma", b, c) if a.target.fuses else a * b + c
    kind = type(a)
    b, c = kind(b), kind(c)
    if not np.isfinite([a, b, c]).all():
        return a * b + c
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    if exact == 0:
        return a * b + c  # for the sign of zero
    try:
        nearest = float(exact)
    except OverflowError:
        return kind(math.inf if exact > 0 else -math.inf)
    if kind is np.float32 and exact != nearest and not np.float64(nearest).view(np.int64) & 1:
        # Round to odd, so that the second rounding, to float32, sees on which side of a tie the exact sum lies.
        nearest = math.nextafter(nearest, math.inf if exact > nearest else -math.inf)
    return kind(nearest)


def fuses(x: Scalar) -> bool:
    """Whether `fma` rounds once, beside this scalar."""
    return not isinstance(x, Emitted) or x.target.fuses


def constant(like: Scalar, value: float) -> Scalar:
    """Return a number as a scalar of the kind of `like`."""
    return like.new(like.like(value)) if isinstance(like, Emitted) else type(like)(value)


def select(condition: Scalar, a: Scalar, b: Scalar) -> Scalar:
    """Return `a` if the condition holds, else `b`; at least one of them is typed."""
    if isinstance(condition, Emitted):
        typed = a if isinstance(a, Emitted) else b
        return typed.new(typed.builder.select(condition.value, typed.like(a), typed.like(b)))
    kind = type(a) if isinstance(a, np.generic) else type(b)
    return kind(a if condition else b)


def clamp(x: Scalar, low: float | None, high: float | None) -> Scalar:
    """Limit `x` to [low, high]; a NaN stays."""
    x = x if low is None else select(x < low, low, x)
    return x if high is None else select(x > high, high, x)


def copysign(x: Scalar, sign: Scalar) -> Scalar:
    """Return the magnitude of `x` with the sign bit of `sign`."""
    return x.intrinsic("copysign", sign) if isinstance(x, Emitted) else np.copysign(x, sign)


def polynomial(x: Scalar, coefficients: Sequence[float]) -> Scalar:
    """Evaluate the polynomial with these coefficients, lowest order first and at least two, by Horner's scheme."""
    *lower, second, last = coefficients
    return functools.reduce(lambda value, c: fma(value, x, c), reversed(lower), fma(x, last, second))


def estrin(x: Scalar, coefficients: Sequence[float]) -> Scalar:
    """Evaluate the polynomial with these coefficients, lowest order first and at least three, as one of x**2.

    Its coefficients are linear in x and independent of each other, which halves the chain of dependent operations; the
    result is off by a rounding error more than Horner's (Estrin, "Organization of computer systems", 1960).
    """
    terms = [fma(x, odd, even) for even, odd in zip(coefficients[::2], coefficients[1::2], strict=False)]
    terms += coefficients[-1:] if len(coefficients) % 2 else ()
    *lower, second, last = terms
    square = x * x
    return functools.reduce(lambda value, c: fma(square, value, c), reversed(lower), fma(square, last, second))


def sqrt(x: Scalar) -> Scalar:
    """Return the correctly rounded square root."""
    return x.intrinsic("sqrt") if isinstance(x, Emitted) else np.sqrt(x)


def floor(x: Scalar) -> Scalar:
    """Return the greatest integral value not above `x`."""
    return _whole(x, "floor", np.floor, lambda r: r - select(r > x, constant(x, 1.0), 0.0))


def ceil(x: Scalar) -> Scalar:
    """Return the least integral value not below `x`."""
    return _whole(x, "ceil", np.ceil, lambda r: r + select(r < x, constant(x, 1.0), 0.0))


def trunc(x: Scalar) -> Scalar:
    """Return `x` without its fraction."""
    return _whole(x, "trunc", np.trunc, lambda r: r - copysign(select(abs(r) > abs(x), constant(x, 1.0), 0.0), x))


def round_even(x: Scalar) -> Scalar:
    """Return the integral value nearest to `x`, of two the even one."""
    return _whole(x, "roundeven", np.round, lambda r: r)


def _whole(x: Scalar, name: str, reference: Callable[[Any], Any], corrected: Callable[[Scalar], Scalar]) -> Scalar:
    """Return what the intrinsic `name` gives; for targets that have no such instruction `corrected` of the integral
    value nearest to `x`, with the sign of `x`.

    A sum's last place is 1 from a power of 2 on, from which all numbers are integral.
    """
    if not isinstance(x, Emitted):
        return reference(x)
    if x.target.rounds:
        return x.intrinsic(name)
    kind: Any = x.kind
    integral = 2.0 ** np.finfo(kind).nmant
    nearest = copysign((abs(x) + integral) - integral, x)
    return select(abs(x) < integral, copysign(corrected(nearest), x), x)


def bits(x: Scalar) -> Scalar:
    """Return the integer of the same width with the bit pattern of a float."""
    return _reinterpret(x)


def from_bits(i: Scalar) -> Scalar:
    """Return the float of the same width with the bit pattern of an integer."""
    return _reinterpret(i)


def _reinterpret(x: Scalar) -> Scalar:
    return x.cast("bitcast", _SAME_WIDTH[x.kind]) if isinstance(x, Emitted) else x.view(_SAME_WIDTH[type(x)])


def widen(x: Scalar) -> Scalar:
    """Return a float32 as float64."""
    return x.cast("fpext", np.float64) if isinstance(x, Emitted) else np.float64(x)


def narrow(x: Scalar) -> Scalar:
    """Round a float64 to float32, or keep the low 32 bits of an int64."""
    if not isinstance(x, Emitted):
        return np.float32(x) if isinstance(x, np.float64) else x.astype(np.int32)
    return x.cast("fptrunc", np.float32) if x.kind is np.float64 else x.cast("trunc", np.int32)


def fma_once(a: Scalar, b: Scalar, c: Scalar) -> Scalar:
    """Return a * b + c of float32, rounded once for every target: for those without such an instruction the sum is
    formed in float64, which holds the product, and rounded to odd (Boldo and Melquiond, "Emulation of FMA and correctly
    rounded sums: proved algorithms using rounding to odd", 2008).
    """
    if fuses(a):
        return fma(a, b, c)
    c = widen(c)
    product = widen(a) * widen(b)
    total = product + c
    part = total - product
    rest = (product - (total - part)) + (c - part)  # what the sum lacks (Knuth)
    near = bits(total)
    toward_zero = select((rest > 0) ^ (total > 0), near - 1, near)
    return narrow(from_bits(select(abs(rest) > 0, toward_zero | 1, near)))


def to_float(i: Scalar) -> Scalar:
    """Convert an integer to the float of the same width, rounding."""
    return i.cast("sitofp", _SAME_WIDTH[i.kind]) if isinstance(i, Emitted) else _SAME_WIDTH[type(i)](i)


def lookup(name: str, table: Sequence[float], index: Scalar) -> Scalar:
    """Return the float64 entry of the constant table of this name; a gather once the caller's loop is vectorized."""
    if not isinstance(index, Emitted):
        return np.float64(table[index])
    builder, symbol = index.builder, f"vmath.{name}"
    constant = builder.module.globals.get(symbol)
    if constant is None:
        values = ir.Constant(ir.ArrayType(ir.DoubleType(), len(table)), list(table))
        constant = cgutils.global_constant(builder, symbol, values)
    return index.new(builder.load(builder.gep(constant, [index.like(0), index.value], inbounds=True)), np.float64)


def library(name: str, reference: Callable[..., Any], *operands: Scalar) -> Scalar:
    """Call `name` of the C mathematics library (C99), whose meaning in Python is `reference`."""
    first = operands[0]
    return first.call(name, *operands[1:]) if isinstance(first, Emitted) else type(first)(reference(*operands))


PRIMITIVES: dict[tuple[str, str], Body] = {}
"""Every function that `primitive` made, by name and short name of the dtype: ``("exp", "f32")``."""


def primitive(kind: Kind) -> Callable[[Body], Body]:
    """Make a body named ``<name>_<dtype>`` callable from Python and, appended in place, from Numba-compiled functions.

    Numba callers must pass exactly `kind`, nothing is converted for them: a float64 that slipped into a float32 kernel
    is a typing error. Python callers may pass anything that `kind` accepts.
    """

    def register(body: Body) -> Body:
        signature = inspect.signature(body)
        operands = (_NUMBA[kind],) * len(signature.parameters)

        @functools.wraps(body)
        def function(*values: Any) -> Any:
            with np.errstate(all="ignore"):
                return body(*map(kind, values))

        @type_callable(function)
        def typing(_context: Any) -> Callable[..., types.Type | None]:
            def typer(*actual: types.Type) -> types.Type | None:
                return _NUMBA[kind] if actual == operands else None

            typer.pysig = signature  # type: ignore[attr-defined]
            return typer

        @lower_builtin(function, *operands)  # type: ignore[untyped-decorator]
        def lowering(context: Any, builder: ir.IRBuilder, _signature: Any, values: Sequence[ir.Value]) -> ir.Value:
            target = getattr(context, "kernel_target", None) or CpuTarget.host()
            return body(*(Emitted(builder, kind, value, target) for value in values)).value

        name, _, dtype = body.__name__.rpartition("_")
        PRIMITIVES[name, dtype] = function
        return function

    return register
