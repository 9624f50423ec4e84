"""Conversions of float16, bfloat16 and float8, exhaustively, against NumPy and ml_dtypes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from numba import njit

import tgc
import tgc.numpy as tnp
from tgc.backends.cpu import narrow as forms
from tgc.errors import DTypeError

FORMATS = {
    name: (np.dtype(dtype), getattr(forms, f"f32_from_{name}"), getattr(forms, f"{name}_from_f32"))
    for name, dtype in {
        "f16": np.float16, "bf16": ml_dtypes.bfloat16,
        "f8e4m3": ml_dtypes.float8_e4m3fn, "f8e5m2": ml_dtypes.float8_e5m2,
    }.items()
}  # fmt: skip


def bits_of(narrow: np.dtype[Any]) -> np.dtype[Any]:
    """The unsigned integers of the same size."""
    return np.dtype(f"u{narrow.itemsize}")


def patterns(narrow: np.dtype[Any]) -> npt.NDArray[Any]:
    return np.arange(1 << 8 * narrow.itemsize, dtype=bits_of(narrow))


def compiled(convert: Callable[..., Any]) -> Any:
    @njit(error_model="numpy")
    def loop(source, target):
        for i in range(source.shape[0]):
            target[i] = convert(source[i])

    return loop


def apply(loop: Any, source: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    target = np.zeros(source.shape, dtype)
    loop(source, target)
    return target


def around(narrow: np.dtype[Any]) -> npt.NDArray[np.float32]:
    """Every value of the format, the points midway to both neighbours, and the float32 next to all of those."""
    values = patterns(narrow).view(narrow).astype(np.float32)
    finite = np.sort(np.unique(values[np.isfinite(values)]))
    middle = ((finite[1:].astype(np.float64) + finite[:-1]) / 2).astype(np.float32)  # exact: one more bit
    step = finite[-1] - finite[-2]
    edge = np.array([finite[-1] + step / 2, finite[-1] + step / 4], np.float32)  # first to round to infinity, last not
    points = np.concatenate([finite, middle, edge, -edge, np.float32([np.inf, -np.inf, 1e-45, -1e-45, 3e38])])
    with np.errstate(over="ignore"):
        return np.concatenate(
            [points, np.nextafter(points, np.float32(np.inf)), np.nextafter(points, -np.float32(np.inf))]
        )


def is_nan(bits: npt.NDArray[Any], narrow: np.dtype[Any]) -> npt.NDArray[np.bool]:
    with np.errstate(invalid="ignore"):  # signalling NaN
        return np.isnan(bits.view(narrow).astype(np.float32))


def python(code: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], env=os.environ | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", FORMATS)
def test_widening_is_exact_for_every_pattern(name: str) -> None:
    narrow, widen, _ = FORMATS[name]
    with np.errstate(invalid="ignore"):  # signalling NaN
        expected = patterns(narrow).view(narrow).astype(np.float32)
    got = apply(compiled(widen), patterns(narrow), np.float32)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(got[number].view(np.uint32), expected[number].view(np.uint32))
    assert np.isnan(got[~number]).all()
    np.testing.assert_array_equal(np.signbit(got), np.signbit(expected))


@pytest.mark.parametrize("name", FORMATS)
def test_narrowing_rounds_to_nearest_even(name: str) -> None:
    narrow, _, shorten = FORMATS[name]
    x = around(narrow)
    assert not np.isnan(x).any()
    with np.errstate(over="ignore"):
        expected = x.astype(narrow).view(bits_of(narrow))
    np.testing.assert_array_equal(apply(compiled(shorten), x, bits_of(narrow)), expected)


@pytest.mark.parametrize("name", FORMATS)
def test_round_trip_of_every_pattern(name: str) -> None:
    narrow, widen, shorten = FORMATS[name]
    back = apply(compiled(shorten), apply(compiled(widen), patterns(narrow), np.float32), bits_of(narrow))
    number = ~is_nan(patterns(narrow), narrow)
    np.testing.assert_array_equal(back[number], patterns(narrow)[number])
    assert is_nan(back[~number], narrow).all()
    np.testing.assert_array_equal(
        back[~number] >> (8 * narrow.itemsize - 1), patterns(narrow)[~number] >> (8 * narrow.itemsize - 1)
    )


@pytest.mark.parametrize("name", FORMATS)
def test_nan_stays_nan(name: str) -> None:
    """Also where the payload has bits only below those that survive, which truncation would turn into infinity."""
    narrow, _, shorten = FORMATS[name]
    payload = np.concatenate([np.uint32(1) << np.arange(23, dtype=np.uint32), np.uint32([0x7FFFFF, 0x1FFF, 0xFFFF])])
    bits = np.concatenate([payload | np.uint32(0x7F800000), payload | np.uint32(0xFF800000)])
    got = apply(compiled(shorten), bits.view(np.float32), bits_of(narrow))
    assert is_nan(got, narrow).all()
    np.testing.assert_array_equal(got >> (8 * narrow.itemsize - 1), bits >> 31)
    assert is_nan(np.array([shorten(x) for x in bits.view(np.float32)], bits_of(narrow)), narrow).all()


@pytest.mark.parametrize("name", FORMATS)
def test_python_form_agrees_with_the_compiled_one(name: str) -> None:
    narrow, widen, shorten = FORMATS[name]
    sample = patterns(narrow)[::37]
    sample = sample[~is_nan(sample, narrow)]
    np.testing.assert_array_equal(apply(compiled(widen), sample, np.float32), [widen(int(bits)) for bits in sample])
    x = around(narrow)[::61]
    np.testing.assert_array_equal(apply(compiled(shorten), x, bits_of(narrow)), [shorten(float(value)) for value in x])


@pytest.mark.parametrize("name", FORMATS)
def test_loops_are_vectorized(name: str) -> None:
    narrow, widen, shorten = FORMATS[name]
    for convert, source, target in ((widen, bits_of(narrow), np.float32), (shorten, np.float32, bits_of(narrow))):
        loop = compiled(convert)
        apply(loop, np.zeros(1, source), target)
        (text,) = loop.inspect_llvm().values()
        assert re.search(r"\b(shl|lshr|fpext|fptrunc)\b.* <\d+ x (i32|half|float)>", text), convert.__name__


FLOAT8 = [tnp.float8_e4m3fn, tnp.float8_e5m2]


@pytest.mark.parametrize("dtype", FLOAT8)
def test_float8_stores_weights(dtype: Any) -> None:
    """Cast on the way in and out, moved and selected in between; the cast's gradient is cast back."""
    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=shape).astype(np.float32) for shape in ((5, 8), (3, 8)))

    def loss(x: Any, w: Any) -> Any:
        stored = tnp.where(w > 0, w.astype(dtype), tnp.zeros((), dtype)).T
        return tnp.sum(x @ stored.astype(tnp.float32))

    value, grad = tgc.jit(tgc.value_and_grad(loss, 1))(x, w)
    rounded = np.where(w > 0, w, 0).astype(dtype).astype(np.float32)
    np.testing.assert_allclose(value, np.sum(x @ rounded.T), rtol=1e-5)
    column = x.sum(0).astype(dtype).astype(np.float32)  # the cotangent of what is stored
    np.testing.assert_allclose(grad, np.where(w > 0, column, 0), rtol=2.0**-2)


