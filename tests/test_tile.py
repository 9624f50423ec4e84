"""The contraction micro-kernel against NumPy. Integer-valued data make every sum exact, so results must be equal."""

from __future__ import annotations

import ctypes
import functools
import itertools
import mmap
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from machine import loops_of
from numba import float32, int64, njit
from numba.core.errors import TypingError

from tgc.backends.cpu.pointers import offset, ptr_f32, ptr_f64, ptr_i64, stack
from tgc.backends.cpu.tile import Shape, tile

SENTINEL = -77.0


def named(parameter: object) -> str:
    return parameter.name if isinstance(parameter, Shape) else str(parameter)


@functools.cache
def kernel(shape: Shape) -> Any:
    micro_kernel = tile(shape.rows, shape.vectors, shape.lanes, shape.levels, shape.dtype, shape.masked)
    pointer = {"f32": ptr_f32, "f64": ptr_f64}[shape.dtype]

    @njit(error_model="numpy")
    def run(a, rows_at, a_strides, b, b_strides, extents, c, c_rows, onto, onto_rows, n_valid, add):
        micro_kernel(
            pointer(a), ptr_i64(rows_at), a_strides, pointer(b), b_strides, extents, pointer(c), ptr_i64(c_rows),
            pointer(onto), ptr_i64(onto_rows), n_valid, add, pointer(b), 1 << 40,
        )  # fmt: skip

    return run


