"""Kernels compute what Numba makes of them, and what is no part of their language is an error that shows the line."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from machine import HOST, cache, driver, frame_of, load, loader  # noqa: F401  # fixtures
from numba import njit

from tgc.backends.cpu.compile import compile_kernel, kernel_function
from tgc.backends.cpu.driver import Driver
from tgc.errors import BackendError

HEAD = """
import math
import numpy as np
from numba import njit, int16, uint8

SEVEN, HALF = 7, 0.5

@njit
def pick(a, b):
    if a > b:
        return a
    else:
        return b * 1.5

@njit
def halve(x):
    total = 0
    while True:
        if x < 2 or total > 40:
            break
        x = x // 2
        total += 1
    return total, x

def shifted(by):
    @njit
    def shift(x):
        return x + by
    return shift

by_three = shifted(3)

def kernel(x: f64[:], n: i64[:], f: f32[:], b: u8[:], out: f64[:], s: f32, lo, hi, part):
"""

# fmt: off
BODIES = {
    "arithmetic": "out[0] = x[0] + n[1] * s - f[2] / n[3]; out[1] = n[0] * n[1] - 3; out[2] = -x[1] ** 2.0",
    "whole division": "for i in range(lo, hi): out[i] = n[i] // (i - 2) + 100 * (n[i] % (i - 2))",
    "whole division by constants": (
        "for i in range(lo, hi):\n  a = n[i] * 1000 - 1\n"
        "  out[i] = a // 8 + a % 8 + a // 7 + a % 7 + a // -3 + a % -3 + a // -1 + a % -1 + a // 1 + a % 1"
    ),
    "the least integer": (
        "a = (n[0] - 3 + 1) << 63\nout[0] = a // (lo - 1) + a % (lo - 1)\n"
        "out[1] = a // -1 + a % -1; out[2] = a // 2 + a % 3"
    ),
    "division by zero": "out[0] = x[0] / (n[0] - n[0]); out[1] = n[1] // (lo - lo); out[2] = n[2] % (lo - lo)",
    "division of integers": "for i in range(lo, hi): out[i] = n[i] / 4",
    "narrow integers": "for i in range(lo, hi): out[i] = np.uint8(b[i] * 3) + (b[i] + b[i])",
    "bits": "for i in range(lo, hi): out[i] = (n[i] & 12) | (n[i] ^ 5) + (n[i] << 2) - (n[i] >> 1) + ~n[i]",
    "casts": "for i in range(lo, hi): out[i] = int16(n[i] * 9001) + np.float32(x[i]) + np.int32(f[i]) + bool(n[i])",
    "a variable that widens": "a = 0\nfor i in range(lo, hi): a = a + f[i]\nout[0] = a",
    "a variable that widens twice": "a = np.int32(0)\na = a + 1\na = a + x[0]\nout[0] = a",
    "choices": "for i in range(lo, hi): out[i] = x[i] if n[i] > 2 else n[i] + i if i else 9",
    "a choice that is not evaluated": "out[0] = n[100000000000] if lo > hi else 4.0",
    "comparisons in a row": "for i in range(lo, hi): out[i] = (0 < n[i] <= i + 3) + 2 * (i != 3 >= n[3])",
    "and, or, not": "for i in range(lo, hi): out[i] = 1 if n[i] > 2 and (i == 4 or not x[i] > 0) else 0",
    "and stops": "out[0] = 1 if hi < lo and n[100000000000] > 0 else 2",
    "floats as conditions": "if x[2]: out[0] = 1\nif not x[1]: out[1] = 1\nwhile n[0] and out[2] < 5: out[2] += 1",
    "ranges": "for i in range(5): out[i] = i\nfor i in range(6, 0, -2): out[i] += i",
    "a step that is computed": (
        "for k in range(1, 3):\n  for i in range(0, 6, k): out[i] += k\nfor i in range(6, 0, -part - 2): out[i] += 7"
    ),
    "ranges that are empty": "for i in range(3, 3): out[i] = 1\nfor i in range(3, 5, -1): out[i] = 1\nout[0] = 4",
    "the variable of a loop stays": "i = 50\nfor i in range(2, 5):\n  out[0] += i\n  i = 9\nout[1] = i",
    "continue and break": (
        "for i in range(lo, hi):\n  if i == 1: continue\n"
        "  for j in range(9):\n    if j > i: break\n    out[i] += j\n  if i == 4: break"
    ),
    "what a branch has computed": (
        "a = n[0]; c = n[2]\nif lo > hi: out[0] = a * c\nelse: out[0] = a - c\nout[1] = a * c + (a - c)\n"
        "out[2] = (a + c if lo > hi else a) + (a + c)\nout[3] = 1 if lo > hi and a / c > 2 else a / c\n"
        "for i in range(hi, lo): out[4] = a ^ c\nout[4] = (a ^ c) + pick(a, c) + pick(a, c)"
    ),
    "what an iteration has computed": (
        "for i in range(lo, hi):\n  a = n[i]; c = a * 2\n  if i > 2:\n    n[i] = 9; c = c + n[i]\n  out[i] = a * 2 + c"
    ),
    "a variable of one branch": "if lo < hi: a = n[0]\nout[0] = a + 1",
    "a variable of both branches": "for k in range(3):\n  if k: a = k\n  else: a = 5\n  out[k] = a + k",
    "while": "k = 0\nwhile k < 4:\n  k += 1\n  if k == 2: continue\n  out[k] = k",
    "statements after a return": "out[0] = 1\nif hi > lo:\n  return 0\n  out[0] = 2\nout[1] = 2",
    "several targets": "a = c = x[1]; out[0] = out[1] = a + c",
    "exchange": "a, c = x[0], n[1]\na, c = c, a\nout[0] = a\nout[1] = c\nn[0], n[1] = n[1], n[0]\nout[2] = n[0]",
    "augmented": "out[0] += 3; out[0] *= x[1]; n[1] -= 2; f[0] /= 3; b[0] += 255; out[1] = n[1] + f[0] + b[0]",
    "functions": "for i in range(lo, hi): out[i] = pick(x[i], f[i]) + pick(n[i], 3)",
    "functions with loops and tuples": "for i in range(lo, hi):\n  a, c = halve(n[i])\n  out[i] = 100 * a + c",
    "closures and globals": "for i in range(lo, hi): out[i] = by_three(x[i]) * SEVEN + HALF + np.pi",
    "built in": "for i in range(lo, hi): out[i] = min(n[i], i, 3) + max(x[i], n[i]) + abs(x[i]) + abs(-n[i])",
    "mathematics": "for i in range(lo, hi): out[i] = math.sqrt(abs(x[i])) + np.exp(f[i]) + np.sign(x[i])",
    "infinities and nan": "out[0] = max(x[0], np.nan); out[1] = -np.inf; out[2] = np.float32(-0.0); out[3] = -1e-320",
    "complex numbers": "z = complex(x[0], s) * 2.0\nout[0] = z.real\nout[1] = np.complex64(z).imag",
    "large constants": "out[0] = 0xFFFFFFFFFFFFFFFF; out[1] = np.uint64(n[0]) * np.uint64(0xFFFFFFFFFFFFFFFF)",
}
# fmt: on


def arrays() -> list[np.ndarray]:
    return [
        np.array([1.5, -2.25, 0.0, 1e300, -7.0, 3.0, 0.5]),
        np.array([3, -4, 5, 0, 17, -1, 6], np.int64),
        np.array([0.1, -0.2, 3.7, 2.5, -6.5, 1.0, 9.0], np.float32),
        np.array([1, 200, 90, 255, 0, 3, 128], np.uint8),
        np.zeros(7),
    ]


def source_of(body: str) -> str:
    return HEAD + "\n".join(f"    {line}" for line in body.splitlines()) + "\n"


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_kernels_mean_what_numba_makes_of_them(body: str, load: Callable[[str], int], driver: Driver) -> None:  # noqa: F811
    source, ours, numbas = source_of(body), arrays(), arrays()
    scale = np.float32(0.1)
    frame = frame_of(driver, [(load(source), 6, 1)], *ours, int(scale.view(np.int32)))
    driver.run(frame)
    njit(error_model="numpy")(kernel_function(source, "kernel"))(*numbas, scale, 0, 6, 0)
    for mine, theirs in zip(ours, numbas, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert not np.array_equal(ours[-1], arrays()[-1])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x[0] = undefined", "NameError: name 'undefined' is not defined\nin kernel: x\\[0\\] = undefined"),
        ("out[0] = later\nlater = 1", "later has no value yet"),
        ("out[0] = n.shape", "no attribute shape"),
        ("a = x\na = 3", r"a is a float64\* and a int64"),
        ("out[0] = x", r"[Cc]annot cast float64\* to float64"),
        ("out[0] = lo[3]", "a int64 has no elements"),
        ("a, c = x[0], n[1], 3", "2 variables for 3 values"),
        ("for i in (1, 2): pass", r"loops are over range\(\)"),
        ("for i in range(0, 3, 0): pass", "the step of a range is 0"),
        ("out[0] = [lo]", "kernels have no List of this form"),
        ("out[0] = max(key=3)", "kernels have no Call of this form"),
        ("out[0] = x[0] @ lo", "kernels have no operator MatMult"),
        ("out[0] @= lo", "kernels have no operator MatMult"),
        ("out[0] = lo in hi", "kernels have no operator In"),
        ("out[0] = np.nothing(lo)", "has no attribute nothing"),
        ("import math", "kernels have no Import of this form"),
        ("raise ValueError", "kernels have no Raise of this form"),
        ("out[0] = 'text'", "kernels have no Constant of this form"),
        ("out[0] = x[0] if lo else x", "a float64 or a float64"),
        ("out[0] = np.float32(1, 2, 3)", "float32"),
        ("out[0] = (lambda a: a)(3)", "only functions are called"),
        ("out[0] = ending(lo)", "ending may end without a result"),
        ("out[0] = spread(lo)", "the parameters of spread must be plain ones"),
    ],
)
def test_what_kernels_have_not_is_an_error(body: str, message: str) -> None:
    more = "@njit\ndef ending(a):\n    if a: return 1\n\n@njit\ndef spread(*a):\n    return a\n\ndef kernel("
    source = source_of(body).replace("def kernel(", more)
    with pytest.raises(BackendError, match=message):
        compile_kernel(source, "kernel", HOST)