@pytest.mark.parametrize("dtype", FLOAT8)
def test_float8_does_not_compute(dtype: Any) -> None:
    x = np.ones((2, 2), dtype)
    for f in (lambda x: tnp.add(x, x), lambda x: tnp.matmul(x, x), tnp.exp, tnp.sum, tnp.floor, tnp.negative):
        for call in (f, tgc.jit(f)):
            with pytest.raises(DTypeError, match="float8 is for storage"):
                call(x)
    with pytest.raises(DTypeError, match="float8 is for storage"):
        tnp.result_type(dtype, np.float32)
    with pytest.raises(DTypeError):
        tgc.random.normal(tgc.random.key(0), (2,), dtype)


def test_float8_limits() -> None:
    assert [float(tnp.finfo(d).max) for d in FLOAT8] == [448, 57344]
    assert all(tnp.isdtype(d, "real floating") and tnp.issubdtype(d, np.floating) for d in FLOAT8)


@pytest.mark.parametrize("outer", [tnp.tanh, tnp.sinh])
def test_functions_of_results_narrowed_from_float64(outer: Callable[..., Any]) -> None:
    """cosh ends in a float64 that is narrowed, tanh in a copysign from it, which LLVM would narrow to float16 at once.

    That takes a function of LLVM's runtime library: before, the kernel did not link.
    """
    x = np.linspace(-3, 3, 64).astype(np.float16)
    got = tgc.jit(lambda x: outer(tnp.cosh(x)))(x)
    want = outer(tnp.cosh(x))
    np.testing.assert_array_max_ulp(got, want, 1)


def test_processors_without_float16_conversions() -> None:
    """Baseline x86-64: the float16 tests of this file where they must not use the instructions of this machine."""
    code = """
from tests import test_narrow as t
t.test_widening_is_exact_for_every_pattern("f16")
t.test_narrowing_rounds_to_nearest_even("f16")
t.test_round_trip_of_every_pattern("f16")
t.test_nan_stays_nan("f16")
"""
    python(code, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")


def test_with_compilation_off() -> None:
    code = """
import numba
assert numba.config.DISABLE_JIT
from tgc.backends.cpu.narrow import *
@numba.njit
def half_of_third():
    return f32_from_f16(f16_from_f32(1 / 3)), f32_from_bf16(bf16_from_f32(1 / 3))
assert half_of_third() == (0.333251953125, 0.333984375)
"""
    python(code, NUMBA_DISABLE_JIT="1")
