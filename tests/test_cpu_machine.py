"""The machine-code half of the CPU backend: targets, compiled kernels, their cache and loader, the launch loop."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tgc.backends.cpu import compile as compiler
from tgc.backends.cpu import compile_many
from tgc.backends.cpu import loader as loading
from tgc.backends.cpu.driver import ASLEEP, BRANCH, COPY, HELPERS, LOAD, SET, SWAP, Driver, Frame, Int64s
from tgc.backends.cpu.loader import Loader, load_kernels
from tgc.backends.cpu.target import X86_LEVELS, CpuTarget, thread_count
from tgc.errors import BackendError
from tgc.runtime.cache import CacheWarning, KernelCache

HOST = CpuTarget.host()
V3 = X86_LEVELS["x86-64-v2"] | X86_LEVELS["x86-64-v3"]
V4 = V3 | X86_LEVELS["x86-64-v4"]
LINUX = "x86_64-unknown-linux-gnu"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> KernelCache:
    return KernelCache(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="module")
def loader() -> Loader:
    return Loader()


@pytest.fixture(scope="module")
def load(cache: KernelCache, loader: Loader) -> Callable[[str], int]:
    """The address of the one kernel, named `kernel`, of a source."""
    return lambda source: load_kernels([(textwrap.dedent(source), "kernel")], HOST, cache, loader)[0]


@pytest.fixture(scope="module")
def driver(cache: KernelCache, loader: Loader) -> Driver:
    """A driver of three threads, however many the machine has."""
    return Driver(dataclasses.replace(HOST, threads=3), cache, loader)


ALIVE: list[object] = []


def frame_of(driver: Driver, launches: list[tuple[int, int, int]], *arguments: object) -> Frame:
    """A frame of launches (kernel, tiles, parts) that all get the same arguments: arrays, kept alive, or numbers."""
    buffers = [a for a in arguments if isinstance(a, np.ndarray)]
    ALIVE.extend(buffers)
    bases = np.array([0, *(a.ctypes.data for a in buffers)], np.int64)
    pairs, number = [], 0
    for argument in arguments:
        number += isinstance(argument, np.ndarray)
        pairs.append((number, 0) if isinstance(argument, np.ndarray) else (0, argument))
    table = np.array(pairs, np.int64).reshape(-1, 2)
    rows = [(address, 0, tiles, parts, len(pairs)) for address, tiles, parts in launches]
    return driver.frame(np.array(rows, np.int64).reshape(-1, 5), table, bases)


# --- targets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("triple", "features", "bits", "registers", "cpu"),
    [
        (LINUX, V4, 512, 32, "x86-64-v4"),
        (LINUX, V4 - {"avx512vl"}, 256, 16, "x86-64-v3"),
        (LINUX, V3, 256, 16, "x86-64-v3"),
        (LINUX, X86_LEVELS["x86-64-v2"], 128, 16, "x86-64-v2"),
        (LINUX, frozenset({"avx2", "avx", "fma"}), 256, 16, "x86-64"),
        (LINUX, frozenset(), 128, 16, "x86-64"),
        ("aarch64-unknown-linux-gnu", frozenset({"neon"}), 128, 32, "generic"),
        ("arm64-apple-darwin23", frozenset(), 128, 32, "generic"),
    ],
)
def test_registers_follow_from_features(
    triple: str, features: frozenset[str], bits: int, registers: int, cpu: str
) -> None:
    target = CpuTarget.of(triple, features)
    assert (target.vector_bits, target.vector_registers, target.cpu) == (bits, registers, cpu)
    assert [target.lanes(dtype) for dtype in ("i1", np.float32, "float64")] == [bits // 8, bits // 32, bits // 64]


def test_the_key_is_of_what_code_depends_on() -> None:
    target = CpuTarget.of(LINUX, V4, threads=2)
    same = CpuTarget.of(LINUX, frozenset(sorted(V4, reverse=True)), threads=8, l1_bytes=1, l2_bytes=2)
    others = [
        CpuTarget.of(LINUX, V3),
        CpuTarget.of(LINUX, V4 | {"amx-tile"}),
        dataclasses.replace(target, vector_bits=256),
        CpuTarget.of("x86_64-apple-darwin", V4),
    ]
    assert same.key == target.key
    assert len({target.key, *(other.key for other in others)}) == 5


def test_the_host_is_what_it_says() -> None:
    assert HOST is CpuTarget.host()
    assert HOST.vector_bits in (128, 256, 512)
    assert HOST.threads >= 1
    assert 1 << 12 <= HOST.l1_bytes <= HOST.l2_bytes


def test_threads_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGC_NUM_THREADS", "5")
    assert (thread_count(), CpuTarget.host().threads) == (5, 5)
    for wrong in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("TGC_NUM_THREADS", wrong)
        with pytest.raises(BackendError, match=f"TGC_NUM_THREADS must be a positive integer, not '{wrong}'"):
            CpuTarget.host()


# --- kernels ---------------------------------------------------------------------------------------------------------


def test_every_kind_of_parameter_arrives(driver: Driver, load: Callable[[str], int]) -> None:
    codes = {code: getattr(np, name) for code, name in ARRAYS.items()}
    names = [f"p_{code}" for code in codes]
    parameters = [f"p_{code}: {code}[:], s_{code}: {code}" for code in codes]
    body = "\n".join(f"    p_{code}[lo] = s_{code}; p_{code}[hi] = part" for code in codes)
    kernel = load(f"def kernel({', '.join(parameters)}, lo, hi, part):\n{body}")
    values = {code: dtype(-7.25) if code[0] == "f" else np.array(-3).astype(dtype) for code, dtype in codes.items()}
    arrays = [np.zeros(8, dtype) for dtype in codes.values()]
    arguments: list[object] = []
    for array, value in zip(arrays, values.values(), strict=True):
        bits = np.zeros(8, np.uint8)
        bits[: array.itemsize] = np.atleast_1d(value).view(np.uint8)
        arguments += [array, int(bits.view(np.int64)[0])]
    assert driver.run(frame_of(driver, [(kernel, 6, 2)], *arguments)) == 0
    for name, array, value in zip(names, arrays, values.values(), strict=True):
        assert array[0] == value, name
        assert array[3] in (0, value), name  # the end of part 0, and the beginning of part 1
        assert array[6] == 1, name


ARRAYS = {
    "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64", "u8": "uint8", "u16": "uint16", "u32": "uint32",
    "u64": "uint64", "f32": "float32", "f64": "float64",
}  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("pass", 0),
        ("return 0", 0),
        ("return lo + 41", 41),
        ("return x[0] == 1", 1),
        ("for i in range(0, 3, lo): x[0] = i", compiler.RAISED),
    ],
)
def test_kernels_return_a_status(driver: Driver, load: Callable[[str], int], body: str, status: int) -> None:
    kernel = load(f"def kernel(x: i64[:], lo, hi, part):\n    {body}")
    frame = frame_of(driver, [(kernel, 1, 1)], np.ones(1, np.int64))
    assert driver.run(frame) == (1 if status else 0)
    assert frame.failure == status


def test_arithmetic_is_that_of_numpy(driver: Driver, load: Callable[[str], int]) -> None:
    kernel = load("""
        import numpy as np
        def kernel(x: f32[:], n: i32[:], out: f32[:], whole: i32[:], lo, hi, part):
            for i in range(lo, hi):
                out[i] = x[i] / np.float32(0)
                whole[i] = n[i] + n[i]
        """)
    x = np.array([1, -1, 0, np.nan, np.inf], np.float32)
    n = np.array([2**31 - 1, -(2**31), 5, 0, 1], np.int32)
    out, whole = np.zeros_like(x), np.zeros_like(n)
    assert driver.run(frame_of(driver, [(kernel, 5, 1)], x, n, out, whole)) == 0
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(out, x / np.float32(0))
        np.testing.assert_array_equal(whole, n + n)


MANY = """
import numpy as np