def check(
    shape: Shape,
    extents: tuple[int, ...],
    accumulate: bool,
    n_valid: int | None = None,
    run: Callable[..., None] | None = None,
    beside: bool = False,
) -> None:
    """Run one tile on random strides and row offsets, B and C off every alignment, and compare all of C's buffer.

    It adds to what is in C, or to rows `beside` it, whose order is another one and of which one comes twice.
    """
    rng = np.random.default_rng([shape.rows, *extents])
    dtype = {"f32": np.float32, "f64": np.float64}[shape.dtype]
    n_valid = shape.width if n_valid is None else n_valid
    a_strides, b_strides = (tuple(map(int, rng.integers(-3, 40, shape.levels))) for _ in range(2))
    steps = list(itertools.product(*map(range, extents)))
    a_at, b_at = (np.array([np.dot(step, s) for step in steps], np.int64) for s in (a_strides, b_strides))

    margin = 3 * sum(extents) + 1  # negative strides
    a = rng.integers(-4, 5, 2000).astype(dtype)
    b = rng.integers(-4, 5, 2000).astype(dtype)
    rows_at = rng.integers(0, 200, shape.rows)
    c_row = shape.width + 3
    c = rng.integers(-4, 5, shape.rows * c_row + 2).astype(dtype)
    c[1:-1].reshape(shape.rows, c_row)[:, shape.width :] = SENTINEL

    expected = c.copy()
    valid = expected[1:-1].reshape(shape.rows, c_row)[:, : min(n_valid, shape.width) if shape.masked else shape.width]
    sums = a[margin + rows_at[:, None] + a_at] @ b[margin + b_at[:, None] + np.arange(valid.shape[1])]
    c_rows = np.arange(shape.rows) * c_row
    onto, onto_rows = (rng.integers(-4, 5, c.size).astype(dtype), c_rows[::-1] // 2) if beside else (c.copy(), c_rows)
    first = onto[1 + onto_rows[:, None] + np.arange(valid.shape[1])]
    valid[...] = first + sums if accumulate else sums

    (run or kernel(shape))(
        a[margin:].ctypes.data, rows_at.ctypes.data, a_strides, b[margin:].ctypes.data, b_strides, extents,
        c[1:].ctypes.data, c_rows.ctypes.data, (onto if beside else c)[1:].ctypes.data, onto_rows.ctypes.data, n_valid,
        accumulate,
    )  # fmt: skip
    np.testing.assert_array_equal(c, expected)


@pytest.mark.parametrize("masked", [False, True])
def test_sums_are_added_to_other_rows(masked: bool) -> None:
    for accumulate in (False, True):
        check(Shape(6, 2, 4, 1, masked=masked), (5,), accumulate, 7, beside=True)


def test_a_row_may_come_twice_where_sums_are_added_in_place() -> None:
    """As rows past the end do, which repeat the last one: all are read before any is written."""
    a, b, c = (np.ones(n, np.float32) for n in (2, 8, 8))
    rows_at, c_rows = np.zeros(3, np.int64), np.zeros(3, np.int64)
    kernel(Shape(3, 2, 4, 1))(
        a.ctypes.data, rows_at.ctypes.data, (1,), b.ctypes.data, (0,), (2,), c.ctypes.data, c_rows.ctypes.data,
        c.ctypes.data, c_rows.ctypes.data, 8, True,
    )  # fmt: skip
    np.testing.assert_array_equal(c, np.full(8, 3))


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("rows", range(1, 15))
def test_every_row_count_and_level_count(rows: int, levels: int) -> None:
    shape = Shape(rows, 1 + rows % 2, 4, levels)
    for accumulate in (False, True):
        check(shape, (3, 2, 5)[-levels:], accumulate)
        check(shape, (1, 1, 1)[-levels:], accumulate)


@pytest.mark.parametrize(
    "shape", [Shape(6, 4, 16, 2), Shape(8, 3, 16, 1), Shape(6, 2, 8, 2), Shape(8, 3, 4, 3)], ids=named
)
def test_tile_shapes_of_real_targets(shape: Shape) -> None:
    check(shape, (4, 3, 7)[-shape.levels :], accumulate=False)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_zero_extents(levels: int, masked: bool) -> None:
    shape = Shape(2, 2, 4, levels, masked=masked)
    for zero, accumulate in itertools.product(range(levels), (False, True)):
        check(shape, tuple(0 if level == zero else 3 for level in range(levels)), accumulate)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize(("rows", "vectors", "lanes"), [(3, 1, 4), (2, 3, 4), (1, 2, 8), (5, 1, 16)])
def test_masked_leaves_out_the_columns_from_n_valid_on(rows: int, vectors: int, lanes: int, dtype: Any) -> None:
    shape = Shape(rows, vectors, lanes, 1, dtype, masked=True)
    for n_valid, accumulate in itertools.product([*range(shape.width + 2), 2**31, 2**40], (False, True)):
        check(shape, (6,), accumulate, n_valid)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_float64(levels: int) -> None:
    check(Shape(5, 2, 4, levels, "f64"), (2, 3, 4)[-levels:], accumulate=True)


@pytest.mark.skipif(sys.platform == "win32", reason="page protection is set through mprotect")
def test_masked_touches_nothing_beyond_the_valid_columns() -> None:
    """The last valid elements of B and of C are the last of a page, and the pages after them are not accessible."""
    memory = mmap.mmap(-1, 4 * mmap.PAGESIZE)
    b, _, c, _ = pages = np.frombuffer(memory, np.float32).reshape(4, -1)
    mprotect = ctypes.CDLL(None, use_errno=True).mprotect

    def protect(page: int, access: int) -> None:
        done = mprotect(ctypes.c_void_p(pages[page].ctypes.data), ctypes.c_size_t(mmap.PAGESIZE), access)
        assert done == 0, os.strerror(ctypes.get_errno())

    a, rows_at = np.ones(1, np.float32), np.zeros(1, np.int64)
    b[-8:] = np.arange(8)
    try:
        for page in (1, 3):
            protect(page, 0)
        for n_valid, accumulate in itertools.product(range(1, 9), (False, True)):
            c[-n_valid:] = 1
            kernel(Shape(1, 2, 4, 1, masked=True))(
                a.ctypes.data, rows_at.ctypes.data, (1,), b[-n_valid:].ctypes.data, (8,), (1,),
                c[-n_valid:].ctypes.data, rows_at.ctypes.data, c[-n_valid:].ctypes.data, rows_at.ctypes.data, n_valid,
                accumulate,
            )  # fmt: skip
            np.testing.assert_array_equal(c[-n_valid:], b[-n_valid:] + accumulate)
    finally:
        for page in (1, 3):
            protect(page, mmap.PROT_READ | mmap.PROT_WRITE)


def test_nan_and_infinity_propagate() -> None:
    a = np.array([0, np.inf, 1], np.float32)
    b = np.array([[np.nan, np.inf, 1, 2], [0, 1, -1, 3], [5, 6, np.inf, np.nan]], np.float32)
    c, rows_at = np.zeros(4, np.float32), np.zeros(1, np.int64)
    kernel(Shape(1, 1, 4, 1))(
        a.ctypes.data, rows_at.ctypes.data, (1,), b.ctypes.data, (4,), (3,), c.ctypes.data, rows_at.ctypes.data,
        c.ctypes.data, rows_at.ctypes.data, 4, False,
    )  # fmt: skip
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(c, a @ b)


def test_convolution_without_im2col() -> None:
    """3x3 over NHWC, stride 2: rows are output pixels across image rows and images, the last tile's rows clamped."""
    images, height, width, channels, rows, filters = 2, 9, 11, 3, 6, 8
    micro_kernel = tile(rows, 2, 4, 2)
    out_height, out_width = (height - 3) // 2 + 1, (width - 3) // 2 + 1
    pixels = images * out_height * out_width

    @njit
    def convolve(x, w, y):
        source, weights, result = ptr_f32(x), ptr_f32(w), ptr_f32(y)
        rows_at, y_rows, scratch = stack(6, int64), stack(6, int64), stack(48, float32)
        for m in range(rows):
            y_rows[m] = m * filters
        for first in range(0, pixels, rows):
            for m in range(rows):
                pixel = min(first + m, pixels - 1)
                image, place = pixel // (out_height * out_width), pixel % (out_height * out_width)
                rows_at[m] = ((image * height + place // out_width * 2) * width + place % out_width * 2) * channels
            last = first + rows > pixels
            micro_kernel(
                source, rows_at, (width * channels, 1), weights, (3 * channels * filters, filters), (3, 3 * channels),
                scratch if last else offset(result, first * filters), y_rows, result, y_rows, filters, False,
                weights, 0,
            )  # fmt: skip
            if last:
                for i in range((pixels - first) * filters):
                    result[first * filters + i] = scratch[i]

    rng = np.random.default_rng(0)
    x = rng.integers(-4, 5, (images, height, width, channels)).astype(np.float32)
    w = rng.integers(-4, 5, (3, 3, channels, filters)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))[:, ::2, ::2]
    expected = np.einsum("nhwcij,ijco->nhwo", windows, w)
    for run in (convolve, convolve.py_func):
        y = np.full(expected.shape, SENTINEL, np.float32)
        run(x.ctypes.data, w.ctypes.data, y.ctypes.data)
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize(
    "shape",
    [Shape(3, 1, 4, 1), Shape(2, 2, 4, 2, "f64"), Shape(1, 1, 4, 3), Shape(2, 2, 4, 2, masked=True)],
    ids=named,
)  # fmt: skip
def test_python_form(shape: Shape) -> None:
    run = kernel(shape).py_func
    for accumulate in (False, True):
        check(shape, (2, 3, 4)[-shape.levels :], accumulate, 5, run)
        check(shape, (2, 0, 4)[-shape.levels :] if shape.levels > 1 else (0,), accumulate, 3, run)


def test_python_form_with_compilation_off() -> None:
    """The same checks in a process where numba compiles nothing."""
    code = """
import numba
assert numba.config.DISABLE_JIT
import test_tile as t
assert t.kernel(t.Shape(1, 1, 4, 1)).__class__.__name__ == "function"
t.check(t.Shape(3, 2, 4, 2, masked=True), (2, 3), True, 5)
t.check(t.Shape(2, 1, 4, 3, "f64"), (2, 3, 2), False)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_names_and_identity() -> None:
    assert tile(14, 2, 16, 2).__name__ == "tile_14x32_k2"
    assert tile(6, 4, 8, 3, "f64", True).__name__ == "tile_6x32_k3_f64_masked"
    assert tile(14, 2, 16, 2) is tile(14, 2, 16, 2)


@pytest.mark.parametrize(
    "change", [{"rows": 0}, {"vectors": 0}, {"lanes": -4}, {"levels": 0}, {"levels": 4}, {"dtype": "f16"}], ids=str
)
def test_impossible_shapes_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no tile has Shape"):
        replace(Shape(1, 1, 4, 1), **change)


def test_wrong_arguments_are_named() -> None:
    micro_kernel = tile(2, 1, 4, 2)

    @njit
    def wrong_table(p):
        q = ptr_f32(p)
        micro_kernel(q, q, (1, 2), q, (1, 2), (1, 2), q, ptr_i64(p), q, ptr_i64(p), 4, False, q, 0)

    @njit
    def wrong_levels(p):
        q = ptr_f32(p)
        micro_kernel(q, ptr_i64(p), (1, 2), q, (1,), (1, 2), q, ptr_i64(p), q, ptr_i64(p), 4, False, q, 0)

    with pytest.raises(TypingError, match=r"tile_2x4_k2: rows_at must be int64\*, not float32\*"):
        wrong_table(0)
    with pytest.raises(TypingError, match=r"tile_2x4_k2: b_strides must be UniTuple\(int64 x 2\)"):
        wrong_levels(0)


def test_calls_of_one_tile_share_its_code() -> None:
    micro_kernel = tile(2, 1, 4, 1)

    @njit
    def twice(p, n):
        q, rows = ptr_f32(p), ptr_i64(p)
        micro_kernel(q, rows, (1,), q, (4,), (n,), q, rows, q, rows, 4, False, q, 0)
        micro_kernel(q, rows, (n,), q, (8,), (3,), q, rows, q, rows, 4, True, q, 0)

    twice.compile((int64, int64))
    (text,) = twice.inspect_llvm().values()
    assert len(re.findall(r"^define internal .*@tile_2x4_k1", text, re.MULTILINE)) == 1


REGISTER_TILES = [
    *itertools.product(
        ["x86-64-v4", "sapphirerapids", "znver4"],
        [Shape(14, 2, 16, 2), Shape(12, 2, 16, 1), Shape(8, 3, 16, 3, masked=True), Shape(6, 4, 16, 2, masked=True)],
    ),
    *itertools.product(["x86-64-v3", "znver2"], [Shape(6, 2, 8, 2), Shape(4, 2, 8, 2, masked=True)]),
]


@pytest.mark.parametrize(("cpu", "shape"), REGISTER_TILES, ids=named)
def test_accumulators_stay_in_registers(cpu: str, shape: Shape) -> None:
    """The k loop of the recommended tiles holds its multiply-adds and not one move of a vector to or from the stack."""
    made = tile(shape.rows, shape.vectors, shape.lanes, shape.levels, shape.dtype, shape.masked)
    loops = loops_of(made.micro_kernel.define, cpu)
    inner = min(loops, key=len)
    assert sum("vfmadd" in line for line in inner) == shape.rows * shape.vectors
    assert [line for line in inner if re.search(r"\(%r[sb]p\).*[xyz]mm|[xyz]mm.*\(%rsp\)", line)] == []
