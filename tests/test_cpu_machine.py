"""What becomes machine code: targets, compiled kernels, their cache and loader."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import signal
import struct
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from machine import HOST, frame_of, run_script

import tgc.numpy as tnp
from tgc.backends.cpu import compile as compiler
from tgc.backends.cpu import compile_many, workers
from tgc.backends.cpu import loader as loading
from tgc.backends.cpu import target as machines
from tgc.backends.cpu.backend import CpuBackend
from tgc.backends.cpu.driver import Driver, launch_loop
from tgc.backends.cpu.loader import Loader, load_kernels
from tgc.backends.cpu.lowering_rules import RAISED
from tgc.backends.cpu.target import X86_LEVELS, CpuTarget, l3_is_near, thread_count
from tgc.errors import BackendError
from tgc.runtime.cache import CacheWarning, KernelCache
from tgc.runtime.registry import get_backend
from tgc.trace import trace
from tgc.types import tensor_type

V3 = X86_LEVELS["x86-64-v2"] | X86_LEVELS["x86-64-v3"]
V4 = V3 | X86_LEVELS["x86-64-v4"]
LINUX = "x86_64-unknown-linux-gnu"


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


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("processor\t: 0\nvendor_id\t: GenuineIntel\nmodel\t\t: 167\n\nprocessor\t: 1\n", False),
        ("processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: made by GenuineIntel\n", True),
        ("processor\t: 0\nCPU implementer\t: 0x41\n", True),
        (None, True),  # no such file
    ],
)
def test_the_vendor_tells_how_far_the_third_level_cache_is(
    text: str | None, near: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "_CPUINFO", tmp_path / "cpuinfo")
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    assert l3_is_near() is near


@pytest.mark.parametrize(
    ("name", "bits", "registers"), [("native", 512, 32), ("avx512", 512, 32), ("avx2", 256, 16), ("baseline", 128, 16)]
)
def test_a_target_can_be_restricted(name: str, bits: int, registers: int) -> None:
    machine = CpuTarget.of(LINUX, V4 | {"amx-bf16"}, 2, near_l3=False, l2_bytes=1 << 20)
    target = machine.restricted(name)
    assert (target.vector_bits, target.vector_registers, target.threads) == (bits, registers, 2)
    assert (target.l2_bytes, target.near_l3) == (1 << 20, False)
    assert (target == machine) == (name == "native")


@pytest.mark.parametrize(
    ("triple", "features", "name", "message"),
    [
        (LINUX, V4, "avx1024", "must be one of native, avx512, avx2, baseline, not 'avx1024'"),
        (LINUX, V3, "avx512", "target avx512: this machine, x86_64-unknown-linux-gnu, lacks avx512bw, avx512cd"),
        ("aarch64-unknown-linux-gnu", frozenset({"neon"}), "baseline", "lacks x86-64 instructions"),
    ],
)
def test_what_a_machine_lacks_is_no_restriction(triple: str, features: frozenset[str], name: str, message: str) -> None:
    with pytest.raises(BackendError, match=re.escape(message)):
        CpuTarget.of(triple, features).restricted(name)


@pytest.mark.skipif(not HOST.triple.startswith("x86_64"), reason="x86-64 alone has levels")
def test_the_environment_restricts_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGC_TARGET", "baseline")
    assert CpuTarget.host().vector_bits == 128
    monkeypatch.delenv("TGC_TARGET")
    whole = CpuTarget.host()
    monkeypatch.setenv("TGC_TARGET", "")
    assert CpuTarget.host() == whole


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
        ("for i in range(0, 3, lo): x[0] = i", RAISED),
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


STEPS = """
from tgc.backends.cpu.vmath import exp_f32
def kernel(x: f32[:], y: f32[:], n: i64, lo, hi, part):
    for i in range(lo, hi):
        for j in range(n):
            y[i * n + j] = x[(i + 1) * n + j] + {}(x[(i + 2) * n + 2 * j])
