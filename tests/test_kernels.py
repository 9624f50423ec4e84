"""Generated kernels as users meet them: Python that can be stepped, machine code that is vectorized, compiled once."""

from __future__ import annotations

import ast
import bdb
import inspect
import itertools
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tgc
import tgc.numpy as tnp
from tgc import nn
from tgc.backends.cpu.backend import CpuBackend, Launch
from tgc.backends.cpu.compile import compile_kernel, kernel_assembly, kernel_function, kernel_llvm
from tgc.backends.cpu.emit import storage_name
from tgc.backends.cpu.loader import Loader, kernel_key, kernel_symbol, units_of, with_units
from tgc.backends.cpu.planning import to_storage
from tgc.backends.cpu.pointers import SCALARS, Pointer
from tgc.backends.cpu.target import X86_LEVELS, CpuTarget
from tgc.errors import BackendError
from tgc.interpret import interpret
from tgc.jit import LoweredFunction
from tgc.ops import REGISTRY
from tgc.passes.memory import arena_bytes
from tgc.runtime.registry import get_backend

PATH = os.pathsep.join([str(Path(__file__).parent), *sys.path])
AVX512 = CpuTarget.of("x86_64-unknown-linux-gnu", frozenset().union(*X86_LEVELS.values()), threads=2)
x86_64 = pytest.mark.skipif(not CpuTarget.host().triple.startswith("x86_64"), reason="reads the assembly of x86-64")
BF16 = np.dtype(ml_dtypes.bfloat16)


def normal(*shape: int, seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def integers(dtype: str, n: int, seed: int) -> np.ndarray:
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max, n, dtype, endpoint=True)


def launches(low: LoweredFunction) -> list[Launch]:
    backend = get_backend("cpu")
    assert isinstance(backend, CpuBackend)
    return backend.launches(low.compilation.result)


# ------------------------------------------------------------------------------------------------- kernels as Python


@dataclass(frozen=True)
class Case:
    """A function with arguments."""

    f: Callable[..., Any]
    args: tuple[Any, ...]
    kinds: str  # of its kernels, in order: how their names end
    rounding: float = 0.0  # largest difference from the oracle, relative and absolute


def conv_relu(w: Any, x: Any, b: Any) -> Any:
    return nn.relu(nn.conv(x, w, bias=b))


def pooled(x: Any) -> Any:
    return (nn.max_pool(x, 2) * 2).sum()


def rows_of(table: Any, index: Any) -> Any:
    return (tnp.take(table, index, axis=0) ** 2).sum()


IMAGE, WEIGHTS, BIAS = normal(1, 5, 5, 3), normal(3, 3, 3, 4), normal(4)
HALVES = {d: (normal(9, dtype=d), normal(9, seed=1, dtype=d)) for d in (np.dtype("f2"), BF16)}

