"""Products of 8-bit integers in tile registers: exact for all signs and sizes, and for machines that have them alone.

Machines without them compile the code and do not run it.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import mmap
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from machine import loops_of
from numba import njit
from test_other_targets import launches
from test_passes import TARGET
from test_quads import I32, KINDS, attributes, product, whole

import tgc
import tgc.numpy as tnp
from tgc import nn
from tgc.backends.cpu import target
from tgc.backends.cpu.amx import byte_rows, matrix_tile, tile_config, tile_release
from tgc.backends.cpu.compile import compile_kernel
from tgc.backends.cpu.loader import with_units
from tgc.backends.cpu.pointers import ptr_i8, ptr_i32, ptr_i64, ptr_u8
from tgc.backends.cpu.target import CpuTarget
from tgc.ops import contraction
from tgc.ops.kinds import evaluate
from tgc.passes.tiles import QUAD, row_bytes

AMX = CpuTarget.of(TARGET.triple, TARGET.features | {"amx-tile", "amx-int8", "avx512vnni"}, threads=2)
HOST = CpuTarget.host("native")
here = pytest.mark.skipif(not HOST.tile_registers, reason="this machine has no tile registers")
ROW = 3  # of C beyond the tile


@functools.cache
def kernel(rows: int, vectors: int, levels: int, signed: tuple[bool, bool]) -> Any:
    """Gathers rows of A and multiplies them by B."""
    gather, multiply = byte_rows(levels, signed[0]), matrix_tile(rows, vectors, levels, *signed)
    begin, end = tile_config(rows), tile_release()
    a_pointer, b_pointer = (ptr_i8 if s else ptr_u8 for s in signed)

    @njit(error_model="numpy")
    def run(a, rows_at, a_strides, b, b_strides, extents, block, c, c_row, accumulate):
        begin()
        gather(a_pointer(a), ptr_i64(rows_at), rows, a_strides, extents, a_pointer(block))
        multiply(a_pointer(block), b_pointer(b), b_strides, extents, ptr_i32(c), c_row, accumulate)
        end()

    return run


def at_the_end(x: np.ndarray) -> tuple[np.ndarray, mmap.mmap]:
    """A copy of bytes that end where memory does."""
    pages = -(-x.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, pages + mmap.PAGESIZE)
    place = np.frombuffer(memory, np.uint8)[pages - x.nbytes : pages].view(x.dtype)
    place[:] = x
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    beyond = ctypes.c_void_p(place.ctypes.data + x.nbytes)
    assert protect(beyond, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    return place, memory


def check(
    rows: int, vectors: int, extents: tuple[int, ...], signed: tuple[bool, bool], accumulate: bool,
    contiguous: bool = True, compiled: bool = True,
) -> None:  # fmt: skip
    """Extreme and random bytes, A at random places; nothing behind the operands is read. Sums wrap around."""
    rng = np.random.default_rng([rows, vectors, *extents])
    levels, width, quads = len(extents), 16 * vectors, int(np.prod(extents))
    kinds = [np.int8 if s else np.uint8 for s in signed]
    last = QUAD if contiguous else 7
    a_strides = (*map(int, rng.integers(1, 90, levels - 1)), last)
    b_step = QUAD * (width + 1)
    steps = [sum(k * s for k, s in zip(x, a_strides, strict=True)) for x in itertools.product(*map(range, extents))]
    rows_at = rng.integers(0, 200, rows)
    bytes_of_a, bytes_of_b = max(steps) + int(rows_at.max()) + QUAD, (quads - 1) * b_step + width * QUAD
    sizes = zip(kinds, (bytes_of_a, bytes_of_b), strict=True)
    (a, *_), (b, *_) = held = [
        at_the_end(rng.choice([np.iinfo(k).min, np.iinfo(k).max, 0, 1, 77], size).astype(k)) for k, size in sizes
    ]
    block = np.full(rows * row_bytes(quads) + 128, 99, kinds[0])
    first = -block.ctypes.data % 64
    c = rng.integers(-(2**31), 2**31, (rows, width + ROW)).astype(np.int32)
    want = c.copy()
    quads_of_a = a[rows_at[:, None, None] + np.array(steps)[:, None] + np.arange(QUAD)].astype(np.int64)
    quads_of_b = b[b_step * np.arange(quads)[:, None, None] + QUAD * np.arange(width)[:, None] + np.arange(QUAD)]
    sums = np.einsum("mki,kni->mn", quads_of_a, quads_of_b.astype(np.int64))
    want[:, :width] = (sums + want[:, :width].astype(np.int64) * accumulate).astype(np.int32)
    run = kernel(rows, vectors, levels, signed)
    b_strides = (*(QUAD * b_step for _ in extents[1:]), b_step)
    with np.errstate(over="ignore"):
        (run if compiled else run.py_func)(
            a.ctypes.data, rows_at.ctypes.data, a_strides, b.ctypes.data, b_strides, extents,
            block.ctypes.data + first, c.ctypes.data, width + ROW, accumulate,
        )  # fmt: skip
    del held
    np.testing.assert_array_equal(c, want)


@here
@pytest.mark.parametrize("signed", list(itertools.product((False, True), repeat=2)))
@pytest.mark.parametrize("accumulate", [False, True])
def test_tiles_are_exact(signed: tuple[bool, bool], accumulate: bool) -> None:
    shapes = (1, 1, (1,)), (5, 2, (15,)), (16, 2, (16,)), (17, 1, (2, 17)), (30, 2, (3, 16)), (32, 2, (2, 3, 13))
    for rows, vectors, extents in (*shapes, (32, 2, (100,)), (32, 1, (3, 32))):
        check(rows, vectors, extents, signed, accumulate)
    check(32, 2, (3, 21), signed, accumulate, contiguous=False)


@here
def test_a_sum_of_nothing_is_zero() -> None:
    run, c = kernel(16, 1, 2, (False, True)), np.full((16, 16), 7, np.int32)
    nothing, places = np.zeros(4096, np.uint8), np.zeros(16, np.int64)
    for accumulate in (True, False):
        run(nothing.ctypes.data, places.ctypes.data, (4, 4), nothing.ctypes.data, (64, 64), (3, 0),
            nothing.ctypes.data, c.ctypes.data, 16, accumulate)  # fmt: skip
        np.testing.assert_array_equal(c, np.full((16, 16), 7 * accumulate))


@pytest.mark.skipif(not hasattr(mmap, "MAP_PRIVATE"), reason="memory is protected as POSIX systems do it")
@pytest.mark.parametrize("accumulate", [False, True])
def test_python_form(accumulate: bool) -> None:
    check(3, 1, (2, 3), (True, False), accumulate, compiled=False)
    check(2, 1, (17,), (False, True), accumulate, contiguous=False, compiled=False)


@pytest.mark.parametrize("rows", [0, 33])
def test_impossible_rows_are_refused(rows: int) -> None:
    with pytest.raises(ValueError, match=f"no tile has {rows} rows"):
        tile_config(rows)
    with pytest.raises(ValueError, match=f"no tile has {rows} rows"):
        matrix_tile(rows, 2, 1, False, True)


@pytest.mark.parametrize(("vectors", "levels"), [(0, 1), (3, 1), (2, 0), (2, 4)])
def test_impossible_tiles_are_refused(vectors: int, levels: int) -> None:
    with pytest.raises(ValueError, match=f"no tile has {vectors} vectors, {levels} levels"):
        matrix_tile(32, vectors, levels, False, True)


def test_each_register_that_is_loaded_is_used_twice() -> None:
    made: Any = matrix_tile(32, 2, 2, False, True)
    loop = min((x for x in loops_of(made.micro_kernel.define, "sapphirerapids") if "tdpb" in "".join(x)), key=len)
    assert [sum(name in line for line in loop) for name in ("tileload", "tdpbusd", "tilestore")] == [4, 4, 0]


# --------------------------------------------------------------------------------------------------------- programs


@pytest.mark.parametrize("kinds", KINDS)
def test_a_program_has_its_form(kinds: tuple[Any, Any]) -> None:
    """All signs have an instruction, and operands stay as they are; every part compiles, and gives registers back."""
    low = tgc.jit(product("mk,kn->mn")).lower(whole((40, 64), kinds[0]), whole((64, 96), kinds[1]))
    _, found = launches(low, AMX)  # the right operand is packed first
    lines = [line.strip() for line in found.source.splitlines()]
    assert lines.index("tile_config_32()") < lines.index("for tile in range(lo, hi):") < lines.index("released()")
    assert "byte_tile" not in found.source
    for source, name in with_units([(found.source, found.kernel.name)]):
        assert compile_kernel(source, name, AMX).code


def test_sizes_are_no_part_of_the_code() -> None:
    def sources(m: int, k: int, n: int) -> list[str]:
        low = tgc.jit(product("mk,kn->mn")).lower(whole((m, k), np.uint8), whole((k, n), np.int8))
        return [x.source for x in launches(low, AMX) if "matrix_tile" in x.source]

    assert sources(40, 64, 96) == sources(1000, 256, 512) == sources(17, 4, 32)


@here
@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize(
    ("subscripts", "x", "y"),
    [
        ("mk,kn->mn", (70, 20000), (20000, 40)),
        ("mk,kn->mn", (33, 60), (60, 16)),
        ("mk,kn->mn", (64, 128), (128, 64)),
        ("mk,kn->mn", (48, 1), (1, 17)),
        ("bmij,ibjn->bmn", (3, 20, 5, 12), (5, 3, 12, 37)),
        ("bmij,jibn->bmn", (3, 20, 5, 12), (12, 5, 3, 37)),
    ],
)  # fmt: skip
def test_products_are_exact(subscripts: str, x: tuple[int, ...], y: tuple[int, ...], kinds: Any) -> None:
    """Sums in pieces, single tiles, and what is summed around other axes."""
    a, b = (whole(shape, kind) for shape, kind in zip((x, y), kinds, strict=True))
    want = np.einsum(subscripts, a.astype(I32), b.astype(I32), optimize=True)
    np.testing.assert_array_equal(tgc.jit(product(subscripts))(a, b), want)


@here
@pytest.mark.parametrize("windows", [(2, 2), (3, 1), (1, 2)])
def test_pooled_where_it_is_made(windows: tuple[int, int]) -> None:
    """Tiles of windows of three rows have 30 rows."""
    x, w = whole((2, 13, 14, 20), np.uint8), whole((3, 3, 20, 40), np.int8)

    def pooled(x: Any, w: Any) -> Any:
        return nn.max_pool(contraction.conv(x.astype(I32), tnp.asarray(w).astype(I32), **attributes()), windows)

    want = evaluate(contraction.conv, [x.astype(I32), w.astype(I32)], attributes())
    np.testing.assert_array_equal(tgc.jit(pooled)(x, w), np.asarray(nn.max_pool(want, windows)))


@here
def test_threads_and_forks_have_their_own_registers() -> None:
    f = tgc.jit(product("mk,kn->mn"))
    pairs = [(whole((150, 200), np.uint8), whole((200, 70), np.int8)) for _ in range(8)]
    wanted = [x.astype(I32) @ y.astype(I32) for x, y in pairs]

    def right(k: int) -> bool:
        return all(np.array_equal(f(*pairs[k]), wanted[k]) for _ in range(20))

    assert right(0)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(right, range(8)))
    child = os.fork()
    if not child:
        os._exit(0 if right(1) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert right(2)


# ------------------------------------------------------------------------------------------------------- permission


def test_only_what_the_system_grants_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has tile registers, and a system that refuses them; other features stay."""
    features = dict.fromkeys((*TARGET.features, "amx-tile", "amx-int8", "amx-bf16", "avx512vnni"), True)
    monkeypatch.setattr(target.llvm, "get_host_cpu_features", lambda: features)
    monkeypatch.setattr(target.llvm, "get_process_triple", lambda: TARGET.triple)
    asked: list[bool] = []

    def answer(granted: bool) -> Any:
        def grants() -> bool:
            asked.append(granted)
            return granted

        return grants

    found = {}
    for granted, level in itertools.product((True, False), ("native", "avx512")):
        monkeypatch.setattr(target, "_grants_tiles", answer(granted))
        found[granted, level] = target._host.__wrapped__(1, level)
    assert asked == [True, False]  # who does without them does not ask
    assert [t.byte_products for t in found.values()] == ["amx", "pmaddwd", "vpdpbusd", "pmaddwd"]
    assert found[False, "native"].features == TARGET.features | {"avx512vnni"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux grants tile registers to processes")
def test_the_host_has_them_if_the_process_may_use_them() -> None:
    """The system is asked for the permissions of a process of its own, before and after."""
    code = """
import ctypes
from tgc.backends.cpu.target import CpuTarget
def granted():
    bits = ctypes.c_uint64()
    status = ctypes.CDLL(None).syscall(158, 0x1022, ctypes.byref(bits))  # ARCH_GET_XCOMP_PERM
    return status == 0 and bool(bits.value >> 18 & 1)
print(CpuTarget.host("native").tile_registers, granted())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shown, granted = done.stdout.split()
    assert shown == str(HOST.tile_registers)
    assert shown == "False" or granted == "True"


@here
def test_without_permission_other_tiles_compute_the_same() -> None:
    """Those of AVX512-VNNI, where the machine has it."""
    code = """
from tgc.backends.cpu import target
target._grants_tiles = lambda: False
import test_quads as t
assert target.CpuTarget.host().byte_products != "amx"
for kinds in t.KINDS:
    t.test_products_are_exact("mk,kn->mn", (17, 37), (37, 33), kinds)
    t.test_products_are_exact("bmij,ibjn->bmn", (3, 20, 5, 12), (5, 3, 12, 37), kinds)
    t.test_convolutions_are_exact((2, 9, 10, 8), (3, 3, 8, 16), t.attributes(padding=1), kinds)
    t.test_convolutions_are_exact((1, 17, 19, 3), (7, 7, 3, 20), t.attributes(stride=2, padding=3), kinds)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