def kernel({parameters}, lo, hi, part):
    for i in range(lo, hi):
        p0[i] = {sum} * np.float32(0.5)
        p1[i] = {sum} - np.float32(3)
""".format(
    parameters=", ".join(f"p{k}: f32[:]" for k in range(12)),
    sum=" + ".join(f"p{k}[i]" for k in range(2, 12)),
)


def test_loops_over_twelve_buffers_are_vectorized_without_checks() -> None:
    text = compiler.kernel_llvm(MANY, "kernel", HOST)
    definition = next(line for line in text.splitlines() if line.startswith("define internal"))
    assert len(re.findall(r"ptr noalias[^,]* %arg\.p\d+", definition)) == 12
    assert f"<{HOST.lanes('float32')} x float>" in text
    assert "vector.body" in text
    assert "memcheck" not in text


@pytest.mark.parametrize(("features", "register"), [(V4, "zmm"), (V3, "ymm"), (frozenset(), "xmm")])
def test_code_uses_the_whole_vector_register(features: frozenset[str], register: str) -> None:
    if not HOST.triple.startswith("x86_64"):
        pytest.skip("names registers of x86-64")
    assembly = compiler.kernel_assembly(MANY, "kernel", CpuTarget.of(HOST.triple, features))
    widest = max(re.findall(r"%([xyz])mm\d+", assembly))
    assert f"{widest}mm" == register


def test_compiling_is_deterministic() -> None:
    first = compiler.compile_kernel(MANY, "kernel", HOST)
    assert compiler.compile_kernel(MANY, "kernel", HOST) == first
    assert compiler.compile_kernel(MANY + "\n", "kernel", HOST).symbol != first.symbol
    assert first.symbol.startswith("kernel_")
    assert first.symbol.encode() in first.code


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def other(lo, hi, part): pass", "kernel kernel defines no function of that name"),
        ("kernel = 3", "defines no function"),
        ("def kernel(:", "kernel is not Python: invalid syntax"),
        ("def kernel(x: f32[:], lo, hi): pass", r"must end its parameters with lo, hi, part, not \('x', 'lo', 'hi'\)"),
        ("def kernel(x, lo, hi, part): pass", "parameter x of kernel kernel is annotated ''"),
        ("def kernel(x: f32[2], lo, hi, part): pass", r"annotated 'f32\[2\]', not as one of i8"),
        ("def kernel(lo, hi, part): return 1.5", "kernel kernel_.* returns a float64"),
        ("def kernel(x: f32[:], lo, hi, part):\n    x[lo] = [lo]", "kernel kernel does not compile"),
        ("def kernel(lo, hi, part):\n    return lo + undefined", "NameError: name 'undefined'"),
    ],
)
def test_what_is_no_kernel_is_an_error(source: str, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        compiler.compile_kernel(source, "kernel", HOST)


def test_errors_show_the_source() -> None:
    source = "def kernel(x: f32[:], lo, hi, part):\n    for i in range(lo, hi):\n        x[i] = lo.real.nothing\n"
    with pytest.raises(BackendError, match=r"x\[i\] = lo\.real\.nothing"):
        compiler.compile_kernel(source, "kernel", HOST)


def test_kernels_run_as_python_too() -> None:
    source = "def kernel(x: f32[:], lo, hi, part):\n    for i in range(lo, hi):\n        x[i] = 1 // (2 - i)  # here\n"
    kernel = compiler.kernel_function(source, "kernel")
    x = np.zeros(4)
    kernel(x, 0, 2, 0)
    assert x.tolist() == [0, 1, 0, 0]
    with pytest.raises(ZeroDivisionError) as caught:
        kernel(x, 2, 4, 0)
    assert "x[i] = 1 // (2 - i)  # here" in "".join(traceback.format_tb(caught.tb))


# --- many kernels ----------------------------------------------------------------------------------------------------

SEVERAL = [(f"def kernel(x: i64[:], lo, hi, part):\n    x[lo] = {k}", "kernel") for k in range(9)]
forks = pytest.mark.skipif(sys.platform != "linux", reason="kernels are compiled by forks on Linux only")


@forks
def test_forks_compile_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGC_COMPILE_PROCESSES", "1")
    alone = compile_many.compile_kernels(SEVERAL, HOST)
    monkeypatch.setenv("TGC_COMPILE_PROCESSES", "3")
    own = []

    def compile_here(*arguments: Any) -> compiler.KernelObject:
        own.append(arguments)
        return compiler.compile_kernel(*arguments)

    def let_them_finish(*arguments: Any) -> list[tuple[int, int]]:
        workers = fork_workers(*arguments)
        for process, _ in workers:
            os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        return workers

    fork_workers = compile_many._fork_workers
    monkeypatch.setattr(compile_many, "compile_kernel", compile_here)
    monkeypatch.setattr(compile_many, "_fork_workers", let_them_finish)
    assert compile_many.compile_kernels(SEVERAL, HOST) == alone
    assert len(own) == 1  # the first, before the forks
    assert [result.symbol for result in alone] == [loading.kernel_symbol(*kernel, HOST) for kernel in SEVERAL]


def leave(*arguments: object) -> None:
    os._exit(3)


def hang(*arguments: object) -> None:
    time.sleep(600)


def die_halfway(jobs: int, results: int, *arguments: object) -> None:
    os.read(jobs, 8)  # a kernel that this fork takes and never delivers
    os.write(results, struct.pack("<qq", 3, 1000) + b"the beginning of the code")
    os.kill(os.getpid(), signal.SIGKILL)


@forks
@pytest.mark.parametrize("work", [leave, hang, die_halfway])
def test_what_a_fork_does_not_deliver_is_compiled_here(
    monkeypatch: pytest.MonkeyPatch, work: Callable[..., None]
) -> None:
    monkeypatch.setenv("TGC_COMPILE_PROCESSES", "3")
    monkeypatch.setattr(compile_many, "PATIENCE", 0.2)
    monkeypatch.setattr(compile_many, "_work", work)
    results = compile_many.compile_kernels(SEVERAL, HOST)
    assert results == [compiler.compile_kernel(*kernel, HOST) for kernel in SEVERAL]


def test_an_error_in_a_fork_is_raised_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGC_COMPILE_PROCESSES", "3")
    kernels = [*SEVERAL, ("def kernel(lo, hi, part):\n    return 1.5", "kernel"), *SEVERAL]
    with pytest.raises(BackendError, match="returns a float64"):
        compile_many.compile_kernels(kernels, HOST)


def test_the_number_of_processes_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGC_COMPILE_PROCESSES", "0")
    with pytest.raises(BackendError, match="TGC_COMPILE_PROCESSES must be a positive integer, not '0'"):
        compile_many.compile_kernels(SEVERAL, HOST)


# --- cache and loader ------------------------------------------------------------------------------------------------

FILL = """
import numpy as np

