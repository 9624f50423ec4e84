"""`tgc.backends.cpu.vmath`: accuracy, special values, strictness under fast-math flags, vectorization, plain Python."""

from __future__ import annotations

import functools
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from mpmath import mp, mpf
from numba import njit
from numba.core.errors import TypingError

from tgc.backends.cpu import scalars, vmath, vmath_ops
from tgc.backends.cpu.target import CpuTarget

KERNEL_FLAGS = {"contract", "reassoc", "nsz", "arcp"}
F32 = np.float32
Array = np.ndarray[Any, np.dtype[Any]]


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    result: Array = np.where(x < 0, e, 1) / (1 + e)
    return result


# The functions in float64, where their errors are nothing beside one of float32.
REFERENCE: dict[str, Callable[..., Any]] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "pow": np.power,
    "cbrt": np.cbrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "erf": np.vectorize(math.erf, otypes=[float]),
    "sigmoid": _sigmoid,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "atan2": np.arctan2,
}
BINARY = {"pow", "atan2"}
UNARY = [name for name in REFERENCE if name not in BINARY]

# Points where a function changes its formula, leaves its domain, overflows or underflows.
THRESHOLDS = [
    *(0.0, 2.0**-149, 2.0**-126, 2.0**-24, 2.0**-12, 2.0**-10, 0.3465736, 0.5, 2 / 3, 0.70710678, 0.92, 1.0, 4 / 3),
    *(
        1.41421356,
        math.pi / 4,
        math.pi / 2,
        3 * math.pi / 4,
        math.pi,
        2.0,
        4.0,
        9.01,
        10.0,
        17.33,
        18.0,
        87.34,
        88.7228,
    ),
    *(89.0, 89.416, 89.5, 100.0, 103.28, 104.0, 126.0, 127.0, 128.0, 149.0, 150.0, 151.0, 2.0**24, 2.0**25, 3e38),
]
SPECIAL = np.array([0, 2.0**-149, 2.0**-126, 0.5, 1, 1.5, 2, 3, 2.0**24, 2.0**24 - 1, 3e38, np.inf], F32)
SPECIAL = np.concatenate([SPECIAL, -SPECIAL, [F32(np.nan)]])


@functools.cache
def kernel(name: str, dtype: str, fast: bool) -> Any:
    """Compile a loop over arrays, with the flags that generated kernels have or with none."""
    function = vmath.FUNCTIONS[name, dtype]

    def unary(out: Array, x: Array) -> None:
        for i in range(out.shape[0]):
            out[i] = function(x[i])

    def binary(out: Array, x: Array, y: Array) -> None:
        for i in range(out.shape[0]):
            out[i] = function(x[i], y[i])

    body = binary if name in BINARY else unary
    return njit(body, fastmath=KERNEL_FLAGS if fast else False, error_model="numpy", nogil=True)


def run(name: str, *operands: Array, fast: bool = True) -> Array:
    out = np.empty_like(operands[0])
    kernel(name, "f32" if out.dtype == F32 else "f64", fast)(out, *operands)
    return out


def reference(name: str, *operands: Array) -> Array:
    with np.errstate(all="ignore"):
        result: Array = REFERENCE[name](*(x.astype(np.float64) for x in operands)).astype(F32)
    return result


def ulps(got: Array, want: Array) -> Array:
    """Count the float32 values from one to the other; huge where one is NaN or the signs differ, of zeros too."""
    distance = np.abs((got.view(np.int32) & 0x7FFFFFFF) - (want.view(np.int32) & 0x7FFFFFFF)).astype(np.int64)
    distance[np.signbit(got) != np.signbit(want)] = 1 << 32
    distance[np.isnan(got) != np.isnan(want)] = 1 << 32
    distance[np.isnan(got) & np.isnan(want)] = 0
    return distance


def check(name: str, *operands: Array, limit: int = 2) -> None:
    got, want = run(name, *operands), reference(name, *operands)
    distance = ulps(got, want)
    worst = int(np.argmax(distance))
    assert distance[worst] <= limit, (
        f"{name}({', '.join(str(x[worst]) for x in operands)}) = {got[worst]}, not {want[worst]}"
    )


