"""The micro-kernel of sums of windows against NumPy. Integer-valued data make every sum exact."""

from __future__ import annotations

import ctypes
import functools
import itertools
import mmap
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from machine import loops_of
from numba import njit
from numba.core.errors import TypingError
from test_tile import SENTINEL, named

from tgc.backends.cpu.pointers import ptr_f32, ptr_f64
from tgc.backends.cpu.window_tile import WindowShape, window_tile


def made(shape: WindowShape) -> Any:
    steps = (shape.taps, shape.row_step, shape.tap_step, shape.left, shape.right)
    return window_tile(shape.rows, shape.vectors, shape.lanes, shape.levels, *steps, shape.dtype, shape.masked)


@functools.cache
def kernel(shape: WindowShape) -> Any:
    micro_kernel = made(shape)
    pointer = {"f32": ptr_f32, "f64": ptr_f64}[shape.dtype]

    @njit(error_model="numpy")
    def run(a, unit, a_strides, b, b_strides, extents, c, c_row, n_valid, accumulate):
        micro_kernel(
            pointer(a), unit, a_strides, pointer(b), b_strides, extents, pointer(c), c_row, n_valid, accumulate
        )

    return run


def check(
    shape: WindowShape,
    extents: tuple[int, ...],
    accumulate: bool,
    n_valid: int | None = None,
    run: Callable[..., None] | None = None,
) -> None:
    """Run one tile on random strides, no operand aligned, and compare all of C's buffer."""
    rng = np.random.default_rng([shape.rows, shape.taps, *(abs(n) for n in extents)])
    dtype, n_valid = {"f32": np.float32, "f64": np.float64}[shape.dtype], shape.width if n_valid is None else n_valid
    valid = min(n_valid, shape.width) if shape.masked else shape.width
    unit = shape.width + 1
    a_strides = (*map(int, rng.integers(0, 300, shape.levels - 1)), -(10**6))  # the last one is ignored
    b_strides = tuple(map(int, rng.integers(0, 50, shape.levels)))
    steps = list(itertools.product(*(range(max(0, n)) for n in extents)))
    a_at = [sum(i * s for i, s in zip(k, (*a_strides[:-1], shape.tap_step * unit), strict=True)) for k in steps]
    b_at = [int(np.dot(k, b_strides)) for k in steps]
    rows = [m * shape.row_step * unit for m in range(shape.rows)]
    a = rng.integers(-4, 5, max([0, *a_at]) + rows[-1] + shape.width + 1).astype(dtype)
    beyond = [m * shape.row_step + k[-1] * shape.tap_step not in shape.inside for m in range(shape.rows) for k in steps]
    b = rng.integers(-4, 5, max([0, *b_at]) + shape.width + 1).astype(dtype)
    c_row = shape.width + 3
    c = rng.integers(-4, 5, shape.rows * c_row + 2).astype(dtype)
    c[1:-1].reshape(shape.rows, c_row)[:, shape.width :] = SENTINEL

    expected = c.copy()
    inside = expected[1:-1].reshape(shape.rows, c_row)[:, :valid]
    sums = np.zeros((shape.rows, valid), dtype)
    for (m, (i, j)), left_out in zip(
        itertools.product(range(shape.rows), zip(a_at, b_at, strict=True)), beyond, strict=True
    ):
        sums[m] += 0 if (shape.left or shape.right) and left_out else a[1 + rows[m] + i :][:valid] * b[1 + j :][:valid]
    inside[...] = inside + sums if accumulate else sums

    (run or kernel(shape))(
        a[1:].ctypes.data, unit, a_strides, b[1:].ctypes.data, b_strides, extents, c[1:].ctypes.data, c_row, n_valid,
        accumulate,
    )  # fmt: skip
    np.testing.assert_array_equal(c, expected)


@pytest.mark.parametrize(
    "shape",
    [
        WindowShape(12, 2, 4, 2, taps=3),
        WindowShape(5, 1, 4, 3, taps=3, row_step=2),
        WindowShape(3, 4, 4, 1, taps=4, tap_step=2),
        WindowShape(4, 2, 4, 2, "f64", taps=2, row_step=3, tap_step=2),
        WindowShape(1, 2, 8, 2, taps=1),
    ],
    ids=named,
)
def test_sums_of_windows(shape: WindowShape) -> None:
    """Whole groups of taps, some over, and fewer than a group."""
    for taps, accumulate in itertools.product((1, shape.taps, 2 * shape.taps + 1), (False, True)):
        check(shape, (2, 3, taps)[-shape.levels :], accumulate)


