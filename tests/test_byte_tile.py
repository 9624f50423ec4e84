"""The micro-kernel of 8-bit integers against NumPy: exact, for all signs, in all forms that this machine runs."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pytest
from machine import loops_of
from numba import njit

from tgc.backends.cpu.byte_tile import ByteShape, byte_tile
from tgc.backends.cpu.pointers import ptr_i8, ptr_i32, ptr_i64, ptr_u8
from tgc.backends.cpu.target import CpuTarget

HOST = CpuTarget.host("native")
WITHOUT_TILES = CpuTarget.of(HOST.triple, HOST.features - {"amx-int8"})
SIGNS = list(itertools.product((False, True), repeat=2))
ROW = 3  # of C beyond the tile


@functools.cache
def kernel(rows: int, vectors: int, lanes: int, levels: int, signed: tuple[bool, bool], by: Any) -> Any:
    micro_kernel = byte_tile(rows, vectors, lanes, levels, *signed, by)
    a_pointer, b_pointer = (ptr_i8 if s else ptr_u8 for s in signed)

    @njit(error_model="numpy")
    def run(a, rows_at, a_strides, b, b_strides, extents, c, c_rows, accumulate):
        micro_kernel(
            a_pointer(a), ptr_i64(rows_at), a_strides, b_pointer(b), b_strides, extents, ptr_i32(c), ptr_i64(c_rows),
            ptr_i32(c), ptr_i64(c_rows), 0, accumulate, b_pointer(b), 1 << 40,
        )  # fmt: skip

    return run


def check(
    rows: int, vectors: int, lanes: int, levels: int, signed: tuple[bool, bool], by: str, accumulate: bool,
    compiled: bool = True,
) -> None:  # fmt: skip
    """Extreme and random bytes at random places, A off every alignment; sums that overflow wrap around."""
    rng = np.random.default_rng([rows, vectors, lanes, levels])
    extents = (2, 3, 5)[-levels:]
    width = vectors * lanes
    kinds = [np.int8 if s else np.uint8 for s in signed]
    a_strides = tuple(map(int, rng.integers(1, 40, levels)))
    b_strides = tuple(int(n) * 4 for n in rng.integers(1, 20, levels))
    a, b = (rng.choice([np.iinfo(k).min, np.iinfo(k).max, 0, 1, 77], 2000).astype(k) for k in kinds)
    rows_at = rng.integers(0, 200, rows)
    c = rng.integers(-(2**31), 2**31, (rows, width + ROW)).astype(np.int32)
    want = c.copy()
    steps = [tuple(map(int, k)) for k in itertools.product(*map(range, extents))]
    a_at, b_at = (np.array([np.dot(k, s) for k in steps]) for s in (a_strides, b_strides))
    quads_of_a = a[rows_at[:, None, None] + a_at[:, None] + np.arange(4)].astype(np.int64)
    quads_of_b = b[b_at[:, None, None] + 4 * np.arange(width)[:, None] + np.arange(4)].astype(np.int64)
    sums = np.einsum("mki,kni->mn", quads_of_a, quads_of_b)
    want[:, :width] = (sums + want[:, :width].astype(np.int64) * accumulate).astype(np.int32)
    run = kernel(rows, vectors, lanes, levels, signed, by)
    c_rows = np.arange(rows) * (width + ROW)
    arguments = rows_at.ctypes.data, a_strides, b.ctypes.data, b_strides, extents, c.ctypes.data, c_rows.ctypes.data
    with np.errstate(over="ignore"):
        (run if compiled else run.py_func)(a.ctypes.data, *arguments, accumulate)
    np.testing.assert_array_equal(c, want)


FORMS = ["mul"]
FORMS += ["pmaddwd"] if HOST.triple.startswith("x86_64") else []
FORMS += ["vpdpbusd"] if WITHOUT_TILES.byte_products == "vpdpbusd" else []


CASES = [(by, signed) for by in FORMS for signed in SIGNS if by != "vpdpbusd" or signed[0] != signed[1]]


@pytest.mark.parametrize(("by", "signed"), CASES)
@pytest.mark.parametrize("accumulate", [False, True])
def test_sums_are_exact(by: str, signed: tuple[bool, bool], accumulate: bool) -> None:
    for rows, vectors, levels in ((1, 1, 1), (3, 2, 2), (6, 4, 3), (8, 3, 1)):
        check(rows, vectors, HOST.lanes(np.int32), levels, signed, by, accumulate)


@pytest.mark.parametrize("signed", SIGNS)
def test_python_form(signed: tuple[bool, bool]) -> None:
    for accumulate in (False, True):
        check(2, 1, 4, 2, signed, "mul", accumulate, compiled=False)


@pytest.mark.parametrize(
    "shape", [{"rows": 0}, {"levels": 4}, {"masked": True}, {"by": "vpdpbusd", "signed": (True, True)}], ids=str
)
def test_impossible_shapes_are_refused(shape: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no tile has ByteShape"):
        ByteShape(**{"rows": 1, "vectors": 1, "lanes": 4, "levels": 1, "dtype": "i32", **shape})


def test_names() -> None:
    assert byte_tile(6, 4, 16, 2, False, True, "vpdpbusd").__name__ == "tile_6x64_k2_u8i8"


@pytest.mark.parametrize(("rows", "vectors"), [(6, 4), (8, 3), (8, 2)])
def test_accumulators_stay_in_registers(rows: int, vectors: int) -> None:
    """The k loop has one instruction for the products of each vector, and no vector goes to the stack."""
    made: Any = byte_tile(rows, vectors, 16, 2, False, True, "vpdpbusd")
    inner = min(loops_of(made.micro_kernel.define, "znver4"), key=len)
    assert sum("vpdpbusd" in line for line in inner) == rows * vectors
    assert not any("zmm" in line and "(%rsp)" in line for line in inner)
