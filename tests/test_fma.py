"""The op `fma`: float32 rounded once, by the instruction and where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit

from tgc.backends.cpu import scalars, vmath_ops
from tgc.backends.cpu.target import CpuTarget
from tgc.ops import elementwise as e

FMA = frozenset({"avx", "avx2", "fma"})
SQUARE = 1 + 2.0**-12  # whose square is a tie between two float32, which 2**-60 decides that float64 would lose
SPECIAL = [
    (SQUARE, SQUARE, 2.0**-60), (SQUARE, SQUARE, -(2.0**-60)), (-SQUARE, SQUARE, 2.0**-60),
    (-SQUARE, SQUARE, -(2.0**-60)), (3e38, 2, -3e38), (-0.0, 1, -0.0), (np.inf, 1, 1), (np.inf, 1, -np.inf),
    (np.inf, 0, 1), (1, 1, np.nan), (2.0**-100, 2.0**-40, 2.0**-149), (2.0**-75, 2.0**-75, -(2.0**-149)),
]  # fmt: skip


def operands() -> np.ndarray:
    """float32[3, n]: sums that cancel, any bits, and special values."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 2000))
    c = -(a * b) * (1 + rng.integers(-2, 3, a.size) * 2.0**-24)
    bits = rng.integers(0, 1 << 32, (3, 1000), np.uint32).view(np.float32)
    return np.concatenate([np.float32([a, b, c]), bits, np.float32(SPECIAL).T], axis=1)


def check(found: np.ndarray, x: np.ndarray) -> None:
    """The results are what fractions say."""
    with np.errstate(all="ignore"):
        want = np.array([vmath_ops.fma(*xs) for xs in x.T])
    np.testing.assert_array_equal(found, want)
    np.testing.assert_array_equal(np.signbit(found)[want == 0], np.signbit(want)[want == 0])


@pytest.mark.parametrize("features", [frozenset(), FMA], ids=["baseline", "fma"])
def test_kernels(features: frozenset[str], monkeypatch: pytest.MonkeyPatch) -> None:
    host = CpuTarget.host()
    if not (host.triple.startswith("x86_64") and features <= host.features):
        pytest.skip("this machine cannot run it")
    target = CpuTarget.of("x86_64-unknown-linux-gnu", features)
    monkeypatch.setattr(CpuTarget, "host", lambda: target)

    @njit
    def kernel(x: Any, out: Any) -> None:
        for i in range(out.size):
            out[i] = scalars.fma_once(x[0, i], x[1, i], x[2, i])

    x = operands()
    out = np.empty_like(x[0])
    kernel(x, out)
    check(out, x)
    (text,) = kernel.inspect_llvm().values()
    assert ("llvm.fma" in text) == bool(features)


def test_oracle() -> None:
    x = operands()
    with np.errstate(all="ignore"):
        check(e.fma.reference(*x), x)


def test_scalars_without_the_instruction(monkeypatch: pytest.MonkeyPatch) -> None:
    x = operands()
    with np.errstate(all="ignore"), monkeypatch.context() as patch:
        patch.setattr(vmath_ops, "fuses", lambda _: False)
        found = np.array([vmath_ops.fma_once(*xs) for xs in x.T])
    check(found, x)
