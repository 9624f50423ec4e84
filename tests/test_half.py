"""float16 and bfloat16 conversions, exhaustively, against NumPy and ml_dtypes."""

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
from tgc.backends.cpu.half import bf16_from_f32, f16_from_f32, f32_from_bf16, f32_from_f16

PATTERNS = np.arange(1 << 16, dtype=np.uint16)
FORMATS = {
    "f16": (np.dtype(np.float16), f32_from_f16, f16_from_f32),
    "bf16": (np.dtype(ml_dtypes.bfloat16), f32_from_bf16, bf16_from_f32),
}


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
    values = PATTERNS.view(narrow).astype(np.float32)
    finite = np.sort(np.unique(values[np.isfinite(values)]))
    middle = ((finite[1:].astype(np.float64) + finite[:-1]) / 2).astype(np.float32)  # exact: one more bit
    step = finite[-1] - finite[-2]
    edge = np.array([finite[-1] + step / 2, finite[-1] + step / 4], np.float32)  # first to round to infinity, last not
    points = np.concatenate([finite, middle, edge, -edge, np.float32([np.inf, -np.inf, 1e-45, -1e-45, 3e38])])
    with np.errstate(over="ignore"):
        return np.concatenate(
            [points, np.nextafter(points, np.float32(np.inf)), np.nextafter(points, -np.float32(np.inf))]
        )


def is_nan(bits: npt.NDArray[np.uint16], narrow: np.dtype[Any]) -> npt.NDArray[np.bool]:
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
        expected = PATTERNS.view(narrow).astype(np.float32)
    got = apply(compiled(widen), PATTERNS, np.float32)
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
        expected = x.astype(narrow).view(np.uint16)
    np.testing.assert_array_equal(apply(compiled(shorten), x, np.uint16), expected)


@pytest.mark.parametrize("name", FORMATS)
def test_round_trip_of_every_pattern(name: str) -> None:
    narrow, widen, shorten = FORMATS[name]
    back = apply(compiled(shorten), apply(compiled(widen), PATTERNS, np.float32), np.uint16)
    number = ~is_nan(PATTERNS, narrow)
    np.testing.assert_array_equal(back[number], PATTERNS[number])
    assert is_nan(back[~number], narrow).all()
    np.testing.assert_array_equal(back[~number] >> 15, PATTERNS[~number] >> 15)


@pytest.mark.parametrize("name", FORMATS)
def test_nan_stays_nan(name: str) -> None:
    """Also where the payload has bits only below those that survive, which truncation would turn into infinity."""
    narrow, _, shorten = FORMATS[name]
    payload = np.concatenate([np.uint32(1) << np.arange(23, dtype=np.uint32), np.uint32([0x7FFFFF, 0x1FFF, 0xFFFF])])
    bits = np.concatenate([payload | np.uint32(0x7F800000), payload | np.uint32(0xFF800000)])
    got = apply(compiled(shorten), bits.view(np.float32), np.uint16)
    assert is_nan(got, narrow).all()
    np.testing.assert_array_equal(got >> 15, bits >> 31)
    assert is_nan(np.array([shorten(x) for x in bits.view(np.float32)], np.uint16), narrow).all()


@pytest.mark.parametrize("name", FORMATS)
def test_python_form_agrees_with_the_compiled_one(name: str) -> None:
    narrow, widen, shorten = FORMATS[name]
    sample = PATTERNS[::37]
    sample = sample[~is_nan(sample, narrow)]
    np.testing.assert_array_equal(apply(compiled(widen), sample, np.float32), [widen(int(bits)) for bits in sample])
    x = around(narrow)[::61]
    np.testing.assert_array_equal(apply(compiled(shorten), x, np.uint16), [shorten(float(value)) for value in x])


@pytest.mark.parametrize("name", FORMATS)
def test_loops_are_vectorized(name: str) -> None:
    _, widen, shorten = FORMATS[name]
    for convert, source, target in ((widen, np.uint16, np.float32), (shorten, np.float32, np.uint16)):
        loop = compiled(convert)
        apply(loop, np.zeros(1, source), target)
        (text,) = loop.inspect_llvm().values()
        assert re.search(r"\b(shl|lshr|fpext|fptrunc)\b.* <\d+ x (i32|half|float)>", text), convert.__name__


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
from tests import test_half as t
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
from tgc.backends.cpu.half import *
@numba.njit
def half_of_third():
    return f32_from_f16(f16_from_f32(1 / 3)), f32_from_bf16(bf16_from_f32(1 / 3))
assert half_of_third() == (0.333251953125, 0.333984375)
"""
    python(code, NUMBA_DISABLE_JIT="1")
