"""Elementwise primitives: arithmetic, comparisons, bits, and the functions of one real variable."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tgc.ops.creation import full_like
from tgc.ops.kinds import Elementwise, Grad, boolean, dtype, no_gradient
from tgc.ops.samples import Draw, Samples, case, distinct, reals, samples
from tgc.types import (
    ALL,
    BF16,
    BOOLS,
    COMPLEXES,
    F16,
    F32,
    F64,
    FLOAT8S,
    FLOATS,
    INEXACT,
    INTS,
    NUMBERS,
    ORDERED,
    REALS,
    SHORT_NAMES,
    DType,
    complex_dtype,
    is_complex,
    real_dtype,
)


def _same(name: str) -> Callable[..., Any]:
    """The scalar rule of an op that is itself a scalar primitive."""
    return lambda s, *xs: getattr(s, name)(*xs)


def elementwise(
    name: str,
    *,
    arity: int,
    reference: Callable[..., Any],
    grad: Grad,
    samples: Samples,
    domain: frozenset[DType] = FLOATS,
    scalar: Callable[..., Any] | None = None,
    result: Callable[..., DType] | None = None,
    mixed: tuple[frozenset[DType], ...] = (),
    attrs: Any = None,
) -> Elementwise:
    """Define an elementwise op; `scalar` is the scalar primitive of the same name unless given."""
    return Elementwise(
        name,
        arity=arity,
        reference=reference,
        scalar=scalar or _same(name),
        grad=grad,
        samples=samples,
        domain=domain,
        result=result,
        mixed=mixed,
        attrs=attrs or {},
    )


def _wide(f: Callable[..., Any]) -> Callable[..., Any]:
    """Evaluate half-precision operands in float32: NumPy lacks some functions in bfloat16. Predicates stay boolean."""

    def reference(*xs: np.ndarray) -> np.ndarray:
        half = xs[0].dtype in (F16, BF16)
        out = np.asarray(f(*(x.astype(np.float32) for x in xs)) if half else f(*xs))
        return out if out.dtype == np.bool_ else out.astype(xs[0].dtype, copy=False)

    return reference


def _unary(name: str, reference: Callable[..., Any], grad: Grad, draw: Draw, **more: Any) -> Elementwise:
    return elementwise(name, arity=1, reference=_wide(reference), grad=grad, samples=samples(draw), **more)


# ---------------------------------------------------------------------------------------------------- arithmetic

add = elementwise(
    "add",
    arity=2,
    domain=NUMBERS,
    reference=np.add,
    grad=lambda g, x, y, *, out: (g, g),
    samples=samples(reals(), reals()),
)
sub = elementwise(
    "sub", arity=2, domain=NUMBERS, reference=np.subtract, grad=lambda g, x, y, *, out: (g, -g),
    samples=samples(reals(), reals()),
)  # fmt: skip
mul = elementwise(
    "mul", arity=2, domain=NUMBERS, reference=np.multiply, grad=lambda g, x, y, *, out: (g * y, g * x),
    samples=samples(reals(), reals()),
)  # fmt: skip
div = elementwise(
    "div", arity=2, domain=INEXACT, reference=np.divide, grad=lambda g, x, y, *, out: (g / y, -g * out / y),
    samples=samples(reals(), reals(0.5, 4)),
)  # fmt: skip
floor_div = elementwise(
    "floor_div", arity=2, domain=REALS, reference=_wide(np.floor_divide), grad=no_gradient,
    samples=samples(distinct(-9, 9), reals(1, 5)),
)  # fmt: skip
mod = elementwise(
    "mod", arity=2, domain=REALS, reference=_wide(np.remainder),
    grad=lambda g, x, y, *, out: (g, -g * floor_div(x, y)), samples=samples(distinct(-9.1, 9.1), reals(11, 12)),
)  # fmt: skip


def _fma(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """In float64, which holds the product; the sum is rounded to odd, so that rounding it again is rounding it once.

    Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd", 2008.
    """
    product = x.astype(F64) * y
    total = product + z
    part = total - product
    rest = (product - (total - part)) + (z - part)  # what the sum lacks (Knuth)
    inexact = (np.abs(rest) > 0) & (total.view(np.int64) & 1 == 0)
    return np.asarray(np.where(inexact, np.nextafter(total, np.copysign(np.inf, rest)), total), F32)


fma = elementwise(  # x * y + z, rounded once on every machine: where it decides how something is rounded then
    "fma", arity=3, domain=frozenset({F32}), reference=_fma, grad=lambda g, x, y, z, *, out: (g * y, g * x, g),
    samples=samples(reals(), reals(), reals()),
)  # fmt: skip


def _pow(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype in INTS and np.any(y < 0):  # NumPy refuses whole arrays; a compiled kernel cannot
        one = np.where(x == 1, 1, np.where((x == -1) & (y % 2 != 0), -1, np.where(x == -1, 1, 0)))
        return np.asarray(np.where(y < 0, one, np.power(x, np.maximum(y, 0))), x.dtype)
    return np.asarray(_wide(np.power)(x, y))


def _pow_grad(g: Any, x: Any, y: Any, *, out: Any) -> tuple[Any, Any]:
    zero, one = full_like(x, 0), full_like(x, 1)
    dx = select(eq(y, zero), zero, g * y * power(x, select(eq(y, zero), one, y - 1)))
    usual = ne(x, zero) if is_complex(x.dtype) else gt(x, zero)
    dy = select(usual, g * out * log(select(usual, x, one)), zero)
    return dx, dy


power = elementwise(
    "pow", arity=2, domain=NUMBERS, reference=_pow, grad=_pow_grad, samples=samples(reals(0.3, 3), reals(0, 3))
)


def _pick(g: Any, first: Any) -> tuple[Any, Any]:
    zero = full_like(g, 0)
    return select(first, g, zero), select(first, zero, g)


maximum = elementwise(
    "maximum", arity=2, domain=REALS, reference=np.maximum, samples=samples(distinct(), reals(-3, 3)),
    grad=lambda g, x, y, *, out: _pick(g, ge(x, y)),
)  # fmt: skip
minimum = elementwise(
    "minimum", arity=2, domain=REALS, reference=np.minimum, samples=samples(distinct(), reals(-3, 3)),
    grad=lambda g, x, y, *, out: _pick(g, le(x, y)),
)  # fmt: skip
neg = elementwise(
    "neg", arity=1, domain=NUMBERS, reference=np.negative, grad=lambda g, x, *, out: (-g,), samples=samples(reals())
)


def _sign_grad(g: Any, z: Any, *, out: Any) -> tuple[Any]:
    """None for real numbers; d(z / |z|) = (dz - s Re(conj(s) dz)) / |z| with s = z / |z|."""
    if not is_complex(z.dtype):
        return (None,)
    turned = g - cast(real(g * out), dtype=z.dtype) * conj(out)
    size = cast(absolute(z), dtype=z.dtype)
    none = eq(size, full_like(size, 0))
    return (select(none, full_like(size, 0), turned / select(none, full_like(size, 1), size)),)


absolute = elementwise(
    "abs", arity=1, domain=NUMBERS, reference=np.abs, result=lambda x: real_dtype(x), samples=samples(distinct()),
    grad=lambda g, x, *, out: (cast(g, dtype=x.dtype) * conj(sign(x)) if is_complex(x.dtype) else g * sign(x),),
)  # fmt: skip
sign: Elementwise = elementwise(
    "sign", arity=1, domain=NUMBERS, reference=np.sign, grad=_sign_grad, samples=samples(distinct())
)
relu = elementwise(
    "relu", arity=1, domain=REALS, reference=lambda x: np.maximum(x, x.dtype.type(0)), samples=samples(distinct()),
    scalar=lambda s, x: s.maximum(x, s.const(0, s.dtype(x))),
    grad=lambda g, x, *, out: (select(gt(out, full_like(out, 0)), g, full_like(g, 0)),),
)  # fmt: skip

# ------------------------------------------------------------------------------------------------- real functions

exp = _unary("exp", np.exp, lambda g, x, *, out: (g * out,), reals(-10, 10), domain=INEXACT)
exp2 = _unary("exp2", np.exp2, lambda g, x, *, out: (g * out * math.log(2),), reals(-10, 10), domain=INEXACT)
expm1 = _unary("expm1", np.expm1, lambda g, x, *, out: (g * (out + 1),), reals(-5, 5), domain=INEXACT)
log = _unary("log", np.log, lambda g, x, *, out: (g / x,), reals(0.1, 20), domain=INEXACT)
log2 = _unary("log2", np.log2, lambda g, x, *, out: (g / (x * math.log(2)),), reals(0.1, 20), domain=INEXACT)
log10 = _unary("log10", np.log10, lambda g, x, *, out: (g / (x * math.log(10)),), reals(0.1, 20), domain=INEXACT)
log1p = _unary("log1p", np.log1p, lambda g, x, *, out: (g / (x + 1),), reals(-0.9, 9), domain=INEXACT)
sqrt = _unary("sqrt", np.sqrt, lambda g, x, *, out: (g / (out * 2),), reals(0.1, 20), domain=INEXACT)
rsqrt = _unary(
    "rsqrt", lambda x: 1 / np.sqrt(x), lambda g, x, *, out: (g * out / x * -0.5,), reals(0.1, 20), domain=INEXACT
)
tanh = _unary("tanh", np.tanh, lambda g, x, *, out: (g * (1 - out * out),), reals(-9, 9), domain=INEXACT)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1 / (1 + e), e / (1 + e)))


sigmoid = _unary("sigmoid", _sigmoid, lambda g, x, *, out: (g * out * (1 - out),), reals(-20, 20))
erf = _unary(
    "erf", np.vectorize(math.erf, otypes=[np.float64]),
    lambda g, x, *, out: (g * exp(-x * x) * (2 / math.sqrt(math.pi)),), reals(-4, 4),
)  # fmt: skip
sin = _unary("sin", np.sin, lambda g, x, *, out: (g * cos(x),), reals(-10, 10), domain=INEXACT)
cos: Elementwise = _unary("cos", np.cos, lambda g, x, *, out: (-g * sin(x),), reals(-10, 10), domain=INEXACT)
tan = _unary("tan", np.tan, lambda g, x, *, out: (g * (out * out + 1),), reals(-1.2, 1.2), domain=INEXACT)
sinh = _unary("sinh", np.sinh, lambda g, x, *, out: (g * cosh(x),), reals(-5, 5), domain=INEXACT)
cosh: Elementwise = _unary("cosh", np.cosh, lambda g, x, *, out: (g * sinh(x),), reals(-5, 5), domain=INEXACT)
asin = _unary("asin", np.arcsin, lambda g, x, *, out: (g * rsqrt(1 - x * x),), reals(-0.9, 0.9), domain=INEXACT)
acos = _unary("acos", np.arccos, lambda g, x, *, out: (-g * rsqrt(1 - x * x),), reals(-0.9, 0.9), domain=INEXACT)
atan = _unary("atan", np.arctan, lambda g, x, *, out: (g / (x * x + 1),), reals(-9, 9), domain=INEXACT)
asinh = _unary("asinh", np.arcsinh, lambda g, x, *, out: (g * rsqrt(x * x + 1),), reals(-9, 9), domain=INEXACT)
acosh = _unary(
    "acosh", np.arccosh, lambda g, x, *, out: (g * rsqrt(x - 1) * rsqrt(x + 1),), reals(1.2, 9), domain=INEXACT
)
atanh = _unary("atanh", np.arctanh, lambda g, x, *, out: (g / (1 - x * x),), reals(-0.9, 0.9), domain=INEXACT)
cbrt = _unary("cbrt", np.cbrt, lambda g, x, *, out: (g / (out * out * 3),), reals(0.1, 20))
atan2 = elementwise(
    "atan2", arity=2, reference=_wide(np.arctan2), samples=samples(distinct(), distinct()),
    grad=lambda g, y, x, *, out: (g * x / (x * x + y * y), -g * y / (x * x + y * y)),
)  # fmt: skip

copysign = elementwise(
    "copysign", arity=2, reference=_wide(np.copysign), samples=samples(distinct(), distinct()),
    grad=lambda g, x, y, *, out: (g * sign(x) * sign(out), None),
)  # fmt: skip

floor = _unary("floor", np.floor, no_gradient, distinct(-9, 9))
ceil = _unary("ceil", np.ceil, no_gradient, distinct(-9, 9))
round = _unary("round", np.round, no_gradient, distinct(-9, 9), domain=INEXACT)
trunc = _unary("trunc", np.trunc, no_gradient, distinct(-9, 9))

# ------------------------------------------------------------------------------------- comparisons and predicates


def _comparison(name: str, reference: Callable[..., Any], domain: frozenset[DType] = ORDERED) -> Elementwise:
    draws = samples(reals(-3, 3), reals(-3, 3))
    return elementwise(
        name, arity=2, domain=domain, reference=reference, grad=no_gradient, result=boolean, samples=draws
    )


eq = _comparison("eq", np.equal, ALL)
ne = _comparison("ne", np.not_equal, ALL)
lt = _comparison("lt", np.less)
le: Elementwise = _comparison("le", np.less_equal)
gt: Elementwise = _comparison("gt", np.greater)
ge: Elementwise = _comparison("ge", np.greater_equal)
is_nan = _unary("is_nan", np.isnan, no_gradient, reals(), result=boolean, domain=INEXACT)
is_inf = _unary("is_inf", np.isinf, no_gradient, reals(), result=boolean, domain=INEXACT)
is_finite = _unary("is_finite", np.isfinite, no_gradient, reals(), result=boolean, domain=INEXACT)

# ----------------------------------------------------------------------------------------------------------- bits


def _bits(name: str, reference: Callable[..., Any], second: Draw, domain: frozenset[DType]) -> Elementwise:
    return elementwise(
        name, arity=2, domain=domain, reference=reference, grad=no_gradient, samples=samples(reals(-99, 99), second)
    )


bit_and = _bits("bit_and", np.bitwise_and, reals(-99, 99), BOOLS | INTS)
bit_or = _bits("bit_or", np.bitwise_or, reals(-99, 99), BOOLS | INTS)
bit_xor = _bits("bit_xor", np.bitwise_xor, reals(-99, 99), BOOLS | INTS)
shift_left = _bits("shift_left", np.left_shift, reals(0, 7), INTS)
shift_right = _bits("shift_right", np.right_shift, reals(0, 7), INTS)
gcd = _bits("gcd", np.gcd, reals(-99, 99), INTS)
bit_not = elementwise(
    "bit_not", arity=1, domain=BOOLS | INTS, reference=np.invert, grad=no_gradient, samples=samples(reals(-99, 99))
)

# ------------------------------------------------------------------------------------- selection, casts, identity


select: Elementwise = elementwise(
    "select", arity=3, domain=ALL, mixed=(BOOLS, ALL, ALL), reference=np.where,
    grad=lambda g, c, x, y, *, out: (None, *_pick(g, c)), samples=samples(reals(), reals(), reals()),
)  # fmt: skip
cast: Elementwise = elementwise(
    "cast", arity=1, domain=ALL, result=lambda x, *, dtype: dtype, attrs={"dtype": dtype},
    reference=lambda x, *, dtype: (np.real(x) if is_complex(x.dtype) and dtype in REALS | FLOAT8S else x).astype(dtype),
    scalar=lambda s, x, *, dtype: s.cast(x, dtype),
    grad=lambda g, x, *, out, dtype: (cast(g, dtype=x.dtype),),
    samples=samples(reals(0, 99), cases=tuple(case((3, 5), dtype=d) for d in SHORT_NAMES)),  # in range of them all
)  # fmt: skip
identity = elementwise(
    "identity", arity=1, domain=ALL, reference=lambda x: x, scalar=lambda s, x: x,
    grad=lambda g, x, *, out: (g,), samples=samples(reals()),
)  # fmt: skip
stop_gradient = elementwise(
    "stop_gradient", arity=1, domain=ALL, reference=lambda x: x, scalar=lambda s, x: x, grad=no_gradient,
    samples=samples(reals(), smooth=False),
)  # fmt: skip

# --------------------------------------------------------------------------------------- parts of complex numbers
# Gradients are those of JAX: the cotangent of x + iy is that of x less i times that of y.

real = elementwise(
    "real", arity=1, domain=COMPLEXES, result=real_dtype, reference=np.real, samples=samples(reals()),
    grad=lambda g, z, *, out: (cast(g, dtype=z.dtype),),
)  # fmt: skip
imag = elementwise(
    "imag", arity=1, domain=COMPLEXES, result=real_dtype, reference=np.imag, samples=samples(reals()),
    grad=lambda g, z, *, out: (complex_(full_like(g, 0), -g),),
)  # fmt: skip
conj: Elementwise = elementwise(
    "conj", arity=1, domain=COMPLEXES, reference=np.conj, samples=samples(reals()),
    grad=lambda g, z, *, out: (conj(g),),
)  # fmt: skip
complex_: Elementwise = elementwise(
    "complex", arity=2, domain=frozenset({F32, F64}), result=lambda x, y: complex_dtype(x),
    reference=lambda x, y: _pair(x, y), grad=lambda g, x, y, *, out: (real(g), -imag(g)),
    samples=samples(reals(), reals()),
)  # fmt: skip


def _pair(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x + iy, signed zeros and infinities as they are."""
    made = np.empty(x.shape, complex_dtype(x.dtype))
    made.real, made.imag = x, y
    return made