def kernel(x: f32[:], lo, hi, part):
    for i in range(lo, hi):
        x[i] = np.float32({})
"""


def test_kernels_are_compiled_once(tmp_path: Path, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = [(FILL.format(k), "kernel") for k in (1, 2, 1)]
    cache = KernelCache(tmp_path)
    first, second, third = load_kernels(kernels, HOST, cache, Loader())
    assert first == third != second
    assert len(list(cache.entries())) == 2
    monkeypatch.setattr(compile_many, "compile_kernels", None)
    again = load_kernels(kernels, HOST, KernelCache(tmp_path), Loader())
    x = np.zeros(7, np.float32)
    assert driver.run(frame_of(driver, [(again[1], 7, 2)], x)) == 0
    assert (x == 2).all()


def test_damaged_code_is_compiled_anew(tmp_path: Path, driver: Driver) -> None:
    cache = KernelCache(tmp_path)
    load_kernels([(FILL.format(5), "kernel")], HOST, cache, Loader())
    [path] = cache.entries()
    data = path.read_bytes()
    for damaged in (data[:-100], data[:300] + bytes([data[300] ^ 16]) + data[301:], b""):
        path.write_bytes(damaged)
        with pytest.warns(CacheWarning, match="is damaged and will be rebuilt"):
            [kernel] = load_kernels([(FILL.format(5), "kernel")], HOST, cache, loader := Loader())
        x = np.zeros(3, np.float32)
        assert driver.run(frame_of(driver, [(kernel, 3, 1)], x)) == 0
        assert (x == 5).all()
        assert path.read_bytes() == data
        del loader


def test_the_key_covers_what_a_kernel_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "tgc" / "backends" / "cpu"
    package.mkdir(parents=True)
    texts = {
        "compile": "from tgc.errors import BackendError\nimport tgc.backends.cpu.base\n",
        "base": "",
        "used": "from tgc.backends.cpu import (\n    deep as d,\n    used,\n)\n",
        "deep": "X = 1\n",
        "apart": "X = 1\n",
    }
    for name, text in texts.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.setattr(loading, "_ROOT", tmp_path)
    loading._text_key.cache_clear()
    source = "from tgc.backends.cpu.used import f\ndef kernel(lo, hi, part): pass\n"

    def key(source: str = source, name: str = "kernel", target: CpuTarget = HOST) -> str:
        loading._text_key.cache_clear()
        return loading.kernel_key(source, name, target)

    keys = [key(), key(source + "\n"), key(name="other"), key(target=CpuTarget.of(LINUX, frozenset()))]
    for name in ("used", "deep", "compile", "base"):
        (package / f"{name}.py").write_text(texts[name] + "# changed\n")
        keys.append(key())
    assert len(set(keys)) == len(keys)
    (package / "apart.py").write_text("X = 2\n")
    assert key() == keys[-1]
    loading._text_key.cache_clear()


def test_a_symbol_is_loaded_once(loader: Loader) -> None:
    results = compile_many.compile_kernels([(FILL.format(k), "kernel") for k in (10, 11, 12)], HOST)
    objects = {result.symbol: result.code for result in results}
    first, *rest = objects
    address = loader.load({first: objects[first]})[first]
    found: list[dict[str, int]] = []
    threads = [threading.Thread(target=lambda: found.append(loader.load(objects))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [found[0]] * 8
    assert found[0][first] == address
    assert len(set(found[0].values())) == 3 == len(rest) + 1


def test_code_that_does_not_link_is_an_error(loader: Loader) -> None:
    source = """
        from numba import types
        absent = types.ExternalFunction("tgc_no_such_function", types.int64(types.int64))
        def kernel(lo, hi, part):
            return absent(lo)
        """
    with pytest.raises(BackendError, match=r"code of kernel_.* calls tgc_no_such_function, which this process lacks"):
        compiler.compile_kernel(textwrap.dedent(source), "kernel", HOST)
    code = compiler.compile_kernel(FILL.format(20), "kernel", HOST).code
    with pytest.raises(BackendError, match="cannot link the machine code of other"):
        loader.load({"other": code})
    with pytest.raises(BackendError, match="cannot link the machine code of cut"):
        loader.load({"cut": code[: len(code) // 2]})


def test_a_warm_process_needs_no_numba(cache: KernelCache, driver: Driver, load: Callable[[str], int]) -> None:
    load(FILL.format(30))
    run_script(f"""
        cache = KernelCache(Path({str(cache.root)!r}))
        driver = Driver(dataclasses.replace(HOST, threads=2), cache, loader := Loader())
        [kernel] = load_kernels([({FILL.format(30)!r}, "kernel")], HOST, cache, loader)
        x = np.zeros(100, np.float32)
        assert driver.run(frame_of(driver, [(kernel, 100, 2)], x)) == 0
        assert (x == 30).all()
        assert "numba" not in sys.modules
        """)


def run_script(body: str) -> None:
    """Run Python code in a process of its own, with the imports and `frame_of` of this file."""
    prelude = """
        import dataclasses, os, sys, threading, time
        from pathlib import Path
        import numpy as np
        from tgc.backends.cpu.driver import Driver
        from tgc.backends.cpu.loader import Loader, load_kernels
        from tgc.backends.cpu.target import CpuTarget
        from tgc.runtime.cache import KernelCache
        HOST = CpuTarget.host()
        """
    source = Path(__file__).read_text(encoding="utf-8")
    frames = source[source.index("ALIVE: list") : source.index("# --- targets")]
    script = "from __future__ import annotations\n" + textwrap.dedent(prelude) + frames + textwrap.dedent(body)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert not result.stderr


# --- launches --------------------------------------------------------------------------------------------------------

COUNT = """
def kernel(count: i64[:], part_of: i64[:], lo, hi, part):
    for i in range(lo, hi):
        count[i] += 1
        part_of[i] = part
