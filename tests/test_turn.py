"""Square blocks of memory transposed in registers, and the maps that use them, against NumPy."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from numba import njit

import tgc
import tgc.numpy as tnp
from tgc.backends.cpu import pointers
from tgc.backends.cpu.turn import turn
from tgc.backends.loops.ir import SQUARE

CODES = [code for code in pointers.SCALARS if not code.startswith("c")]


@functools.cache
def kernel(code: str, lanes: int) -> Any:
    pointer, micro_kernel = getattr(pointers, f"ptr_{code}"), turn(lanes, code)

    @njit
    def run(block, row, source, step):
        micro_kernel(pointer(block), row, pointer(source), step)

    return run


def blocks(code: str, step: int, row: int = SQUARE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An aligned block to fill, of rows so many elements apart, unaligned memory to read, and what must be there."""
    kind = np.dtype(pointers.SCALARS[code][1])
    memory = np.zeros(SQUARE * row + 64, kind)
    at = -memory.ctypes.data % 64 // kind.itemsize
    source = np.arange(1 + SQUARE * step + SQUARE).astype(kind)[1:]
    expected = np.array([[source[r * step + c] for r in range(SQUARE)] for c in range(SQUARE)])
    expected = np.pad(expected, ((0, 0), (0, row - SQUARE)))
    return memory[at : at + SQUARE * row].reshape(SQUARE, row), source, expected


@pytest.mark.parametrize("step", [SQUARE, 23, 0])
@pytest.mark.parametrize("lanes", [2, 4, 8, 16, 64])
@pytest.mark.parametrize("code", CODES)
def test_transposes_a_block(code: str, lanes: int, step: int) -> None:
    for row in (SQUARE, SQUARE + 64):
        block, source, expected = blocks(code, step, row)
        kernel(code, lanes)(block.ctypes.data, row, source.ctypes.data, step)
        np.testing.assert_array_equal(block, expected)


def test_the_python_twin_does_the_same() -> None:
    block, source, expected = blocks("f32", 20)
    turn(16, "f32")(pointers.ptr_f32(block.ctypes.data), SQUARE, pointers.ptr_f32(source.ctypes.data), 20)
    np.testing.assert_array_equal(block, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int32", "bool", "complex64", "float16"])
@pytest.mark.parametrize(
    ("shape", "perm"),
    [((16, 16), (1, 0)), ((300, 420), (1, 0)), ((2, 33, 5, 47), (0, 2, 3, 1)), ((3, 20, 40), (2, 0, 1))],
)
def test_maps_transpose(dtype: str, shape: tuple[int, ...], perm: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    y = np.random.default_rng(1).integers(0, 100, [shape[a] for a in perm]).astype(dtype)
    got = tgc.jit(lambda x, y: (x.transpose(*perm) == y, x.transpose(*perm)))(x, y)
    np.testing.assert_array_equal(got[0], x.transpose(perm) == y)
    np.testing.assert_array_equal(got[1], x.transpose(perm))


def test_a_guarded_operand_is_not_read_outside() -> None:
    x = np.random.default_rng(0).standard_normal((40, 64)).astype("float32")

    def padded(m: Any, x: Any) -> Any:
        return m.pad(x.T, ((0, 0), (0, 24))) * 2

    np.testing.assert_array_equal(tgc.jit(lambda x: padded(tnp, x))(x), padded(np, x))