FLOATS = {
    "map": Case(lambda x, y: tnp.tanh(x * y) + 1, (normal(3, 5), normal(5)), "map", 1e-6),
    "map with loops": Case(lambda x, y: x.T - y, (normal(3, 5), normal(5, 3)), "map"),
    "sum of rows": Case(lambda x: x.sum(axis=1), (normal(3, 5),), "reduce", 1e-6),
    "sum of columns": Case(lambda x: x.sum(axis=0), (normal(3, 300),), "reduce", 1e-6),
    "softmax": Case(nn.softmax, (normal(3, 5),), "reduce", 1e-6),
    "layer norm": Case(lambda x: nn.layer_norm(x, BIAS, BIAS), (normal(3, 4),), "reduce", 1e-5),
    "argmax": Case(lambda x: tnp.argmax(x, axis=1), (normal(3, 5),), "reduce"),
    "product": Case(lambda x, w, b: nn.relu(x @ w + b), (normal(5, 3), normal(3, 7), normal(7)), "contraction", 1e-6),
    "transposed product": Case(
        lambda x, y: (tnp.transpose(z := nn.relu(x @ y), (1, 2, 0)), z, tnp.transpose(z * 2, (1, 0, 2))),
        (normal(2, 5, 3), normal(2, 3, 35)),
        "contraction",
        1e-6,
    ),
    "convolution": Case(conv_relu, (WEIGHTS, IMAGE, BIAS), "contraction", 1e-5),
    "gradient of a convolution": Case(
        tgc.grad(lambda *a: conv_relu(*a).sum()), (WEIGHTS, IMAGE, BIAS), "contraction contraction", 1e-5
    ),
    "gradient of a max pooling": Case(tgc.grad(pooled), (normal(2, 4, 4, 3),), "map map"),
    "take": Case(lambda x, i: tnp.take(x, i, axis=0), (normal(5, 3), np.array([0, -1, 2])), "map"),
    "scatter": Case(tgc.grad(rows_of), (normal(5, 3), np.array([0, -1, 0])), "map map scatter"),
    "random bits": Case(lambda k: tgc.random.bits(k, (9,)), (tgc.random.key(3),), "map"),
    "uniform": Case(lambda k: tgc.random.uniform(k, (9,)), (tgc.random.key(3),), "map"),
    "float16": Case(lambda x, y: x * y + 1, HALVES[np.dtype("f2")], "map"),
    "bfloat16": Case(lambda x, y: x * y + 1, HALVES[BF16], "map"),
    "bool": Case(lambda x, y: ~(x > y) & (y < 0), (normal(5), normal(5, seed=1)), "map"),
    "casts": Case(lambda x: (x.astype("i4"), (abs(x) * 9).astype("u1"), x > 0), (normal(5) * 9,), "map"),
    "remainders": Case(lambda x, y: (x // y, x % y), (normal(9), normal(9, seed=1)), "map", 1e-6),
    "special values": Case(
        lambda x: (tnp.log(x), tnp.exp(x), tnp.maximum(x, 0), tnp.sqrt(x)),
        (np.array([-1, -0.0, 0, 1, np.inf, -np.inf, np.nan], np.float32),),
        "map",
        1e-6,
    ),
    "overflow": Case(lambda x: x * x, (np.array([1e30, -1e-30], np.float32),), "map"),
}
CASES = {
    **FLOATS,
    **{
        f"{d} wraps": Case(lambda x, y: x * y + x - y, (integers(d, 9, 0), integers(d, 9, 1)), "map")
        for d in ("u1", "u4", "i4", "i8")
    },
    "shifts": Case(lambda x, y: x << y >> 1, (integers("i4", 8, 0), np.arange(8, dtype="i4")), "map"),
    "division by zero": Case(lambda x, y: x / y, (normal(3), np.zeros(3, np.float32)), "map"),
}
CHUNKED = {
    "rows": Case(lambda x: x.sum(), (normal(16, 1 << 12),), "reduce reduce", 1e-5),
    "columns": Case(lambda x: x.mean(axis=0), (normal(1 << 12, 16),), "reduce reduce", 1e-5),
}


def pointer(array: np.ndarray | int, code: str) -> Pointer:
    """A pointer as kernels take them in Python."""
    return Pointer(array if isinstance(array, int) else array.ctypes.data, SCALARS[code][1])


def stepped(low: LoweredFunction, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The results of a lowered function whose kernels run as Python, each launch in two ranges of its tiles."""
    graph = low.compilation.result
    arena, results = np.zeros(arena_bytes(graph) + 64, np.uint8), [np.empty(v.shape, v.dtype) for v in graph.outputs]
    constants = [to_storage(c.data, c.value.type) for c in graph.constants if c.data is not None]
    address = dict(zip(graph.inputs, (a.ctypes.data for a in arrays), strict=True))
    address |= zip((c.value for c in graph.constants), (a.ctypes.data for a in constants), strict=True)
    for node in graph.nodes:
        if node.op is REGISTRY["reshape"]:
            address[node.result] = address[node.operands[0]]
            continue
        for v, place in zip(node.results, node.attrs["places"], strict=True):
            kind, _, number = place.partition(":")
            address[v] = {"arena": arena.ctypes.data + int(number)}.get(kind) or results[int(number)].ctypes.data
    for launch in launches(low):
        kernel, node = launch.kernel, launch.node
        bound = [node.operands[k] if kind == "in" else node.results[k] for kind, k in kernel.bindings]
        args = [pointer(address[v], storage_name(b.dtype)) for v, b in zip(bound, kernel.buffers, strict=True)]
        args += [*kernel.values.values(), *(c.dtype.type(c.value) for c in kernel.scalars.values())]
        function, middle = kernel_function(launch.source, kernel.name), kernel.tiles // 2
        for lo, hi in ((0, middle), (middle, kernel.tiles)):
            with np.errstate(all="ignore"):
                assert not function(*args, lo, hi, 0)
    return results


def check(case: Case) -> None:
    """The kernels of a case, run as Python, agree with the oracle."""
    low = tgc.jit(case.f).lower(*case.args)
    assert [x.kernel.name.rpartition("_")[2] for x in launches(low)] == case.kinds.split()
    arrays = [np.array(a) for a in case.args]
    for got, want in zip(stepped(low, arrays), interpret(low.graph, *arrays), strict=True):
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        if got.dtype.kind in "biu":
            np.testing.assert_array_equal(got, want)
        else:
            np.testing.assert_allclose(got.astype("f8"), want.astype("f8"), rtol=case.rounding, atol=case.rounding)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_kernels_run_as_python(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", CHUNKED.values(), ids=CHUNKED)
def test_kernels_with_chunks_run_as_python(case: Case) -> None:
    low = tgc.jit(case.f).lower(*case.args)
    assert "chunks: i64" in launches(low)[0].source
    check(case)


def test_kernels_run_with_compilation_off() -> None:
    code = """
        import numba
        assert numba.config.DISABLE_JIT
        from test_kernels import CASES, check
        for case in CASES.values():
            check(case)
        print(len(CASES))
    """
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": PATH}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"{len(CASES)}\n"), done.stderr


def test_what_a_guarded_branch_shares_has_a_name() -> None:
    """Sixteen squarings are sixteen products, behind a guard as elsewhere."""

    def powers(x: Any) -> Any:
        for _ in range(16):
            x = x * x
        return tnp.pad(x, 1)

    case = Case(powers, (normal(3, 5),), "map")
    (launch,) = launches(tgc.jit(case.f).lower(*case.args))
    assert len(re.findall(r"v\d+ \* v\d+", launch.source)) == 16
    assert "else:" in launch.source
    check(case)


PRODUCTS: dict[str, tuple[Any, tuple[int, ...], tuple[int, ...]]] = {  # matrices of 2 MiB and more, ragged tiles
    "NT": (lambda x, y: x @ y.T, (97, 1051), (1021, 1051)),
    "TN": (lambda x, y: x.T @ y, (1051, 1021), (1051, 1023)),
    "TN_batch": (lambda x, y: x.transpose(0, 2, 1) @ y, (2, 1051, 1021), (2, 1051, 97)),
    "split": (lambda x, y: x.T @ y, (8192, 20), (8192, 30)),
    "one_row": (lambda x, y: x @ y, (1, 1051), (1051, 1021)),
    "few_rows": (lambda x, y: x @ y, (2, 13, 1051), (2, 1051, 2043)),
    "one_column": (lambda x, y: x @ y, (1051, 1021), (1021, 1)),
    "one_column_batch": (lambda x, y: x @ y, (3, 70, 21), (3, 21, 1)),
    "few_rows_pages_apart": (lambda x, y: x @ y, (13, 1051), (1051, 2048)),
    "few_rows_NT": (lambda x, y: x @ y.T, (5, 1051), (1021, 1051)),
    "few_columns_TN": (lambda x, y: x.T @ y, (1051, 1021), (1051, 3)),
    "few_columns_TN_batch": (lambda x, y: x.transpose(0, 2, 1) @ y, (2, 1051, 1021), (2, 1051, 1)),
}


@pytest.mark.parametrize(("f", "x", "y"), PRODUCTS.values(), ids=PRODUCTS)
def test_large_products(f: Any, x: tuple[int, ...], y: tuple[int, ...]) -> None:
    """Packed, split and streamed ones; sums of small integers are exact in any order."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-4, 5, shape).astype(np.float32) for shape in (x, y))
    compiled = tgc.jit(f)
    np.testing.assert_array_equal(compiled(a, b), f(a, b))
    c = rng.standard_normal(y, np.float32)
    np.testing.assert_array_equal(compiled(a, c), compiled(a, c))


def test_a_bad_index_is_a_status() -> None:
    case = FLOATS["take"]
    (launch,) = launches(tgc.jit(case.f).lower(*case.args))
    function = kernel_function(launch.source, launch.kernel.name)
    table, index, out = normal(5, 3), np.array([0, 5, 1]), np.zeros((3, 3), np.float32)
    pointers = [pointer(a, storage_name(a.dtype)) for a in (table, index, out)]
    assert function(*pointers, *launch.kernel.values.values(), 0, 1, 0) == 0
    assert function(*pointers, *launch.kernel.values.values(), 1, 2, 0) == 1


class Stops(bdb.Bdb):
    """A debugger that notes the variables at each stop."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, Any]] = []

    def user_line(self, frame: FrameType) -> None:
        if self.break_here(frame):
            self.seen.append(dict(frame.f_locals))
        self.set_continue()


def test_a_debugger_stops_in_a_kernel() -> None:
    x = normal(3, 5)
    low = tgc.jit(nn.softmax).lower(x)
    (launch,) = launches(low)
    function = kernel_function(launch.source, launch.kernel.name)
    assert inspect.getsource(function).rstrip() in launch.source
    lines = launch.source.splitlines()
    line = next(k for k, text in enumerate(lines, 1) if "r1 = " in text)
    out = np.empty_like(x)
    debugger, traced = Stops(), sys.gettrace()
    try:
        assert debugger.set_break(function.__code__.co_filename, line) is None
        pointers = [pointer(a, "f32") for a in (x, out)]
        scalars = [np.float32(c.value) for c in launch.kernel.scalars.values()]
        debugger.runcall(function, *pointers, *launch.kernel.values.values(), *scalars, 0, 3, 0)
    finally:
        sys.settrace(traced)
        debugger.clear_all_breaks()
    assert [s["i0"] for s in debugger.seen] == [0, 1, 2]
    np.testing.assert_allclose([s["r0"] for s in debugger.seen], x.max(axis=1))
    np.testing.assert_allclose([s["acc1_0"] for s in debugger.seen], np.exp(x - x.max(1, keepdims=True)).sum(1), 1e-6)
    np.testing.assert_allclose(out, interpret(low.graph, x)[0], rtol=1e-6)


# ------------------------------------------------------------------------------------------------------ vectorization


def ten(*xs: Any) -> Any:
    """Ten operands through everything that a float32 has without the C library."""
    functions: Any = (tnp.tanh, tnp.exp, nn.sigmoid, tnp.sqrt, tnp.log, nn.gelu, tnp.abs, tnp.arctan, tnp.expm1)
    total = xs[0]
    for function, x in zip(functions, xs[1:], strict=True):
        total = tnp.maximum(function(total), x) * x
    return total


ROWS = normal(64, 64)
GAIN = normal(64)
VECTORIZED: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "ten operands": (ten, (ROWS,) * 10),
    "in double precision inside": (lambda x, y: tnp.sin(x) + tnp.tan(y) * x**2.5, (ROWS, ROWS)),
    "softmax": (nn.softmax, (ROWS,)),
    "softmax of columns": (lambda x: nn.softmax(x, axis=0), (ROWS,)),
    "layer norm": (lambda x, g, b: nn.gelu(nn.layer_norm(x, g, b) + x), (ROWS, GAIN, GAIN)),
    "log softmax": (nn.log_softmax, (ROWS,)),
    "column sums": (lambda x: x.sum(axis=0), (ROWS,)),
    "float16": (lambda x, y: tnp.exp(x) * y, (ROWS.astype("f2"),) * 2),
    "bfloat16": (lambda x, y: tnp.exp(x) * y, (ROWS.astype(BF16),) * 2),
}
parametrize_vectorized = pytest.mark.parametrize(("f", "args"), VECTORIZED.values(), ids=VECTORIZED)


def innermost_loops(source: str) -> int:
    loops = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.For)]
    return sum(not any(isinstance(x, ast.For) for s in loop.body for x in ast.walk(s)) for loop in loops)


def called(assembly: str) -> set[str]:
    """What a kernel's code calls or jumps to outside of itself. Loops that copy or clear memory are such calls."""
    defined = set(re.findall(r'^"?([^\s":]+)"?:', assembly, re.MULTILINE))
    targets = re.findall(r'^\s+(?:callq?|jmpq?)\s+"?([^\s"@*%]+)', assembly, re.MULTILINE)
    return set(targets) - defined - {"memcpy", "memset", "memmove"}


@parametrize_vectorized
def test_all_innermost_loops_are_vectorized(f: Any, args: Any) -> None:
    target = CpuTarget.host()
    for launch in launches(tgc.jit(f).lower(*args)):
        text = kernel_llvm(launch.source, launch.kernel.name, target)
        vectorized = len(set(re.findall(r"^(vector\.body\d*):", text, re.MULTILINE)))
        cleared = len(re.findall(r"call void @llvm\.mem(?:set|cpy)", text))
        assert vectorized + cleared >= innermost_loops(launch.source) > 0, text


@x86_64
@parametrize_vectorized
def test_no_call_of_the_c_library_remains(f: Any, args: Any) -> None:
    for launch in launches(tgc.jit(f).lower(*args)):
        assembly = kernel_assembly(launch.source, launch.kernel.name, AVX512)
        assert called(assembly) == set()
        assert re.search(r"^\s+v(add|fmadd\d+)p[sd]\s.*%zmm", assembly, re.MULTILINE)


@x86_64
def test_calls_of_the_c_library_are_seen() -> None:
    """The check above has teeth: float64 functions are the C library's."""
    (launch,) = launches(tgc.jit(tnp.tanh).lower(ROWS.astype(np.float64)))
    assert called(kernel_assembly(launch.source, launch.kernel.name, AVX512)) == {"tanh"}


# ------------------------------------------------------------------------------------------------------ compiled once


def keys(f: Callable[..., Any], *args: Any, target: CpuTarget = AVX512) -> list[str]:
    return [kernel_key(x.source, x.kernel.name, target) for x in launches(tgc.jit(f).lower(*args))]


SIZES: dict[str, tuple[Callable[..., Any], Callable[[int], tuple[Any, ...]]]] = {
    "map": (lambda x, y: tnp.tanh(x * y) + 1, lambda n: (normal(n, 5), normal(5))),
    "softmax": (nn.softmax, lambda n: (normal(n, 3 * n),)),
    "column sums": (lambda x: x.sum(axis=0), lambda n: (normal(n, 2 * n),)),
    "product": (lambda x, w: nn.relu(x @ w), lambda n: (normal(n, 9), normal(9, 40))),
    "convolution": (conv_relu, lambda n: (WEIGHTS, normal(n // 4, n // 2, n, 3), BIAS)),
    "convolution gradient": (
        tgc.grad(lambda *a: conv_relu(*a).sum()), lambda n: (WEIGHTS, normal(n // 4, n // 2, n, 3), BIAS)
    ),
    "pooling gradient": (tgc.grad(pooled), lambda n: (normal(n // 4, n // 2, n // 2, 3),)),
    "scatter": (tgc.grad(rows_of), lambda n: (normal(n, 3), np.arange(n) % 5)),
    "random bits": (lambda x: x + tgc.random.uniform(tgc.random.key(1), x.shape), lambda n: (normal(n, 7),)),
}  # fmt: skip


@pytest.mark.parametrize(("f", "args"), SIZES.values(), ids=SIZES)
def test_sizes_are_no_part_of_a_kernel(f: Any, args: Any) -> None:
    assert keys(f, *args(24)) == keys(f, *args(40)) == keys(f, *args(56))


def test_names_and_threads_are_no_part_of_a_kernel() -> None:
    def other_name(a: Any, b: Any) -> Any:
        return nn.softmax(a @ b)

    x, w = normal(20, 8), normal(8, 40)
    assert keys(other_name, x, w) == keys(lambda x, w: nn.softmax(x @ w), x, w)
    alone, many = (CpuTarget.of(AVX512.triple, AVX512.features, threads=n) for n in (1, 8))
    assert keys(other_name, x, w, target=alone) == keys(other_name, x, w, target=many)


def test_numbers_of_movements_are_no_part_of_a_kernel() -> None:
    x = normal(12, 8)
    padded = [lambda x, w=w: tnp.pad(x, (w, (0, 0))) for w in ((1, 2), (3, 3), (0, 4), (2, 0))]
    assert len({tuple(keys(f, x)) for f in padded}) == 1
    strided = [lambda x, a=a, b=b: x[a::2, b::2] + 1 for a, b in itertools.product((0, 1), repeat=2)]
    assert len({tuple(keys(f, x)) for f in strided}) == 1


def test_the_order_of_numbers_is_no_part_of_a_kernel() -> None:
    x, y = normal(4, 8), normal(4, 8)

    def first(x: Any, y: Any) -> Any:
        five = tnp.full((4, 8), 5.0, np.float32)
        return (x * 2 + y * 3) / five

    assert keys(first, x, y) == keys(lambda x, y: (x * 2 + y * 3) / 5, x, y)


def test_micro_kernels_are_shared() -> None:
    """Two products with other epilogues: other kernels, which are linked with the same register tile."""
    low = [tgc.jit(f).lower(normal(20, 8), normal(8, 64)) for f in (lambda x, y: x @ y, lambda x, y: tnp.exp(x @ y))]
    host = CpuTarget.host()
    one, other = (launches(program)[-1] for program in low)
    assert one.source != other.source
    units = units_of(one.source)
    assert units
    assert units == units_of(other.source)
    found = with_units((launch.source, launch.kernel.name) for launch in (one, other))
    assert found == [*units, (one.source, one.kernel.name), (other.source, other.kernel.name)]
    symbols = [kernel_symbol(*unit, host) for unit in units]
    objects = {kernel_symbol(*k, host): compile_kernel(*k, host).code for k in found}
    assert all(symbol.encode() in objects[kernel_symbol(*found[-1], host)] for symbol in symbols)
    loader = Loader()
    with pytest.raises(BackendError, match="cannot link"):
        loader.load(dict(list(objects.items())[-1:]))
    first = loader.load(dict(list(objects.items())[:-1]))
    again = loader.load(objects)
    assert all(again[symbol] == first[symbol] for symbol in symbols)


def test_keys_differ_where_code_does() -> None:
    x = normal(4, 8)
    different = [keys(f, x) for f in (lambda x: x + 1, lambda x: x + 2, lambda x: x - 1, lambda x: x.T + 1)]
    assert different[0] == different[1]  # numbers are arguments
    assert len({tuple(k) for k in different}) == 3
    assert keys(lambda x: x + 1, x.astype(np.float64)) != different[0]
    older = CpuTarget.of(AVX512.triple, frozenset())
    assert keys(lambda x: x + 1, x, target=AVX512) != keys(lambda x: x + 1, x, target=older)


def test_keys_are_the_same_in_every_process() -> None:
    """Also with other hashes of strings, by which sets are ordered."""
    code = "from test_kernels import SIZES, keys; print([keys(f, *args(24)) for f, args in SIZES.values()])"
    texts = [
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": PATH},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert texts[0] == texts[1] == f"{[keys(f, *args(24)) for f, args in SIZES.values()]}\n"


# -------------------------------------------------------------------------------------------------------- transposes


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, BF16])
@pytest.mark.parametrize(
    ("shape", "perm"),
    [
        ((16, 16), (1, 0)),
        ((48, 32), (1, 0)),
        ((33, 70), (1, 0)),
        ((2, 17, 5, 18), (0, 2, 3, 1)),
        ((3, 20, 40), (2, 0, 1)),
        ((19, 2, 16), (2, 1, 0)),
    ],
)
def test_transposes_go_by_square_blocks(shape: tuple[int, ...], perm: tuple[int, ...], dtype: Any) -> None:
    x = (normal(*shape) * 50).astype(dtype)
    y = np.ascontiguousarray(x.transpose(perm))
    turned = tgc.jit(lambda x, y: tnp.where(tnp.transpose(x, perm) > y, y, tnp.transpose(x, perm)))
    (text,) = turned.lower(x, y).kernels.values()
    assert "square" in text
    np.testing.assert_array_equal(turned(x, y).view(np.uint8), y.view(np.uint8))


@pytest.mark.parametrize("columns", [1000, 1010])
def test_folded_columns_are_stored_in_panels(columns: int) -> None:
    """A fold of columns whose elements a product reads in panels stores them panel by panel, whole ones as vectors."""
    rng = np.random.default_rng(0)
    g, h = (rng.standard_normal((256, n), dtype=np.float32) for n in (columns, 1024))

    def f(g: Any, h: Any) -> tuple[Any, Any]:
        d = tnp.exp(g) * tnp.arange(columns, dtype=np.float32)
        return d.sum(0), h.T @ d

    jitted = tgc.jit(f)
    source = next(s for name, s in jitted.lower(g, h).kernels.items() if "relayout_reduce" in name)
    assert "for panel in range" in source
    assert "//" not in source.partition("for panel in range")[2].partition("else:")[0].partition(":\n")[2]
    d = np.exp(g) * np.arange(columns, dtype=np.float32)
    for got, want in zip(jitted(g, h), (d.sum(0), h.T @ d), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())


def test_tiles_of_long_sums_ask_for_what_follows_in_both_operands(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient by weights reads two matrices as they lie where the third-level cache is near; the tiles of a unit
    share the lines of the next piece.
    """
    monkeypatch.setattr(get_backend("cpu"), "target", replace(CpuTarget.host(), near_l3=True))
    x, g = (np.ones((2048, n), np.float32) for n in (256, 128))
    (source,) = tgc.jit(lambda x, g: tnp.transpose(x) @ g).lower(x, g).kernels.values()
    assert re.search(r"if \(turn < \(run \* \d+\)\):", source)
    asked = re.findall(r"^ +offset\((x\d), .*turn", source, re.MULTILINE)
    assert {*asked} == {"x0", "x1"}
