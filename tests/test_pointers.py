"""Typed pointers, pointer arithmetic and stack buffers: compiled, and the same functions called from Python."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import float32, int64, njit, uint8
from numba.core.errors import TypingError

from tgc.backends.cpu import pointers
from tgc.backends.cpu.pointers import SCALARS, offset, prefetch, prefetch_to_write, ptr_f32, ptr_i64, stack

DTYPES = {code: np.dtype(str(scalar)) for code, (scalar, _) in SCALARS.items()}


@njit
def sums(address, n, total):
    """total[i] = sum of the first i+1 elements, kept in a stack buffer on the way."""
    source, result, running = ptr_f32(address), ptr_f32(total), stack(16, float32)
    for i in range(n):
        running[i] = source[i] + (running[i - 1] if i else 0)
    for i in range(n):
        offset(result, i)[0] = offset(running, n)[i - n]


@njit
def alignment_and_growth(n):
    """Bits of the addresses of three buffers below 64, and the bytes between those of two iterations."""
    low, first, moved = 0, 0, 0
    for i in range(n):
        table, scratch, byte = stack(3, int64), stack(5, float32), stack(1, uint8)
        table[0] = i
        scratch[0] = table[0]
        byte[0] = int(scratch[0])
        here = pointers_as_integers(table, scratch, byte)
        low |= here[0] | here[1] | here[2]
        first = here[0] if i == 0 else first
        moved |= here[0] ^ first
    return low & 63, moved


def _addresses_rule(*given: Any) -> tuple[Any, Callable[..., Any]]:
    from numba import types

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integers = [builder.ptrtoint(p, context.get_value_type(types.int64)) for p in arguments]
        return context.make_tuple(builder, signature.return_type, integers)

    return types.UniTuple(types.int64, len(given))(*given), codegen


@pointers.device(_addresses_rule)
def pointers_as_integers(p: Any, q: Any, r: Any) -> Any:
    return tuple(pointer.address for pointer in (p, q, r))


FORMS = {"compiled": lambda kernel: kernel, "python": lambda kernel: kernel.py_func}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("code", SCALARS)
def test_every_element_type(code: str, form: str) -> None:
    constructor = getattr(pointers, f"ptr_{code}")
    assert constructor.__name__ == f"ptr_{code}"

    @njit
    def reverse(source, target, n):
        p, q = constructor(source), offset(constructor(target), n)
        for i in range(n):
            q[-1 - i] = p[i]

    dtype = DTYPES[code]
    limits = np.finfo(dtype) if dtype.kind in "fc" else np.iinfo(dtype)
    x = np.array([limits.min, limits.max, 0, 1, 77], dtype)
    y = np.zeros_like(x)
    FORMS[form](reverse)(x.ctypes.data, y.ctypes.data, len(x))
    np.testing.assert_array_equal(y, x[::-1])


@pytest.mark.parametrize("form", FORMS)
def test_stack_buffer_and_offset(form: str) -> None:
    x, y = np.arange(1, 13, dtype=np.float32), np.zeros(12, np.float32)
    FORMS[form](sums)(x.ctypes.data, len(x), y.ctypes.data)
    np.testing.assert_array_equal(y, np.cumsum(x))


@pytest.mark.parametrize("form", FORMS)
def test_any_place_can_be_asked_for(form: str) -> None:
    @njit
    def asked(address, n):
        p = ptr_f32(address)
        for i in range(-n, n):
            prefetch(offset(p, i << 32))
            prefetch_to_write(offset(p, i << 32))
        return p[0]

    x = np.array([3], np.float32)
    assert FORMS[form](asked)(x.ctypes.data, 4) == 3
    assert x == 3


def test_stack_buffers_are_aligned_and_do_not_grow_in_loops() -> None:
    assert alignment_and_growth(100) == (0, 0)
    assert alignment_and_growth.py_func(100)[0] == 0


@pytest.mark.parametrize("n", [1, 7, 64])
def test_python_stack_buffer_outlives_its_first_name(n: int) -> None:
    p = offset(offset(stack(n, float32), n), -n)
    for i in range(n):
        p[i] = i
    filler = [stack(n, float32) for _ in range(100)]  # would reuse the memory if it were free
    for q in filler:
        q[0] = -1.0
    assert [p[i] for i in range(n)] == list(range(n))


def test_offset_counts_elements_from_any_address() -> None:
    assert offset(ptr_i64(0), 3).address == 24


def test_stack_size_must_be_constant() -> None:
    @njit
    def dynamic(n):
        return stack(n, float32)[0]

    with pytest.raises(TypingError, match="needs a compile-time constant and a numba scalar type, not int64"):
        dynamic(3)


def test_pointers_leave_nothing_but_loads_and_stores() -> None:
    @njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
    def increment(address):
        p = offset(ptr_f32(address), 2)
        p[1] += 1

    increment.compile((int64,))
    (text,) = increment.inspect_llvm().values()
    assert len(re.findall(r"\bload float\b", text)) == len(re.findall(r"\bstore float\b", text)) == 1
    assert " call " not in text


def test_with_compilation_off() -> None:
    """The kernels of this file in a process where numba compiles nothing."""
    code = """
import numpy as np, numba
assert numba.config.DISABLE_JIT
from tests import test_pointers as t
assert t.sums.__class__.__name__ == "function"
x, y = np.arange(1, 13, dtype=np.float32), np.zeros(12, np.float32)
t.sums(x.ctypes.data, 12, y.ctypes.data)
np.testing.assert_array_equal(y, np.cumsum(x))
assert t.alignment_and_growth(5)[0] == 0
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
