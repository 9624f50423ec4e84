"""Functions of complex numbers at infinities, NaN, signed zeros on branch cuts, and the ends of the range of floats."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from opcases import ELEMENTWISE, reference, together

from tgc.ops.samples import case
from tgc.runtime.lowered import Lowered
from tgc.types import BOOL, C64, C128, DType, is_complex, real_dtype

UNARY = [op for op in ELEMENTWISE.values() if op.arity == 1 and {C64, C128} <= op.domain and op.name != "cast"]
dtypes = pytest.mark.parametrize("dtype", [pytest.param(d, id=str(d)) for d in (C64, C128)])


def grid(values: list[float], dtype: DType) -> np.ndarray:
    """Complex numbers of all pairs of the values and their negatives, and NaN."""
    parts = np.array([*values, *(-v for v in values), np.nan], real_dtype(dtype))
    z = np.empty((len(parts), len(parts)), dtype)
    z.real, z.imag = np.meshgrid(parts, parts)
    return z.reshape(1, -1)


def compiled(op: Any, *operands: np.ndarray) -> np.ndarray:
    (result,) = Lowered(together(op, [(case(), list(operands))])).compile()(operands)
    return result


def wider(z: np.ndarray) -> np.ndarray:
    """In a wider type than its own, where the machine has one."""
    return z.astype(C128 if z.dtype == C64 else np.clongdouble)


def log1p(z: np.ndarray) -> np.ndarray:
    """NumPy's loses all digits near zero."""
    x, y = wider(z).real, wider(z).imag
    size = np.abs(1 + wider(z))
    return np.where(size > 0.5, np.log1p(x * (x + 2) + y * y) / 2, np.log(size)) + 1j * np.angle(1 + wider(z))


def expm1(z: np.ndarray) -> np.ndarray:
    """NumPy's is NaN where one part is zero and the other is infinite."""
    x, y = wider(z).real, wider(z).imag
    return np.expm1(x) * np.cos(y) - 2 * np.sin(y / 2) ** 2 + 1j * np.exp(x) * np.sin(y)


BETTER: dict[str, Callable[[np.ndarray], np.ndarray]] = {"log1p": log1p, "expm1": expm1}


def close(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Whether real numbers are the same to 16 units in the last place, and to the sign of zeros."""
    info = np.finfo(got.dtype)
    with np.errstate(all="ignore"):
        want = want.astype(got.dtype)
        near = np.abs(got - want) <= 16 * info.eps * np.maximum(np.abs(want), info.tiny)
    signs = (want != 0) | (np.signbit(got) == np.signbit(want))
    return np.where(np.isnan(want), np.isnan(got), (near | (got == want)) & signs)


@pytest.mark.parametrize("op", [pytest.param(op, id=op.name) for op in UNARY])
@dtypes
def test_special_values(op: Any, dtype: DType) -> None:
    """Each part is what NumPy has, in its own or a wider precision, where C99's Annex G says what it is.

    It leaves open the sign of zeros beside NaN, and of all that becomes of an infinite imaginary part.
    """
    info = np.finfo(dtype)
    z = grid([0, float(info.tiny), 1e-5, 0.5, 1, 2, 1e5, float(info.max), np.inf], dtype)
    got = compiled(op, z)
    better = BETTER.get(op.name)
    with np.errstate(all="ignore"):
        wants = [(better or op.reference)(v) for v in (z, wider(z))]
        judged = np.isfinite(wants[0]) & (np.abs(z) < 1e3) if better else np.ones(z.shape, bool)
    right = ~judged
    for want in wants:
        if not is_complex(got.dtype):
            right |= (got == want) if got.dtype == BOOL else close(got, want)
            continue
        open_sign = ~np.isfinite(z.imag) | np.isnan(want.real) | np.isnan(want.imag) | bool(better)
        parts = [
            close(a, b) | (open_sign & (a == 0) & (np.abs(b) < info.tiny))
            for a, b in ((got.real, want.real), (got.imag, want.imag))
        ]
        right |= parts[0] & parts[1]
    wrong = [f"{a} -> {b}, not {c}" for a, b, c in zip(z[~right], got[~right], wants[0][~right], strict=True)]
    assert not wrong, f"{op.name}: {wrong[:9]}"
    assert judged.sum() > 50


@dtypes
def test_logarithms_near_the_unit_circle(dtype: DType) -> None:
    """The real part keeps its digits where it is small."""
    angle = np.random.default_rng(0).uniform(-np.pi, np.pi, (1, 500))
    z = np.exp(1j * angle).astype(dtype)
    got = compiled(ELEMENTWISE["log"], z).real
    for x, y, log in zip(z.real.ravel(), z.imag.ravel(), got.ravel(), strict=True):
        beyond = Fraction(float(x)) ** 2 + Fraction(float(y)) ** 2 - 1
        assert log == pytest.approx(np.log1p(float(beyond)) / 2, rel=16 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "pow", "eq", "ne"])
@dtypes
def test_two_operands(name: str, dtype: DType) -> None:
    """Infinities, NaN and zeros of both signs in all places, as in NumPy."""
    values = grid([0, 1, np.inf] if name != "pow" else [0, 1, 2.5], dtype).ravel()
    values = values[np.isfinite(values)] if name == "pow" else values
    x, y = (a.reshape(1, -1) for a in np.meshgrid(values, values))
    got, want = compiled(ELEMENTWISE[name], x, y), reference(ELEMENTWISE[name], [x, y], {})
    if not is_complex(want.dtype):
        np.testing.assert_array_equal(got, want)
    elif name == "pow":
        tolerance = 64 * np.finfo(dtype).eps
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
    else:
        for a, b in ((got.real, want.real), (got.imag, want.imag)):
            wrong = np.flatnonzero(~close(a, b))
            assert wrong.size == 0, [(x.ravel()[k], y.ravel()[k], got.ravel()[k], want.ravel()[k]) for k in wrong[:9]]


@dtypes
def test_quotients_of_extreme_numbers(dtype: DType) -> None:
    """Whatever is exactly representable comes out, however large or small operands are."""
    info = np.finfo(dtype)
    sizes = [float(info.tiny), float(info.tiny) * 2**20, 1.0, 3e5, float(info.max) / 8, float(info.max)]
    values = np.array([a + b * 1j for a, b in itertools.product([0.0, *sizes, -1.0], repeat=2) if a or b], dtype)
    x, y = (a.reshape(1, -1) for a in np.meshgrid(values, values))
    got, tested = compiled(ELEMENTWISE["div"], x, y).ravel(), 0
    for z, w, q in zip(x.ravel(), y.ravel(), got, strict=True):
        a, b, c, d = (Fraction(float(v)) for v in (z.real, z.imag, w.real, w.imag))
        parts = (a * c + b * d) / (c * c + d * d), (b * c - a * d) / (c * c + d * d)
        size = max(map(abs, parts))
        if Fraction(float(info.tiny)) * 2**60 < size < Fraction(float(info.max)) / 4:
            off = max(abs(Fraction(float(v)) - p) for v, p in zip((q.real, q.imag), parts, strict=True))
            assert off <= 8 * Fraction(float(info.eps)) * size, f"{z} / {w} is {q}"
            tested += 1
    assert tested > 1000