"""


def test_strength_reduction_is_left_out_of_plain_loops_with_avx512() -> None:
    def is_left_out(call: str, target: CpuTarget) -> bool:
        lowered = compiler._lower(STEPS.format(call), "kernel", target)
        module, machine = compiler._optimize(lowered, target), compiler._target_machine(target)
        before = machine.emit_assembly(module)
        found = compiler.kernel_assembly(STEPS.format(call), "kernel", target)
        assert machine.emit_assembly(module) == before
        return found != before

    wide, narrow = (CpuTarget.of(LINUX, features) for features in (V4, V3))
    assert is_left_out("", wide)
    assert not is_left_out("exp_f32", wide)
    assert not is_left_out("", narrow)


def test_threads_leave_out_no_strength_reduction_of_each_other() -> None:
    target = CpuTarget.of(LINUX, V4)
    plain, dense = (compiler._lower(STEPS.format(call), "kernel", target) for call in ("", "exp_f32"))
    want, found = compiler._emit(dense, target), []
    other = threading.Thread(target=lambda: found.append(compiler._emit(dense, target)))
    with compiler._emitting(plain, target):
        other.start()
        other.join(1.0)
    other.join()
    assert found == [want]


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
    assert alone == [compiler.compile_kernel(*kernel, HOST).code for kernel in SEVERAL]
    monkeypatch.setattr(compile_many, "_compiled_here", None)
    for count in ("2", "3", "8"):
        monkeypatch.setenv("TGC_COMPILE_PROCESSES", count)
        assert compile_many.compile_kernels(iter(SEVERAL), HOST) == alone
    waiting = workers.Workers(HOST, 2)
    waiting.give(*SEVERAL[1])  # ahead of the others, and once
    assert compile_many.compile_kernels(SEVERAL[:2], HOST, waiting) == alone[:2]
    assert_no_forks()


@forks
def test_forks_begin_with_the_launch_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGC_COMPILE_PROCESSES", "2")
    graph = trace(lambda x: functools.reduce(lambda y, _: tnp.sin(y), range(80), x), [tensor_type("f32", (4,))])
    given: list[str] = []
    monkeypatch.setattr(workers.Workers, "give", lambda self, source, name: given.append(name))
    for again in (False, True):
        backend = CpuBackend()
        backend.__dict__["cache"] = KernelCache(tmp_path)
        with backend.ahead(graph):
            pass
        assert given == ["run", "lane", "helper"]  # the second time they are there
        if not again:
            load_kernels(launch_loop(), backend.target, backend.cache, Loader())
    assert_no_forks()


def assert_no_forks() -> None:
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@forks
def test_forks_end_with_what_they_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGC_COMPILE_PROCESSES", "2")

    def kernels() -> Iterator[tuple[str, str]]:
        yield from SEVERAL
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        compile_many.compile_kernels(kernels(), HOST)
    assert_no_forks()
    backend = get_backend("cpu")
    graph = trace(lambda x: functools.reduce(lambda y, _: tnp.sin(y), range(80), x), [tensor_type("f32", (4,))])
    with pytest.raises(ValueError, match="a pass"), backend.ahead(graph):
        raise ValueError("a pass")
    assert_no_forks()


@forks
def test_forks_that_nobody_tells_anything_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0.05)
    waiting = workers.Workers(HOST, 2)
    assert os.waitpid(waiting.process, 0)[1] == 0
    waiting.close()


@pytest.mark.parametrize("processes", ["1", pytest.param("2", marks=forks)])
@pytest.mark.parametrize(("terminal", "unseen"), [(True, 0.0), (True, 60.0), (False, 0.0)])
def test_a_long_compilation_shows_on_a_terminal(
    processes: str,
    terminal: bool,
    unseen: float,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TGC_COMPILE_PROCESSES", processes)
    monkeypatch.setattr(compile_many, "UNSEEN", unseen)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    compile_many.compile_kernels(SEVERAL, HOST)
    shown = capsys.readouterr().err
    if not terminal or unseen:
        assert shown == ""
    elif processes == "1":
        lines = [f"\rtgc: compiling kernel {k + 1} of {len(SEVERAL)} " for k in range(len(SEVERAL))]
        assert shown == "".join(lines) + "\r\033[K"
    else:  # a fork may have taken the others
        assert shown == "" or shown.endswith("\r\033[K")


def leave(*arguments: object) -> None:
    os._exit(3)


def hang(*arguments: object) -> None:
    time.sleep(600)


def die_halfway(files: Any, *arguments: object) -> None:
    os.read(files.jobs, 24)  # a kernel that this fork takes and never delivers
    os.write(files.results[0], struct.pack("<qq", 3, 1000) + b"the beginning of the code")
    os.kill(os.getpid(), signal.SIGKILL)


@forks
@pytest.mark.parametrize("work", [leave, hang, die_halfway])
def test_what_a_fork_does_not_deliver_is_compiled_here(
    monkeypatch: pytest.MonkeyPatch, work: Callable[..., None]
) -> None:
    monkeypatch.setenv("TGC_COMPILE_PROCESSES", "3")
    monkeypatch.setattr(workers, "PATIENCE", 0.2)
    monkeypatch.setattr(workers, "_work", work)
    results = compile_many.compile_kernels(SEVERAL, HOST)
    assert results == [compiler.compile_kernel(*kernel, HOST).code for kernel in SEVERAL]
    assert_no_forks()


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
    source = "from tgc.backends.cpu.used import f\ndef kernel(lo, hi, part): pass\n"

    def forget() -> None:
        loading._text_key.cache_clear()
        loading._text_of.cache_clear()

    def key(source: str = source, name: str = "kernel", target: CpuTarget = HOST) -> str:
        forget()
        return loading.kernel_key(source, name, target)

    keys = [key(), key(source + "\n"), key(name="other"), key(target=CpuTarget.of(LINUX, frozenset()))]
    for name in ("used", "deep", "compile", "base"):
        (package / f"{name}.py").write_text(texts[name] + "# changed\n")
        keys.append(key())
    assert len(set(keys)) == len(keys)
    (package / "apart.py").write_text("X = 2\n")
    assert key() == keys[-1]
    forget()


def test_a_symbol_is_loaded_once(loader: Loader) -> None:
    results = [compiler.compile_kernel(FILL.format(k), "kernel", HOST) for k in (10, 11, 12)]
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
        import numpy as np
        from tgc.backends.cpu.vmath_ops import library, primitive
        def absent_f64(x):
            return library("tgc_no_such_function", None, x)
        absent = primitive(np.float64)(absent_f64)
        def kernel(x: f64[:], lo, hi, part):
            x[lo] = absent(x[lo])
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
