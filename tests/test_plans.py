"""Plans of programs in the cache: the same program again, without a pass; and when it must be another one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tgc
import tgc.numpy as tnp
from tgc import nn, passes
from tgc.backends.cpu.backend import CpuBackend
from tgc.backends.cpu.kept import SHARE, SHARED
from tgc.backends.cpu.loader import PLANNING
from tgc.backends.cpu.plan import Plan
from tgc.backends.cpu.target import CpuTarget
from tgc.errors import LinearAlgebraError, OutOfRangeError
from tgc.runtime import lowered
from tgc.runtime.cache import SUFFIX, CacheWarning, Entry, KernelCache

X = np.random.default_rng(0).standard_normal((6, 40)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((40, 600)).astype(np.float32)


def step(w: Any, x: Any) -> Any:
    value, g = tgc.value_and_grad(lambda w: nn.cross_entropy(x @ w, np.arange(6)).mean())(w)
    return w - 0.1 * g, value


def dtypes(x: Any) -> Any:
    wide = x.astype(ml_dtypes.bfloat16), x.astype(ml_dtypes.float8_e4m3fn), x > 0, x.astype(np.complex64)
    return *wide, x[:0], tnp.float64(2.5) * x[0, 0]


PROGRAMS: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...], tuple[int, ...]]] = {
    "training step": (step, (W, X), (0,)),
    "packed constant": (lambda x: nn.gelu(x @ W), (X,), ()),
    "scan": (lambda x: tgc.scan(lambda c, row: (c + row, c * row), x[0], x), (X,), ()),
    "while": (lambda x: tgc.while_loop(lambda c: c.sum() < 100, lambda c: c + 1, x), (X,), ()),
    "cond": (lambda x: tgc.cond(x[0, 0] > 0, lambda x: x + 1, lambda x: x - 1, x), (X,), ()),
    "dtypes": (dtypes, (X,), ()),
    "input": (lambda x: x, (X,), ()),
}


@pytest.fixture
def backend(tmp_path: Path) -> CpuBackend:
    return new(tmp_path)


def new(folder: Path, **options: Any) -> CpuBackend:
    """A backend as another process would have it, but for what is linked."""
    backend = CpuBackend()
    backend.__dict__["cache"] = KernelCache(folder, **options)
    return backend


@pytest.mark.parametrize(("f", "args", "donated"), PROGRAMS.values(), ids=PROGRAMS)
def test_a_plan_runs_as_what_was_compiled(
    f: Callable[..., Any], args: tuple[np.ndarray, ...], donated: tuple[int, ...], tmp_path: Path
) -> None:
    low = tgc.jit(f, donate=donated).lower(*args)
    made = new(tmp_path).compile(low.compilation.result, low.donated, "key")
    kept = new(tmp_path).load("key")
    assert kept is not None
    for program in (made, kept):
        assert len(program.plan.rows) == len(made.plan.rows)
    results = [program([a.copy() for a in args]) for program in (made, kept)]
    for a, b in zip(*results, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(a, b)
    own = [a.copy() for a in args]
    first = kept(own)
    for k, i in kept.plan.donations.items():
        assert np.shares_memory(first[k], own[i])
    rows = [new(tmp_path).profile(program, args).rows for program in (made, kept)]
    assert [replace(r, seconds=0, limit=0) for r in rows[0]] == [replace(r, seconds=0, limit=0) for r in rows[1]]


def test_bytes_hold_all_of_a_plan() -> None:
    low = tgc.jit(step, donate=0).lower(W, X)
    plan = CpuBackend().compile(low.compilation.result, low.donated).plan
    again = Plan.of_bytes(plan.to_bytes())
    for name in Plan.__dataclass_fields__:
        a, b = getattr(plan, name), getattr(again, name)
        if name == "constants":
            assert a.keys() == b.keys()
            assert all(a[k].tobytes() == b[k].tobytes() for k in a)
        else:
            np.testing.assert_array_equal(a, b) if isinstance(a, np.ndarray) else None
            assert isinstance(a, np.ndarray) or a == b, name


def test_errors_are_the_same(tmp_path: Path) -> None:
    low = tgc.jit(lambda x, i: tnp.take(x, i, axis=0)).lower(X, np.array([1]))
    made = new(tmp_path).compile(low.compilation.result, (), "key")
    kept = new(tmp_path).load("key")
    assert kept is not None
    messages = []
    for program in (made, kept):
        with pytest.raises(OutOfRangeError) as raised:
            program([X, np.array([77])])
        messages.append(str(raised.value))
    assert messages[0] == messages[1]
    assert "test_plans.py" in messages[0]


def test_what_calls_python_is_not_kept(tmp_path: Path) -> None:
    low = tgc.jit(tnp.linalg.inv).lower(np.eye(3))
    backend = new(tmp_path)
    program = backend.compile(low.compilation.result, (), "key")
    with pytest.raises(LinearAlgebraError):
        program([np.zeros((3, 3))])
    assert new(tmp_path).load("key") is None


def test_no_pass_runs_where_a_plan_is_kept(backend: CpuBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowered, "get_backend", lambda name: backend)
    first = tgc.jit(step)(W, X)
    monkeypatch.setattr(passes, "run", None)
    second = tgc.jit(step)(W, X)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    for other in (tgc.jit(step, donate=0), tgc.jit(step, memory_limit=1 << 20), tgc.jit(lambda w, x: step(w, x * 2))):
        with pytest.raises(TypeError, match="NoneType"):
            other(W.copy(), X)
    with pytest.raises(TypeError, match="NoneType"):  # another size
        tgc.jit(lambda w, x: step(w, x)[0])(W[:, :599], X)
    for name, value in {"TGC_PIPELINE": "fuse", "TGC_CHECK": "1", "TGC_EXPLAIN": "fuse", "TGC_DEBUG": "1"}.items():
        monkeypatch.setenv(name, value)
        with pytest.raises(TypeError, match="NoneType"):
            tgc.jit(step)(W, X)
        monkeypatch.delenv(name)


def test_plans_are_those_of_a_machine(tmp_path: Path) -> None:
    low = tgc.jit(step).lower(W, X)
    new(tmp_path).compile(low.compilation.result, (), "key")
    assert new(tmp_path).load("key")
    other_l3 = {"near_l3": not CpuTarget.host().near_l3}
    for change in ({"threads": 7}, {"l2_bytes": 1 << 16}, other_l3, {"vector_bits": 64, "features": frozenset[str]()}):
        other = new(tmp_path)
        other.target = replace(other.target, **change)
        assert other.load("key") is None
    assert new(tmp_path, plans=False).load("key") is None


def test_the_key_covers_all_that_plans_a_graph() -> None:
    """What the folders of the key import is in one of them, or a module at the top, which are in it too."""
    package = Path(tgc.__file__).parent
    texts = [file.read_text(encoding="utf-8") for folder in PLANNING for file in (package / folder).glob("*.py")]
    imported = {name for text in texts for name in re.findall(r"^from tgc\.(\w+)", text, re.MULTILINE)}
    folders = {folder.split("/")[0] for folder in PLANNING}
    assert {"sizes", "ops", "ir"} <= imported
    assert all(name in folders or (package / f"{name}.py").is_file() for name in imported), imported


def test_a_plan_without_its_kernels_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    low = tgc.jit(step).lower(W, X)
    plan = new(tmp_path).compile(low.compilation.result, (), "key").plan
    backend = new(tmp_path)
    monkeypatch.setattr(backend.loader, "has", lambda symbol: False)
    assert backend.load("key") is not None
    (tmp_path / f"{plan.kernels[0][0]}{SUFFIX}").unlink()
    assert backend.load("key") is None


def test_a_damaged_plan_is_none(tmp_path: Path) -> None:
    low = tgc.jit(step).lower(W, X)
    backend = new(tmp_path)
    backend.compile(low.compilation.result, (), "key")
    path = tmp_path / f"{backend._plan_key('key')}{SUFFIX}"
    data = bytearray(path.read_bytes())
    data[-9] ^= 4
    path.write_bytes(data)
    with pytest.warns(CacheWarning, match="damaged"):
        assert new(tmp_path).load("key") is None
    assert new(tmp_path).load("key") is None


def test_large_plans_are_not_kept(tmp_path: Path) -> None:
    low = tgc.jit(lambda x: x @ W).lower(X)
    for limit, kept in ((int(W.nbytes / SHARE) * 2, True), (int(W.nbytes / SHARE), False)):
        folder = tmp_path / str(limit)
        new(folder, limit=limit).compile(low.compilation.result, (), "key")
        assert (new(folder).load("key") is not None) == kept


def constants(folder: Path) -> list[Entry]:
    return [e for e in KernelCache(folder).listing() if e.kind == "constant"]


def test_programs_share_large_constants(tmp_path: Path) -> None:
    """Programs for two batches of one model hold its weights once, mapped; small constants are in each plan."""
    b = W[0] + 1
    for n in (3, 6):
        low = tgc.jit(lambda x: x @ W + b).lower(X[:n])
        new(tmp_path).compile(low.compilation.result, (), f"key {n}")
    [entry] = constants(tmp_path)
    assert entry.bytes > SHARED > b.nbytes
    assert entry.name
    for n in (3, 6):
        kept = new(tmp_path).load(f"key {n}")
        assert kept is not None
        np.testing.assert_allclose(kept([X[:n]])[0], X[:n] @ W + b, rtol=1e-4, atol=1e-4)
        large = [c for c in kept.plan.constants.values() if c.nbytes >= SHARED]
        assert [(c.flags.writeable, c.ctypes.data % 64) for c in large] == [(False, 0)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("damaged", [False, True])
def test_a_plan_without_its_constants_is_none(damaged: bool, threads: int, tmp_path: Path) -> None:
    low = tgc.jit(lambda x: (x @ W) @ W.T).lower(X)
    backend = new(tmp_path)
    backend.target = replace(backend.target, threads=threads)
    backend.compile(low.compilation.result, (), "key")
    path = tmp_path / f"{constants(tmp_path)[0].key}{SUFFIX}"
    data = path.read_bytes()
    path.unlink()
    if damaged:
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.warns(CacheWarning, match="damaged"):
            assert backend.load("key") is None
    assert backend.load("key") is None
    backend.compile(low.compilation.result, (), "key")
    assert path.read_bytes() == data
    assert backend.load("key") is not None


def test_a_mapped_constant_outlives_its_entry(tmp_path: Path) -> None:
    low = tgc.jit(lambda x: x @ W).lower(X)
    new(tmp_path).compile(low.compilation.result, (), "key")
    kept = new(tmp_path).load("key")
    assert kept is not None
    KernelCache(tmp_path).shrink(0)
    np.testing.assert_allclose(kept([X])[0], X @ W, rtol=1e-4, atol=1e-4)