@pytest.mark.parametrize(
    "shape",
    [
        WindowShape(6, 2, 4, 2, taps=5, left=2, right=2),
        WindowShape(4, 1, 4, 3, taps=3, row_step=2, left=1),
        WindowShape(3, 1, 4, 1, "f64", taps=4, tap_step=2, right=3),
        WindowShape(1, 2, 4, 2, taps=3, left=2, right=1),  # nothing is left
        WindowShape(3, 2, 4, 2, masked=True, taps=3, left=1, right=1),
    ],
    ids=named,
)
def test_ends_of_lines(shape: WindowShape) -> None:
    for accumulate in (False, True):
        check(shape, (2, 3, shape.taps)[-shape.levels :], accumulate, 5)
        check(shape, (2, 3, shape.taps)[-shape.levels :], accumulate, 5, kernel(shape).py_func)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_extents_of_zero_and_less(levels: int) -> None:
    shape = WindowShape(2, 1, 4, levels, taps=2)
    for place, size, accumulate in itertools.product(range(levels), (0, -2), (False, True)):
        check(shape, tuple(size if place == level else 3 for level in range(levels)), accumulate)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_masked_leaves_out_the_columns_from_n_valid_on(dtype: Any) -> None:
    shape = WindowShape(3, 2, 4, 1, dtype, masked=True, taps=2)
    for n_valid, accumulate in itertools.product([*range(shape.width + 2), 2**40], (False, True)):
        check(shape, (5,), accumulate, n_valid)


@pytest.mark.skipif(sys.platform == "win32", reason="page protection is set through mprotect")
def test_masked_touches_nothing_beyond_the_valid_columns() -> None:
    """The last valid elements of A, B and C are the last of a page, and the pages after them are not accessible."""
    memory = mmap.mmap(-1, 6 * mmap.PAGESIZE)
    a, _, b, _, c, _ = pages = np.frombuffer(memory, np.float32).reshape(6, -1)
    mprotect = ctypes.CDLL(None, use_errno=True).mprotect

    def protect(access: int) -> None:
        for page in (1, 3, 5):
            done = mprotect(ctypes.c_void_p(pages[page].ctypes.data), ctypes.c_size_t(mmap.PAGESIZE), access)
            assert done == 0, os.strerror(ctypes.get_errno())

    a[-8:], b[-8:] = 2, np.arange(8)
    protect(0)
    try:
        for n_valid, accumulate in itertools.product(range(1, 9), (False, True)):
            c[-n_valid:] = 1
            kernel(WindowShape(1, 2, 4, 1, masked=True))(
                a[-n_valid:].ctypes.data, 8, (1,), b[-n_valid:].ctypes.data, (8,), (1,), c[-n_valid:].ctypes.data, 8,
                n_valid, accumulate,
            )  # fmt: skip
            np.testing.assert_array_equal(c[-n_valid:], 2 * b[-n_valid:] + accumulate)
    finally:
        protect(mmap.PROT_READ | mmap.PROT_WRITE)


def test_python_form() -> None:
    for shape in (WindowShape(3, 1, 4, 2, taps=2, row_step=2), WindowShape(2, 2, 4, 1, "f64", masked=True, taps=3)):
        for accumulate in (False, True):
            check(shape, (2, 5)[-shape.levels :], accumulate, 5, kernel(shape).py_func)


def test_names_and_refusals() -> None:
    assert window_tile(12, 2, 16, 2, 3).__name__ == "window_tile_12x32_k2_3_1_1"
    assert window_tile(12, 2, 16, 2, 3) is window_tile(12, 2, 16, 2, 3)
    assert window_tile(12, 2, 16, 2, 3, left=1).__name__ == "window_tile_12x32_k2_3_1_1_1_0"
    for wrong in ({"taps": 0}, {"row_step": 0}, {"tap_step": -1}, {"left": -1}):
        with pytest.raises(ValueError, match="no tile has WindowShape"):
            WindowShape(1, 1, 4, 1, **wrong)

    @njit
    def wrong_unit(p):
        q = ptr_f32(p)
        micro_kernel(q, q, (1,), q, (1,), (1,), q, 4, 4, False)

    micro_kernel = window_tile(2, 1, 4, 1, 1)
    with pytest.raises(TypingError, match=r"window_tile_2x4_k1_1_1_1: unit must be int64, not float32\*"):
        wrong_unit(0)


REGISTER_TILES = [  # forward with stride 1 and 2, the gradient by the filter
    ("x86-64-v4", WindowShape(12, 2, 16, 2, taps=3)),
    ("znver4", WindowShape(10, 2, 16, 2, taps=3, row_step=2)),
    ("x86-64-v4", WindowShape(3, 4, 16, 1, taps=4)),
    ("x86-64-v3", WindowShape(12, 1, 8, 2, taps=3)),
    ("x86-64-v3", WindowShape(3, 2, 8, 1, taps=4)),
]


@pytest.mark.parametrize(("cpu", "shape"), REGISTER_TILES, ids=named)
def test_accumulators_stay_in_registers_and_loads_are_shared(cpu: str, shape: WindowShape) -> None:
    """The loop over taps moves no vector to or from the stack, and reads no vector of A twice."""
    loops = loops_of(made(shape).micro_kernel.define, cpu)
    products = shape.rows * shape.vectors * shape.taps
    (inner,) = (loop for loop in loops if sum("vfmadd" in line for line in loop) == products)
    assert [line for line in inner if re.search(r"\(%r[sb]p\).*[xyz]mm|[xyz]mm.*\(%rsp\)", line)] == []
    places = {m * shape.row_step + t * shape.tap_step for m in range(shape.rows) for t in range(shape.taps)}
    loads = sum(bool(re.search(r"\(%\w+.*\).*[xyz]mm", line)) for line in inner)
    assert loads == shape.vectors * (len(places) + shape.taps)