"""


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 64, 4096])
def test_every_tile_is_run_once(driver: Driver, load: Callable[[str], int], parts: int) -> None:
    kernel = load(COUNT)
    for tiles in (1, 2, 3, 5, 7, 8, 31, 64, 101, 1023, 1025, 4099):
        count, part_of = np.zeros(tiles + 1, np.int64), np.full(tiles, -1, np.int64)
        assert driver.run(frame_of(driver, [(kernel, tiles, parts)], count, part_of)) == 0
        assert (count[:-1] == 1).all()
        assert count[-1] == 0
        used = min(parts, tiles)
        expected = np.repeat(np.arange(used), np.diff([p * tiles // used for p in range(used + 1)]))
        np.testing.assert_array_equal(part_of, expected)


def test_a_launch_without_tiles_is_passed_over(driver: Driver, load: Callable[[str], int]) -> None:
    kernel = load("def kernel(lo, hi, part): return 1")
    assert driver.run(frame_of(driver, [(kernel, 0, 4)] * 3)) == 0
    assert driver.run(frame_of(driver, [])) == 0


def test_arguments_are_bases_and_offsets(driver: Driver, load: Callable[[str], int]) -> None:
    kernel = load("def kernel(x: i32[:], n: i64, y: i32[:], lo, hi, part):\n    x[0] = y[0] + n")
    buffer = np.arange(10, dtype=np.int32)
    bases = np.array([0, buffer.ctypes.data, buffer.ctypes.data + 16], np.int64)
    arguments = np.array([(0, 1 << 40), (1, 8), (0, -100), (2, 4)], np.int64)
    frame = driver.frame(np.array([[kernel, 1, 1, 1, 3]], np.int64), arguments, bases)
    assert driver.run(frame) == 0
    assert buffer.tolist() == [0, 1, 5 - 100, *range(3, 10)]
    other = np.full(10, 7, np.int32)
    bases[1:] = other.ctypes.data, other.ctypes.data + 16  # bases are read at each run
    assert driver.run(frame) == 0
    assert other[2] == 7 - 100


def test_launches_run_in_order_and_in_ranges(driver: Driver, load: Callable[[str], int]) -> None:
    append = load("def kernel(n: i64[:], log: i64[:], value: i64, lo, hi, part):\n    log[n[0]] = value; n[0] += 1")
    n, log = np.zeros(1, np.int64), np.zeros(32, np.int64)
    bases = np.array([0, n.ctypes.data, log.ctypes.data], np.int64)
    arguments = np.array([row for k in range(10) for row in ((1, 0), (2, 0), (0, k))], np.int64)
    launches = np.array([(append, 3 * k, 1, 1, 3) for k in range(10)], np.int64)
    frame = driver.frame(launches, arguments, bases)
    for ranges, expected in (
        ([()], range(10)),
        ([(0, 4), (4, 4), (4, None)], range(10)),
        ([(7, 9), (2, 3)], [7, 8, 2]),
    ):
        n[0] = 0
        assert [driver.run(frame, *r) for r in ranges] == [0] * len(ranges)
        assert log[: n[0]].tolist() == list(expected)


@pytest.mark.parametrize("parts", [1, 6])
def test_a_failure_ends_the_run(driver: Driver, load: Callable[[str], int], parts: int) -> None:
    count = load(COUNT)
    fail = load("def kernel(x: i64[:], y: i64[:], lo, hi, part):\n    if lo <= 4 < hi: return 70\n    return part * 10")
    counts, parts_of = np.zeros(6, np.int64), np.zeros(6, np.int64)
    frame = frame_of(driver, [(count, 6, 1), (count, 6, parts), (fail, 6, parts), (count, 6, 1)], counts, parts_of)
    for _ in range(3):
        counts[:] = 0
        assert driver.run(frame) == 3
        assert frame.failure == 70
        assert (counts == 2).all()


def test_scratch_of_parts_does_not_overlap(driver: Driver, load: Callable[[str], int]) -> None:
    """A reduction in two launches, by way of one partial sum per part: bitwise the same, whoever runs the parts."""
    partial = load("""
        def kernel(x: f32[:], sums: f32[:], out: f32[:], parts: i64, lo, hi, part):
            s = x[0] - x[0]
            for i in range(lo * 64, hi * 64):
                s += x[i]
            sums[part] = s
        """)
    finish = load("""
        def kernel(x: f32[:], sums: f32[:], out: f32[:], parts: i64, lo, hi, part):
            s = x[0] - x[0]
            for p in range(parts):
                s += sums[p]
            out[0] = s
        """)
    x = np.random.default_rng(0).standard_normal(64 * 500, np.float32)
    sums, out = np.zeros(5, np.float32), np.zeros(1, np.float32)
    frame = frame_of(driver, [(partial, 500, 5), (finish, 1, 1)], x, sums, out, 5)
    results = set()
    for _ in range(200):
        assert driver.run(frame) == 0
        results.add(out.tobytes())
    assert len(results) == 1
    np.testing.assert_allclose(out[0], x.sum(dtype=np.float64), rtol=1e-4)


MEET = """
from tgc.backends.cpu.driver import YIELD
from tgc.backends.cpu.launch import address_of, call_yield, load, store

