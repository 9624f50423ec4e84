"""Programs in other processes, forks and threads, and after an interruption: the same results, to the last bit."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tgc.runtime.cache import SUFFIX

SECONDS = 300  # after which a process is taken to hang

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")

PRELUDE = """
import hashlib, multiprocessing, os, signal, sys, threading, time, warnings
import numpy as np
import tgc
import tgc.numpy as tnp
from tgc import nn
from tgc.ir import recorder
from tgc.runtime.registry import get_backend

def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)

def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()

def parallel(x, w):  # launches that threads share, in a loop and not: products, reductions of rows and in chunks, maps
    h = tgc.fori_loop(0, 3, lambda i, h: tnp.tanh(nn.softmax(h @ w) @ w.T + i), x)
    return h, (h * x).sum(), h.sum(axis=0)

X, W = normal(600, 200), normal(200, 120)
"""


def run(code: str, cache: Path, *, warn: str = "error", **environment: str) -> Any:
    """What a new Python process prints, a literal, for some code behind the prelude above."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TGC_")}
    environment = {"TGC_CACHE_DIR": str(cache), "TGC_NUM_THREADS": "2", "PYTHONFAULTHANDLER": "1", **environment}
    done = subprocess.run(
        [sys.executable, "-W", warn, "-W", "ignore::DeprecationWarning", "-c", PRELUDE + textwrap.dedent(code)],
        env=inherited | environment, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return ast.literal_eval(done.stdout)


# --------------------------------------------------------------------------------------------------------- warm starts

TRAIN = """
def loss(p, x, y):
    return nn.cross_entropy(nn.relu(x @ p["first"]) @ p["last"], y)

@tgc.jit(donate="p")
def step(p, x, y, rate):
    value, g = tgc.value_and_grad(loss)(p, x, y)
    return {k: p[k] - rate * g[k] for k in p}, value

p = {"first": normal(20, 30) * 0.1, "last": normal(30, 10) * 0.1}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    values = []
    for k in range(3):
        p, value = step(p, normal(32, 20, seed=k % 2), np.arange(32) % 10, 0.1)
        values.append(value)
print({
    "result": digest(*p.values(), *values),
    "loss": [float(v) for v in values],
    "compiler": sorted({"numba", "tgc.backends.cpu.compile"} & set(sys.modules)),
    "warnings": [f"{w.category.__name__}: {w.message}" for w in caught],
})
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The cache of a process that has trained, and what it said."""
    cache = tmp_path_factory.mktemp("cache")
    said = run(TRAIN, cache, TGC_COMPILE_PROCESSES="1")
    assert said["compiler"] == ["numba", "tgc.backends.cpu.compile"]
    assert said["warnings"] == []
    assert said["loss"][2] < said["loss"][0]
    return cache, said


def entries(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in cache.iterdir()}


def test_a_second_process_compiles_nothing(trained: tuple[Path, dict[str, Any]]) -> None:
    cache, cold = trained
    before = entries(cache)
    assert len(before) > 5
    assert all(name.endswith(SUFFIX) for name in before)
    warm = run(TRAIN, cache, TGC_COMPILE_PROCESSES="1")
    assert warm == cold | {"compiler": []}
    assert entries(cache) == before


def test_a_damaged_cache_is_rebuilt(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    cache, cold = trained
    sound = entries(cache)
    for k, (name, data) in enumerate(sorted(sound.items())):
        place = len(data) * k // len(sound)  # from the magic number to the end of the code
        flipped = data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]
        (tmp_path / name).write_bytes(flipped if k % 3 else data[: place + 1])
    rebuilt = run(TRAIN, tmp_path, TGC_COMPILE_PROCESSES="1")
    assert all(w.startswith("CacheWarning: ") and "is damaged and will be rebuilt" in w for w in rebuilt["warnings"])
    assert [sum(name in w for w in rebuilt["warnings"]) for name in sound] == [1] * len(sound)
    assert {**rebuilt, "warnings": []} == cold
    assert entries(tmp_path).keys() == sound.keys()
    assert run(TRAIN, tmp_path, TGC_COMPILE_PROCESSES="1") == cold | {"compiler": []}


# ------------------------------------------------------------------------------------------------------------- threads

REPEATABLE = """
@tgc.jit
def many(x, w, table, index, key, images, filters):
    def loss(x, table, filters):
        h, total, columns = parallel(x, w)
        rows = tnp.take(table, index, axis=0)
        kept = tgc.random.bernoulli(key, 0.5, h.shape)
        pixels = tgc.nn.conv(images, filters, padding=1)
        pixels = tgc.nn.conv(pixels, filters[:, :, :1], padding=1, groups=32)
        return (h * kept).sum() + total + (columns ** 2).sum() + (rows ** 2).mean() + (pixels ** 2).sum()
    return tgc.value_and_grad(loss, argnums=(0, 1, 2))(x, table, filters)

convolution = normal(4, 32, 32, 32), normal(3, 3, 32, 32)
value, grads = many(X, W, normal(1000, 300), np.arange(5000) % 997, tgc.random.key(0), *convolution)
print((get_backend("cpu").driver.threads, "numba" in sys.modules, digest(value, *grads)))
"""


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


def test_results_do_not_depend_on_the_number_of_threads(shared_cache: Path) -> None:
    """Nor does the code: one process compiles for all."""
    said = [run(REPEATABLE, shared_cache, TGC_NUM_THREADS=str(n)) for n in (1, 2, 3, 3)]
    assert said == [(n, n == 1, said[0][2]) for n in (1, 2, 3, 3)]


def test_a_thread_calls_while_another_compiles(tmp_path: Path) -> None:
    """The compiler does not start before another thread has made ten more calls, of functions that are compiled."""
    code = """
        from tgc.backends.cpu import compile_many
        f = tgc.jit(lambda x: tnp.tanh(x) + x.sum(axis=1, keepdims=True) if len(x) == 600 else tnp.exp(x) * 2)
        want, calls, stop, wrong, compiled = digest(f(X)), [0], threading.Event(), [], []

        def work():
            while not stop.is_set():
                wrong.extend([1] * (digest(f(X)) != want))
                calls[0] += 1

        def slowly(kernels, *others):
            kernels = list(kernels)
            enough = calls[0] + 10
            while calls[0] < enough:
                time.sleep(0.001)
            compiled.append(len(kernels))
            return compile_kernels(kernels, *others)

        compile_kernels, compile_many.compile_kernels = compile_many.compile_kernels, slowly
        thread = threading.Thread(target=work)
        thread.start()
        try:
            small = f(X[:40])  # another signature of the function that the thread calls
            other = tgc.jit(lambda x: x * 3 - 1)(X)
        finally:
            stop.set()
            thread.join()
        right = np.allclose(small, np.exp(X[:40]) * 2, rtol=1e-5) and np.allclose(other, X * 3 - 1, rtol=1e-5)
        print((len(wrong), compiled, right))
    """
    assert run(code, tmp_path) == (0, [1, 1], True)


def test_threads_that_call_first_at_once_trace_once(shared_cache: Path) -> None:
    code = """
        traced, results, gate = [], [], threading.Barrier(4)

        @tgc.jit
        def f(x, w):
            traced.append(1)
            return parallel(x, w)

        def work():
            gate.wait()
            results.append(digest(*f(X, W)))

        threads = [threading.Thread(target=work) for _ in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        print((len(traced), len(results), len(set(results))))
    """
    assert run(code, shared_cache) == (1, 4, 1)


# --------------------------------------------------------------------------------------------------------------- forks


@needs_fork
def test_forks_after_use_while_another_thread_calls(shared_cache: Path) -> None:
    """Children, and theirs, launch on threads of their own; one also compiles what the parent has not."""
    code = """
        f = tgc.jit(parallel)
        want, stop, wrong = digest(*f(X, W)), threading.Event(), []

        def work():
            while not stop.is_set():
                wrong.extend([1] * (digest(*f(X, W)) != want))

        def child(depth):
            process = os.fork()
            if process:
                return os.waitpid(process, 0)[1]
            status = 1
            try:
                same = all(digest(*f(X, W)) == want for _ in range(20))
                fresh = depth or np.allclose(tgc.jit(lambda x: tnp.exp(x).sum(axis=1))(X), np.exp(X).sum(1), rtol=1e-4)
                status = 0 if same and fresh and (depth or child(1) == 0) else 1
            finally:
                os._exit(status)

        thread = threading.Thread(target=work)
        thread.start()
        statuses = []
        for _ in range(5):
            statuses += [child(0), int(digest(*f(X, W)) != want)]
        stop.set()
        thread.join()
        print((statuses, len(wrong)))
    """
    assert run(code, shared_cache) == ([0] * 10, 0)


@needs_fork
def test_a_fork_while_another_thread_compiles(shared_cache: Path) -> None:
    code = """
        from numba.core.compiler_lock import global_compiler_lock
        f, g, held = tgc.jit(parallel), tgc.jit(lambda x: x.T * 2 + 1), threading.Event()
        want = digest(*f(X, W))

        def compiling():
            with global_compiler_lock:
                held.set()
                time.sleep(0.5)

        thread = threading.Thread(target=compiling)
        thread.start()
        held.wait()
        process = os.fork()
        if process == 0:
            signal.alarm(60)
            os._exit(0 if digest(*f(X, W)) == want and np.array_equal(g(X), X.T * 2 + 1) else 1)
        thread.join()
        print(os.waitpid(process, 0)[1])
    """
    assert run(code, shared_cache, TGC_CACHE="0") == 0


def test_a_second_process_runs_no_pass(tmp_path: Path) -> None:
    code = """
        f = tgc.jit(lambda x, w: nn.gelu(x @ w))
        print(repr(digest(f(X, W))))
    """
    first = run(code, tmp_path)
    assert run("tgc.runtime.lowered.run = None\n" + textwrap.dedent(code), tmp_path) == first


@needs_fork
@pytest.mark.parametrize("used", [True, False])
def test_a_pool_of_forks_inherits_a_function(used: bool, shared_cache: Path) -> None:
    code = f"""
        f = tgc.jit(parallel)
        want = digest(*f(X, W)) if {used} else None

        def work(k):
            return digest(*f(X, W)), digest(*f(X[: 300 + k], W))  # known, and another size

        with multiprocessing.get_context("fork").Pool(2) as pool:
            found = pool.map(work, [0, 0, 1, 1]) + pool.map(work, [0, 1])
        print((len({{a for a, _ in found}} | {{want or digest(*f(X, W))}}), len({{b for _, b in found}})))
    """
    assert run(code, shared_cache) == (1, 2)


def test_spawned_processes_import_the_function(shared_cache: Path, tmp_path: Path) -> None:
    text = "import tgc\n\n@tgc.jit\ndef twice(x):\n    return x * 2\n\ndef work(x):\n    return twice(x)\n"
    (tmp_path / "steps.py").write_text(text)
    code = """
        import steps
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            print([y.tolist() for y in pool.map(steps.work, [np.ones(2), np.zeros(1)])])
    """
    assert run(code, shared_cache, PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path])) == [[2.0, 2.0], [0.0]]