def random_bits(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 1 << 32, count, np.uint32).view(F32)


def neighbours(points: list[float], count: int) -> Array:
    """Return the `count` float32 values around each point and around its negative."""
    centres = np.array(points, F32).view(np.int32)
    near = (
        (centres[:, None] + np.arange(-count // 2, count // 2)).clip(0, 0x7F800000).astype(np.int32).ravel().view(F32)
    )
    return np.concatenate([near, -near])


def test_every_function_exists_in_both_dtypes() -> None:
    assert set(vmath.FUNCTIONS) == {(name, dtype) for name in REFERENCE for dtype in ("f32", "f64")}
    for (name, dtype), function in vmath.FUNCTIONS.items():
        assert getattr(vmath, f"{name}_{dtype}") is function
        assert f"{name}_{dtype}" in vmath.__all__


@pytest.mark.parametrize("name", UNARY)
def test_accuracy(name: str) -> None:
    check(name, np.concatenate([random_bits(1 << 17), neighbours(THRESHOLDS, 1000)]))
    check(name, np.linspace(-20, 20, 100_001, dtype=F32))
    check(name, np.linspace(-1.5, 1.5, 100_001, dtype=F32))


@pytest.mark.parametrize("name", UNARY)
def test_special_values(name: str) -> None:
    got, want = run(name, SPECIAL), reference(name, SPECIAL)
    exact = ~np.isfinite(want) | (want == 0)
    assert exact.any() or name == "sigmoid"
    np.testing.assert_array_equal(got[exact], want[exact])
    np.testing.assert_array_equal(np.signbit(got[want == 0]), np.signbit(want[want == 0]))
    check(name, SPECIAL)


@pytest.mark.parametrize("name", REFERENCE)
def test_oldest_target(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As accurate, and without what would become a call of the C library for each number."""
    oldest = CpuTarget.of("x86_64-unknown-linux-gnu", frozenset())
    monkeypatch.setattr(CpuTarget, "host", lambda: oldest)
    made = kernel.__wrapped__(name, "f32", False)
    x = np.concatenate(
        [random_bits(1 << 14), neighbours(THRESHOLDS, 50), SPECIAL, np.linspace(-6, 6, 50_001, dtype=F32)]
    )
    operands = [x, np.random.default_rng(9).permutation(x)][: 1 + (name in BINARY)]
    out = np.empty_like(x)
    made(out, *operands)
    assert ulps(out, reference(name, *operands)).max() <= 2
    (text,) = made.inspect_llvm().values()
    assert not re.search(r"llvm\.(fma|floor)\.", text)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["floor", "ceil", "trunc", "round_even"])
def test_rounding_on_the_oldest_target(name: str, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    oldest = CpuTarget.of("x86_64-unknown-linux-gnu", frozenset())
    monkeypatch.setattr(CpuTarget, "host", lambda: oldest)
    function = getattr(scalars, name)

    @njit
    def rounded(x: Array, out: Array) -> None:
        for i in range(x.size):
            out[i] = function(x[i])

    halves = np.arange(-9, 10) / 2
    large = np.finfo(dtype).nmant
    edges = [2.0 ** (large - 1), 2.0**large, 2.0 ** (large + 1), -0.0, np.inf, np.nan, np.finfo(dtype).max, 1e-30]
    x = np.concatenate([halves, np.nextafter(halves.astype(dtype), 9), edges, np.negative(edges)]).astype(dtype)
    x = np.concatenate([x, np.nextafter(x, 0), x + dtype(0.5)]).astype(dtype)
    out = np.empty_like(x)
    rounded(x, out)
    wanted = {"round_even": np.round}.get(name) or getattr(np, name)
    np.testing.assert_array_equal(out, wanted(x))
    np.testing.assert_array_equal(np.signbit(out)[~np.isnan(x)], np.signbit(x)[~np.isnan(x)])
    assert not re.search(r"llvm\.(floor|ceil|trunc|roundeven)\.", *rounded.inspect_llvm().values())


@pytest.mark.parametrize("name", sorted(BINARY))
def test_accuracy_of_two_operands(name: str) -> None:
    x, y = random_bits(1 << 17, 1), random_bits(1 << 17, 2)
    check(name, x, y)
    check(name, x, (y.view(np.int32) % 256 / 32).astype(F32))
    check(name, *np.random.default_rng(3).uniform(-8, 8, (2, 1 << 17)).astype(F32))
    with np.errstate(all="ignore"):
        close = np.nextafter(x, F32(0))
    check(name, x, close)
    check(name, *(a.ravel() for a in np.meshgrid(SPECIAL, SPECIAL)))
    check(name, *(a.ravel() for a in np.meshgrid(neighbours([1.0], 200), np.linspace(-3e7, 3e7, 301, dtype=F32))))


def test_powers_that_are_exact() -> None:
    n = np.arange(-149, 128, dtype=F32)
    two = np.full_like(n, 2)
    np.testing.assert_array_equal(run("exp2", n), np.ldexp(F32(1), n.astype(int)))
    np.testing.assert_array_equal(run("pow", two, n), np.ldexp(F32(1), n.astype(int)))
    np.testing.assert_array_equal(run("log2", np.ldexp(F32(1), n.astype(int))), n)
    squares = np.arange(4097, dtype=F32)
    np.testing.assert_array_equal(run("pow", squares, np.full_like(squares, 2)), squares * squares)
    np.testing.assert_array_equal(run("cbrt", np.arange(-200, 201).astype(F32) ** 3), np.arange(-200, 201).astype(F32))


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_huge_angles(name: str) -> None:
    """Against a reduction with 400 bits of pi, as float64 libraries may themselves be wrong there."""
    sample = np.abs(random_bits(20_000, 4))
    # Of all float32, the first comes nearest to a multiple of pi/2: 2**-29.86 of a right angle.
    hard = [16367173 * 2.0**72, 2.0**127, np.finfo(F32).max]
    x = np.concatenate([sample[(sample > 2.0**20) & np.isfinite(sample)][:1000], np.array(hard, F32)])
    with mp.workprec(400):
        want = np.array([float(getattr(mp, name)(mpf(float(v)))) for v in x]).astype(F32)
    assert ulps(run(name, x), want).max() <= 2


@pytest.mark.parametrize("name", REFERENCE)
def test_kernel_flags_do_not_reach_the_function(name: str) -> None:
    operands = [np.concatenate([random_bits(4096, seed), SPECIAL]) for seed in range(1 + (name in BINARY))]
    fast, strict = run(name, *operands), run(name, *operands, fast=False)
    np.testing.assert_array_equal(fast, strict)
    np.testing.assert_array_equal(np.signbit(fast)[~np.isnan(fast)], np.signbit(strict)[~np.isnan(fast)])


@pytest.mark.parametrize("name", UNARY)
def test_kernel_flags_do_not_reach_the_function_through_its_neighbours(name: str) -> None:
    function = vmath.FUNCTIONS[name, "f32"]

    @njit(fastmath=KERNEL_FLAGS, error_model="numpy")
    def around(out: Array, x: Array) -> None:
        for i in range(out.shape[0]):
            out[i] = (function((x[i] + F32(1)) - F32(1)) - F32(3)) + F32(3)

    x = np.random.default_rng(5).uniform(0.001, 30, 4096).astype(F32)
    out = np.empty_like(x)
    around(out, x)  # the kernel's own additions cancel: that is what its flags allow
    assert ulps(out, run(name, x)).max() == 0


@pytest.mark.parametrize("name", REFERENCE)
def test_loop_is_vectorized(name: str) -> None:
    compiled = kernel(name, "f32", True)
    run(name, *[SPECIAL] * (1 + (name in BINARY)))
    (signature,) = compiled.signatures
    intermediate = compiled.inspect_llvm(signature)
    assert re.search(r"store <\d+ x (float|i32)>", intermediate)
    called = set(re.findall(r"call [^@\n]*(?:float|double)>? @([\w.]+)\(", intermediate))
    assert not [callee for callee in called if not callee.startswith("llvm.")]
    library_names = "|".join([*REFERENCE, "fma", "floor", "sqrt", "fabs", "copysign"])
    assert not re.search(rf"\b({library_names})f?\b", compiled.inspect_asm(signature))


@pytest.mark.parametrize("name", REFERENCE)
def test_float64(name: str) -> None:
    rng = np.random.default_rng(6)
    operands = [
        np.concatenate([rng.uniform(-30, 30, 500), rng.uniform(-1, 1, 500), SPECIAL])
        for _ in range(1 + (name in BINARY))
    ]
    with np.errstate(all="ignore"):
        want = REFERENCE[name](*operands)
    np.testing.assert_allclose(run(name, *operands), want, rtol=4e-15, atol=0)
    values = [[x[i] for x in operands] for i in range(0, len(want), 7)]
    np.testing.assert_allclose([vmath.FUNCTIONS[name, "f64"](*v) for v in values], want[::7], rtol=4e-15, atol=0)


@pytest.mark.parametrize("name", REFERENCE)
def test_plain_python_gives_the_same_bits(name: str) -> None:
    function = vmath.FUNCTIONS[name, "f32"]
    operands = [
        np.concatenate([random_bits(60, 7 + k), np.linspace(-3, 9, 50, dtype=F32), np.roll(SPECIAL, k)])
        for k in range(1 + (name in BINARY))
    ]
    got = [function(*(x[i] for x in operands)) for i in range(operands[0].size)]
    assert {type(value) for value in got} == {np.float32}
    assert ulps(np.array(got), run(name, *operands)).max() == 0
    assert type(function(*[1] * len(operands))) is np.float32


def test_plain_python_fma_rounds_once() -> None:
    rng = np.random.default_rng(8)
    for kind, digits in ((np.float32, 24), (np.float64, 53)):
        for _ in range(200):
            a, b = kind(rng.standard_normal()), kind(rng.standard_normal())
            c = kind(-(a * b) * (1 + rng.integers(-2, 3) * 2.0**-digits))
            got, exact = vmath_ops.fma(a, b, c), Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
            for other in (np.nextafter(got, kind(-1)), np.nextafter(got, kind(1))):
                assert abs(Fraction(float(got)) - exact) <= abs(Fraction(float(other)) - exact)
    # The square is 1 + 2**-11 + 2**-24, a tie in float32, and 2**-60, which float64 would lose, decides it.
    near_one, tiny = F32(1 + 2.0**-12), F32(2.0**-60)
    assert vmath_ops.fma(near_one, near_one, tiny) == F32(1 + 2.0**-11 + 2.0**-23)
    assert vmath_ops.fma(near_one, near_one, -tiny) == F32(1 + 2.0**-11)
    for kind in (np.float32, np.float64):
        largest, zero = np.finfo(kind).max, kind(0)
        assert vmath_ops.fma(largest, kind(2), -largest) == largest
        assert np.signbit(vmath_ops.fma(-zero, kind(1), -zero))
        assert not np.signbit(vmath_ops.fma(kind(3), kind(-1), kind(3)))
        with np.errstate(all="ignore"):
            assert vmath_ops.fma(largest, kind(-2), kind(1)) == -math.inf
            assert np.isnan(vmath_ops.fma(kind(math.inf), zero, kind(1)))


def test_kernels_run_with_compilation_off() -> None:
    script = (
        "import numpy as np; from numba import njit; from tgc.backends.cpu.vmath import exp_f32, FUNCTIONS\n"
        "@njit(fastmath=True)\n"
        "def f(x, out):\n"
        "    for i in range(x.size): out[i] = exp_f32(x[i])\n"
        "x = np.array([0, 1, -200, 200, np.nan], np.float32); out = np.empty_like(x); f(x, out); print(out.tolist())"
    )
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == f"[1.0, {float(F32(math.e))}, 0.0, inf, nan]"


def test_operands_are_not_converted() -> None:
    @njit
    def wrong(x: float) -> Any:
        return vmath.exp_f32(x)

    with pytest.raises(TypingError, match="exp_f32"):
        wrong(1.0)