def kernel(flags: i64[:], team: i64, lo, hi, part):
    flag = address_of(flags)
    store(flag, part, 1)
    for turn in range(1 << 24):
        if load(flag, 1 - part) == 1:
            return 0
        call_yield(load(team, YIELD))
    return 1
"""


def meet(driver: Driver, kernel: int) -> int:
    """Run two parts that wait for each other: 0 if two threads ran them at the same time."""
    return driver.run(frame_of(driver, [(kernel, 2, 2)], np.zeros(2, np.int64), driver._team.address))


def test_parts_run_at_the_same_time(driver: Driver, load: Callable[[str], int]) -> None:
    kernel = load(MEET)
    for _ in range(20):
        assert meet(driver, kernel) == 0


def test_sleeping_helpers_are_woken(driver: Driver, load: Callable[[str], int]) -> None:
    kernel = load(MEET)
    for _ in range(3):
        assert meet(driver, kernel) == 0
        while not driver._team._words[HELPERS + ASLEEP]:
            time.sleep(0.001)
    assert meet(driver, kernel) == 0


def test_other_python_threads_go_on(driver: Driver, load: Callable[[str], int]) -> None:
    kernel = load(MEET)
    flags = np.zeros(2, np.int64)

    def answer() -> None:
        while not flags[0]:
            time.sleep(0.001)
        flags[1] = 1

    thread = threading.Thread(target=answer)
    thread.start()
    assert driver.run(frame_of(driver, [(kernel, 1, 1)], flags, driver._team.address)) == 0
    thread.join()


def test_threads_run_frames_at_once(driver: Driver, load: Callable[[str], int]) -> None:
    kernel = load("""
        def kernel(x: i64[:], n: i64, step: i64, lo, hi, part):
            for i in range(lo * n, hi * n):
                x[i] += step
        """)
    wrong: list[object] = []

    def work(step: int) -> None:
        x = np.zeros(3000, np.int64)
        frame = frame_of(driver, [(kernel, 300, 3), (kernel, 300, 1), (kernel, 300, 7)], x, 10, step)
        for run in range(1, 400):
            if driver.run(frame) != 0 or not (x == 3 * step * run).all():
                wrong.append((step, run, x))
                return

    threads = [threading.Thread(target=work, args=(step,)) for step in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_one_thread_starts_none(cache: KernelCache, loader: Loader, load: Callable[[str], int]) -> None:
    before = threading.active_count()
    single = Driver(dataclasses.replace(HOST, threads=1), cache, loader)
    count, part_of = np.zeros(99, np.int64), np.zeros(99, np.int64)
    for _ in range(5):
        assert single.run(frame_of(single, [(load(COUNT), 99, 8)], count, part_of)) == 0
    assert (count == 5).all()
    assert part_of.max() == 7
    assert threading.active_count() == before


def test_the_helpers_end_with_their_driver(cache: KernelCache, loader: Loader, load: Callable[[str], int]) -> None:
    other = Driver(dataclasses.replace(HOST, threads=4), cache, loader)
    assert meet(other, load(MEET)) == 0
    members = list(other._team._members)
    assert [member.is_alive() for member in members] == [True] * 3
    del other
    for member in members:
        member.join(10)
    assert not any(member.is_alive() for member in members)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_has_threads_of_its_own(cache: KernelCache, driver: Driver, load: Callable[[str], int]) -> None:
    load(MEET)
    load(COUNT)
    run_script(f"""
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on fork with threads: what this is about
        MEET, COUNT = {MEET!r}, {COUNT!r}
        cache = KernelCache(Path({str(cache.root)!r}))
        driver = Driver(dataclasses.replace(HOST, threads=3), cache, loader := Loader())
        meet, count = load_kernels([(MEET, "kernel"), (COUNT, "kernel")], HOST, cache, loader)
        flags, counts, part_of = np.zeros(2, np.int64), np.zeros(1001, np.int64), np.zeros(1001, np.int64)
        meeting = frame_of(driver, [(meet, 2, 2)], flags, driver._team.address)
        counting = frame_of(driver, [(count, 1001, 3)] * 50, counts, part_of)

        def check():
            for _ in range(5):
                flags[:] = counts[:] = 0
                assert driver.run(counting) == 0 and (counts == 50).all()
                assert driver.run(meeting) == 0
                time.sleep(0.005)

        def in_child(sleep):
            time.sleep(sleep)  # forks while the helpers sleep, and while they wait for work
            pid = os.fork()
            if pid == 0:
                check()
                sys.stdout.flush()
                os._exit(7 if threading.active_count() == 3 else 8)
            return pid

        check()
        busy = True
        def others():  # another thread leads launches while this one forks
            mine = frame_of(driver, [(count, 1001, 3)] * 50, np.zeros(1001, np.int64), np.zeros(1001, np.int64))
            while busy:
                assert driver.run(mine) == 0
        thread = threading.Thread(target=others)
        thread.start()
        children = [in_child(sleep) for sleep in (0, 0.01, 0, 0)]
        busy = False
        thread.join()
        check()
        children += [in_child(sleep) for sleep in (0, 0.05)]
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [7] * 6
        check()
        """)


# --- steering --------------------------------------------------------------------------------------------------------


def test_rows_between_launches_make_loops_and_branches(driver: Driver, load: Callable[[str], int]) -> None:
    """Adds the numbers of a table up to the first negative one, its pointer moved on, two sums exchanged each time."""
    accumulate = load("def kernel(x: i64[:], old: i64[:], new: i64[:], lo, hi, part):\n    new[0] = old[0] + x[0]")
    table = np.array([3, 1, 4, 1, 5, -9, 2], np.int64)
    sums, small = np.zeros(2, np.int64), np.array([-3, 0, 0, 0, 0, 0, 0, 0], np.int8)
    data = [a.ctypes.data for a in (table, sums, small)]
    arguments = np.array([(4, 0), (5, 0), (6, 0), (3, 1), (1, 0), (3, 0), (3, 0)], np.int64)
    launches = [
        (SET, 4, 1, 0, 0),  # a word that moves over the table
        (SET, 5, 2, 0, 0),  # two sums, of which each step reads one and writes the other
        (SET, 6, 2, 8, 0),
        (LOAD, 7, 0, 8, 0),  # row 3: until the number is negative
        (BRANCH, 7, 0, 9, 0),
        (accumulate, 0, 1, 1, 3),
        (SWAP, 5, 6, 0, 0),
        (SET, 4, 4, 8, 0),
        (BRANCH, 0, 1, 3, 0),
        (COPY, 3, 7, 0, 0),  # row 9: the first bytes of the table, behind the first of the small numbers
        (LOAD, 8, 5, 1, 0),
        (LOAD, 9, 6, 4, 0),
    ]
    bases = np.array([0, *data, *[0] * 6], np.int64)
    frame = driver.frame(np.array(launches, np.int64), arguments, bases)
    for _ in range(2):
        sums[:] = 0
        assert driver.run(frame) == 0
        assert bases[5] == data[1] + 8  # five exchanges
        assert max(sums) == 14
        assert small.tolist() == [-3, 3, 0, 0, 0, 0, 0, 0]
        assert bases[7] == -9
        assert bases[8] == -3
        assert bases[9] == np.array([-3, 3, 0, 0], np.int8).view(np.int32)[0]


def test_a_launch_of_a_loop_that_fails_is_named(driver: Driver, load: Callable[[str], int]) -> None:
    kernel = load("def kernel(n: i64[:], lo, hi, part):\n    n[0] += 1\n    return 7 if n[0] == 5 else 0")
    n = np.zeros(1, np.int64)
    rows = [(SET, 2, 2, 1, 0), (kernel, 0, 1, 1, 1), (BRANCH, 2, 100, 0, 0)]
    bases = np.array([0, n.ctypes.data, 0], np.int64)
    frame = driver.frame(np.array(rows, np.int64), np.array([(1, 0)], np.int64), bases)
    assert driver.run(frame) == 2
    assert (frame.failure, int(n[0])) == (7, 5)


def test_a_parallel_launch_runs_again_with_new_arguments(driver: Driver, load: Callable[[str], int]) -> None:
    """Helpers of one run of a row never see the arguments of the next."""
    kernel = load("def kernel(x: i64[:], lo, hi, part):\n    for i in range(lo, hi): x[i] += 1")
    steps, parts = 2000, 6
    x = np.zeros((steps, 8 * parts), np.int64)
    rows = [
        (SET, 2, 1, 0, 0),
        (SET, 3, 0, 0, 0),
        (kernel, 0, 8 * parts, parts, 1),
        (SET, 2, 2, x.strides[0], 0),
        (SET, 3, 3, 1, 0),
        (BRANCH, 3, steps, 2, 0),
    ]
    bases = np.array([0, x.ctypes.data, 0, 0], np.int64)
    frame = driver.frame(np.array(rows, np.int64), np.array([(2, 0)], np.int64), bases)
    for turn in range(1, 6):
        assert driver.run(frame) == 0
        np.testing.assert_array_equal(x, turn)


BASES, ARGUMENTS = np.array([0, 64], np.int64), np.array([[0, 5], [1, 0]], np.int64)


@pytest.mark.parametrize(
    ("launches", "arguments", "bases", "message"),
    [
        (np.zeros((1, 4), np.int64), ARGUMENTS, BASES, r"launches must be int64 with rows of shape \(5,\)"),
        (np.zeros((1, 5), np.int32), ARGUMENTS, BASES, "launches must be int64"),
        (np.zeros((2, 10), np.int64)[:, ::2], ARGUMENTS, BASES, "launches must be contiguous"),
        ([(64, 0, 1, 1, 0), (0, 0, 1, 1, 0)], ARGUMENTS, BASES, "an address of a kernel is 0, in row 1"),
        ([(64, 3, 1, 1, 0)], ARGUMENTS, BASES, "an index of a first argument is 3, in row 0: .* at most 2"),
        ([(64, 0, -1, 1, 0)], ARGUMENTS, BASES, "a number of tiles is -1"),
        ([(64, 0, 1, 0, 0)], ARGUMENTS, BASES, "a number of parts is 0"),
        ([(64, 0, 1, 4097, 0)], ARGUMENTS, BASES, "a number of parts is 4097, in row 0: .* at most 4096"),
        ([(64, 1, 1, 1, 2)], ARGUMENTS, BASES, "an end of arguments is 3, in row 0: .* at most 2"),
        ([(64, 0, 1, 1, 0)], np.array([[0, 5], [2, 0]]), BASES, "a base is 2, in row 1"),
        ([(SET, 0, 0, 0, 0)], ARGUMENTS, BASES, "a word is 0, in row 0"),
        ([(64, 0, 1, 1, 0), (SET, 1, 2, 0, 0)], ARGUMENTS, BASES, "a base is 2, in row 1"),
        ([(SWAP, 1, 2, 0, 0)], ARGUMENTS, BASES, "a word is 2, in row 0"),
        ([(COPY, 1, 8, 0, 0)], ARGUMENTS, BASES, "an index of two arguments is 1, in row 0"),
        ([(COPY, 0, -8, 0, 0)], ARGUMENTS, BASES, "a number of bytes is -8"),
        ([(LOAD, 1, 2, 8, 0)], ARGUMENTS, BASES, "an argument is 2, in row 0"),
        ([(BRANCH, 1, 2, 2, 0)], ARGUMENTS, BASES, "a row is 2, in row 0: .* at most 1"),
        ([(64, 0, 1, 1, 0)], ARGUMENTS, np.array([64, 64]), r"bases\[0\] is 64"),
        ([(64, 0, 1, 1, 0)], ARGUMENTS, np.array([[0, 64]]), "bases must be int64"),
    ],
)
def test_tables_are_checked(driver: Driver, launches: object, arguments: Int64s, bases: Int64s, message: str) -> None:
    table = launches if isinstance(launches, np.ndarray) else np.array(launches, np.int64)
    with pytest.raises(BackendError, match=message):
        driver.frame(table, arguments, bases)