# -------------------------------------------------------------------------------------------------------- interruption


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "ValueError", "SystemExit"])
def test_an_exception_in_tracing_leaves_nothing_behind(error: str, shared_cache: Path) -> None:
    code = f"""
        fail = True

        @tgc.jit
        def f(x):
            y = tnp.exp(x)
            tgc.jit(lambda z: tgc.grad(inner)(z))(y)
            return y

        def inner(z):
            if fail:
                raise {error}("stop")
            return z.sum()

        found = []
        for call in (f, f.lower, tgc.grad(inner)):
            try:
                call(X)
            except {error} as caught:
                found.append((str(caught), recorder() is None, type(tnp.exp(X)).__name__))
        fail = False
        right = np.allclose(f(X), np.exp(X), rtol=1e-5) and digest(tgc.grad(inner)(X)) == digest(np.ones_like(X))
        print((found, right))
    """
    assert run(code, shared_cache) == ([("stop", True, "ndarray")] * 3, True)


@needs_fork
def test_an_interrupted_compilation_can_be_repeated(tmp_path: Path) -> None:
    """Ctrl-C reaches this process, which ends the forks that compile for it."""
    code = """
        from tgc.backends.cpu import compile_many, workers
        compile_many.KERNELS_PER_PROCESS = 1
        work, found = workers._work, []

        def interrupting(*_):
            os.kill(os.getppid(), signal.SIGINT)
            time.sleep(1000)

        f = tgc.jit(lambda x: (x + 1, x.T * 2, x.sum(axis=0), x.sum(axis=1), tnp.exp(x.T), tnp.argmax(x, axis=1)))
        workers._work = interrupting
        try:
            f(X)
        except KeyboardInterrupt:
            found.append("interrupted")
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            found.append("no child is left")
        workers._work = work
        print((found, recorder() is None, bool(np.allclose(f(X)[2], X.sum(0), atol=1e-3))))
    """
    assert run(code, tmp_path, TGC_COMPILE_PROCESSES="2") == (["interrupted", "no child is left"], True, True)


def test_interrupted_calls_can_be_repeated(shared_cache: Path) -> None:
    """Signals at any moment of a call: the next one is right, and no thread is left waiting."""
    code = """
        f = tgc.jit(parallel)
        want, wrong, interrupted = digest(*f(X, W)), 0, 0
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        for k in range(40):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-4 * (k + 1))
                while True:
                    f(X, W)
            except KeyboardInterrupt:
                interrupted += 1
            wrong += digest(*f(X, W)) != want
        print((interrupted, wrong))
    """
    assert run(code, shared_cache) == (40, 0)


def test_an_interrupted_start_of_the_threads_can_be_repeated(shared_cache: Path) -> None:
    code = """
        f, g, start = tgc.jit(parallel), tgc.jit(parallel), threading.Thread.start

        def interrupted(thread):
            start(thread)
            threading.Thread.start = start
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)

        threading.Thread.start = interrupted
        try:
            f(X, W)
        except KeyboardInterrupt:
            pass
        print((digest(*f(X, W)) == digest(*g(X, W)), [t.name for t in threading.enumerate() if "tgc" in t.name]))
    """
    assert run(code, shared_cache) == (True, ["tgc-1"])
