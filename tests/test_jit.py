"""`jit`, `grad`, donation, static arguments, and the errors that users meet."""

from __future__ import annotations

import gc
import os
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest

import tgc
import tgc.numpy as tnp
from tgc.errors import (
    BackendError,
    ConcretizationError,
    DTypeError,
    GradientError,
    LeakedTracerError,
    OutOfRangeError,
    ShapeError,
    TraceError,
)  # fmt: skip

HERE = "test_jit.py"


def array(*shape: int, seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# --------------------------------------------------------------------------------------------------------- behaviour


def test_pytrees_and_numbers() -> None:
    """Arguments and results are pytrees; Python numbers are weak, as in NumPy 2."""

    @tgc.jit
    def f(tree: Any, scale: float, *, shift: int) -> Any:
        return {"a": tree["x"] * scale + shift, "b": (tree["x"].sum(), [tree["y"]])}

    x, y = array(3, 4), np.arange(5)
    out = f({"x": x, "y": y}, 0.5, shift=2)
    assert out["a"].dtype == np.float32
    np.testing.assert_allclose(out["a"], x * 0.5 + 2, rtol=1e-6)
    np.testing.assert_allclose(out["b"][0], x.sum(), rtol=1e-5)
    assert out["b"][1][0] is not y
    np.testing.assert_array_equal(out["b"][1][0], y)


def test_many_arguments() -> None:
    """Of a function without names for them, the second of which is static."""
    f = tgc.jit(lambda *xs: sum(xs), static=1)
    assert f(*range(100)) == 4950


def test_weak_numbers_stay_weak_through_arithmetic() -> None:
    f = tgc.jit(lambda x, rate: x * (rate * 0.5 + 1))
    assert f(array(3), 0.1).dtype == np.float32
    assert f(array(3).astype(np.float16), 0.1).dtype == np.float16
    assert f(np.arange(3), 0.1).dtype == np.float64


def test_traced_once_a_signature() -> None:
    calls = []

    def f(x: Any) -> Any:
        calls.append(x.shape)
        return x + 1

    g = tgc.jit(f)
    for shape in ((3,), (4,), (3,), (4,)):
        g(np.zeros(shape, np.float32))
    g(np.zeros(3, np.float64))
    assert calls == [(3,), (4,), (3,)]


def test_static_arguments() -> None:
    @tgc.jit(static=("n", "mode"))
    def f(x: Any, n: int, mode: str = "up") -> Any:
        for _ in range(n):
            x = x + 1 if mode == "up" else x - 1
        return x

    x = array(3)
    np.testing.assert_allclose(f(x, 3), x + 3, rtol=1e-6)
    np.testing.assert_allclose(f(x, 2, mode="down"), x - 2, rtol=1e-5)
    with pytest.raises(TraceError, match="not hashable"):
        f(x, [1])  # type: ignore[arg-type]
    with pytest.raises(TraceError, match="no parameter"):
        tgc.jit(lambda x: x, static="y")


def test_donated_inputs_are_updated_in_place() -> None:
    """Also where a kernel cannot write over them: the transpose reads what it has not written yet."""

    @tgc.jit(donate=("p", "q"))
    def step(p: Any, q: Any, g: Any) -> Any:
        return p - 0.1 * g, q.T + g, g.sum()

    p, q, g = array(8, 8), array(8, 8, seed=1), array(8, 8, seed=2)
    want_p, want_q = p - np.float32(0.1) * g, q.T + g
    address = p.ctypes.data
    new_p, new_q, _ = step(p, q, g)
    assert new_p is p or new_p.ctypes.data == address
    np.testing.assert_allclose(p, want_p, rtol=1e-6)
    np.testing.assert_allclose(new_q, want_q, rtol=1e-6)
    np.testing.assert_allclose(q, want_q, rtol=1e-6)


def test_donated_inputs_that_are_returned_as_they_are_are_not_copied() -> None:
    def step(state: Any, g: Any) -> Any:
        kept, moved = state
        return [kept, moved + g], g.sum()

    kept, moved, g = array(8, 8), array(8, 8, seed=1), array(8, 8, seed=2)
    compiled = tgc.jit(step, donate="state").lower([kept, moved], g).compile()
    assert not compiled.executable.plan.moved  # type: ignore[attr-defined]
    want = kept.copy(), moved + g
    (same, new), total = compiled([kept, moved], g)
    assert np.shares_memory(same, kept)
    np.testing.assert_array_equal(same, want[0])
    np.testing.assert_array_equal(new, want[1])
    np.testing.assert_allclose(total, g.sum(), rtol=1e-5)


def test_others_compute_with_tracers_by_their_reflected_operators() -> None:
    class Holder:
        def __rmatmul__(self, x: Any) -> Any:
            return x @ array(4, 3)

        def __radd__(self, x: Any) -> Any:
            return x + 1

        def __gt__(self, x: Any) -> Any:
            return x < 2

    x = array(2, 4)
    product, total, less = tgc.jit(lambda x: (x @ Holder(), x + Holder(), x < Holder()))(x)
    np.testing.assert_allclose(product, x @ array(4, 3), rtol=1e-5)
    np.testing.assert_allclose(total, x + 1)
    np.testing.assert_array_equal(less, x < 2)
    with pytest.raises(DTypeError):
        tgc.jit(lambda x: x + object())(x)


def test_donation_that_cannot_be_is_refused() -> None:
    step = tgc.jit(lambda p, g: p + g, donate=0)
    p = array(4, 4)
    with pytest.raises(TraceError, match="shares its memory"):
        step(p, p)
    with pytest.raises(TraceError, match="C-contiguous"):
        step(array(4, 4).T, p)
    frozen = array(4, 4)
    frozen.setflags(write=False)
    with pytest.raises(TraceError, match="read-only"):
        step(frozen, p)


def test_donated_memory_is_not_written_before_it_is_read() -> None:
    """Of two results of one kernel, the first is known a sweep before the one that reads the donated array."""

    def f(z: Any, x: Any) -> Any:
        top = tnp.max(x, axis=1, keepdims=True)
        total = tnp.where(top > 0, x, 0).sum(axis=1, keepdims=True)
        return x * top, z + (x == top) * total

    z, x = array(4, 5), array(4, 5)
    first, second = tgc.jit(f, donate="z")(z.copy(), x)
    top = x.max(1, keepdims=True)
    np.testing.assert_allclose(first, x * top, rtol=1e-6)
    want = z + (x == top) * np.where(top > 0, x, 0).sum(1, keepdims=True)
    np.testing.assert_allclose(second, want, rtol=1e-5)


def test_odd_arrays() -> None:
    """Non-contiguous, read-only, big-endian, zero-size and 0-d inputs; inputs and constants as results."""
    f = tgc.jit(lambda x: (x * 2, x))
    for x in (array(6, 4)[::2, ::-1], array(0, 3), array(), array(3).astype(">f4"), np.float32(3)):
        twice, same = f(x)
        np.testing.assert_allclose(twice, np.asarray(x) * 2, rtol=1e-6)
        np.testing.assert_array_equal(same, x)
        assert same is not x
    table = np.arange(6.0)
    one, two = tgc.jit(lambda: (table, table))()
    table[0] = 99
    np.testing.assert_array_equal(one, np.arange(6.0))
    assert one is not two


def test_lowered_shows_every_stage() -> None:
    low = tgc.jit(lambda x, w: tnp.tanh(x @ w + 1)).lower(array(4, 5), array(5, 6))
    assert low.graph.nodes[0].op.name == "dot"
    assert next(iter(low.stages)) == "trace"
    assert "fuse" in low.stages
    assert "memory" in low.stages
    assert tgc.parse(low.text("fuse"), {c.digest: c.data for c in low.stages["fuse"].constants}) == low.stages["fuse"]
    (name,) = low.kernels
    assert f"def {name}(" in low.kernels[name]
    assert "fuse:" in low.explain()
    compiled = low.compile()
    out = compiled(array(4, 5), array(5, 6))
    np.testing.assert_allclose(out, np.tanh(array(4, 5) @ array(5, 6) + 1), rtol=1e-5, atol=1e-6)
    with pytest.raises(TraceError, match="structure"):
        compiled(array(4, 5))
    with pytest.raises(ShapeError, match="compiled for"):
        compiled(array(4, 6), array(5, 6))
    with pytest.raises(DTypeError, match="compiled for"):
        compiled(array(4, 5).astype(np.float64), array(5, 6))
    with pytest.raises(KeyError, match="no stage"):
        low.text("nonsense")


def test_nested_gradients() -> None:
    f = lambda x: tnp.sin(x) * x  # noqa: E731
    third = tgc.grad(tgc.grad(tgc.grad(f)))
    x = np.float64(0.7)
    assert third(x) == pytest.approx(-x * np.cos(x) - 3 * np.sin(x), rel=1e-9)
    assert tgc.jit(third)(x) == pytest.approx(-x * np.cos(x) - 3 * np.sin(x), rel=1e-9)


def test_gradient_does_not_see_outer_uses_of_its_argument() -> None:
    """A closed-over tracer is a constant, even if it is the very value that is differentiated."""
    f = tgc.jit(lambda x: tgc.grad(lambda y: y * x)(x))
    assert f(np.float64(3.0)) == 3.0


def test_value_and_grad_of_pytrees_with_aux() -> None:
    def loss(p: Any, x: Any) -> Any:
        y = x @ p["w"] + p["b"]
        return (y * y).mean(), y

    p, x = {"w": array(3, 2, dtype=np.float64), "b": array(2, dtype=np.float64)}, array(5, 3, dtype=np.float64)
    (value, y), g = tgc.value_and_grad(loss, has_aux=True)(p, x)
    np.testing.assert_allclose(value, (y * y).mean())
    np.testing.assert_allclose(g["w"], x.T @ (2 * y / y.size))
    np.testing.assert_allclose(g["b"], (2 * y / y.size).sum(0))
    gp, gx = tgc.grad(lambda p, x: loss(p, x)[0], argnums=(0, 1))(p, x)
    np.testing.assert_allclose(gp["b"], g["b"])
    np.testing.assert_allclose(gx, (2 * y / y.size) @ p["w"].T)


def test_stop_gradient() -> None:
    g = tgc.grad(lambda x: (x * tgc.stop_gradient(x)).sum())(array(4, dtype=np.float64))
    np.testing.assert_allclose(g, array(4, dtype=np.float64))


# ------------------------------------------------------------------------------------------------- kernels and calls


def chain(x: Any, n: int = 20) -> Any:
    """n small kernels: a sum along alternating axes and a broadcast back keep them apart."""
    for k in range(n):
        x = x - x.sum(axis=k % 2, keepdims=True) * 1e-3
    return x


def test_python_is_entered_once_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    from tgc.backends.cpu.driver import Driver

    f = tgc.jit(chain)
    x = array(16, 16)
    f(x)
    (entry,) = f._entries.values()
    assert len(entry.executable.plan.rows) >= 20
    runs = []
    original = Driver.run

    def counted(self: Any, *args: Any) -> int:
        runs.append(args)
        return original(self, *args)

    monkeypatch.setattr(Driver, "run", counted)
    want = chain(x.astype(np.float64))
    np.testing.assert_allclose(f(x), want, rtol=1e-4, atol=1e-5)
    assert len(runs) == 1


def test_new_batch_size_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training step of a small CNN: those after the first two run the same kernels."""
    from tgc import nn
    from tgc.backends.cpu import compile_many

    def loss(p: Any, x: Any, y: Any) -> Any:
        x = nn.max_pool(nn.relu(nn.conv(x, p["w"], bias=p["b"])), 2)
        return nn.cross_entropy(nn.dense(x.reshape(x.shape[0], -1), p["v"]), y)

    @tgc.jit(donate="p")
    def step(p: Any, x: Any, y: Any) -> Any:
        value, g = tgc.value_and_grad(loss)(p, x, y)
        return {k: p[k] - 0.1 * g[k] for k in p}, value

    def run(n: int) -> None:
        p = {"w": array(3, 3, 3, 8), "b": array(8), "v": array(8 * 5 * 5, 10)}
        step(p, array(n, 12, 12, 3), np.arange(n) % 10)

    run(32)
    run(64)
    compiled: list[Any] = []
    original = compile_many.compile_kernels

    def counted(kernels: Any, *others: Any) -> Any:
        kernels = list(kernels)
        compiled.extend(name for _, name in kernels)
        return original(kernels, *others)

    monkeypatch.setattr(compile_many, "compile_kernels", counted)
    for n in (48, 17, 33, 200):
        run(n)
    assert compiled == []


def test_calls_from_several_threads() -> None:
    f = tgc.jit(lambda x: tnp.exp(x @ x).sum(axis=0))
    inputs = [array(64, 64, seed=s) * np.float32(0.1) for s in range(8)]
    want = [np.exp(x @ x).sum(0) for x in inputs]
    wrong: list[int] = []

    def work(s: int) -> None:
        wrong.extend(s for _ in range(20) if not np.allclose(f(inputs[s]), want[s], rtol=1e-4))

    threads = [threading.Thread(target=work, args=(s,)) for s in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_after_use() -> None:
    f = tgc.jit(lambda x: tnp.tanh(x) + 1)
    x = array(1 << 18)
    want = f(x)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(f(x), want) else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(f(x), want)


# ------------------------------------------------------------------------------------------------------------ errors


def raised(f: Any, *args: Any) -> BaseException:
    """What `f(*args)` raises, its notes included in the text."""
    try:
        f(*args)
    except Exception as error:  # noqa: BLE001  # whatever it is, the test looks at it
        return type(error)("\n".join([str(error), *getattr(error, "__notes__", [])]))
    raise AssertionError("nothing was raised")


def test_wrong_shapes_name_op_shapes_and_line() -> None:
    error = raised(tgc.jit(lambda x, y: x + y), array(3, 4), array(5))
    assert isinstance(error, ShapeError)
    assert "(3, 4)" in str(error)
    assert "(5,)" in str(error)
    assert HERE in str(error)
    error = raised(tgc.jit(lambda x, y: x @ y), array(3, 4), array(5, 6))
    assert isinstance(error, ShapeError)
    assert "matmul" in str(error)
    assert HERE in str(error)


def test_wrong_dtypes() -> None:
    error = raised(tgc.jit(lambda x: x + 1), np.zeros(3, np.longdouble))
    assert isinstance(error, DTypeError)
    assert str(np.dtype(np.longdouble)) in str(error)
    assert isinstance(raised(tgc.jit(lambda x: x + 1), np.array(["a"])), DTypeError)
    assert isinstance(raised(tgc.jit(lambda x: x + 1), np.array([object()])), DTypeError)
    error = raised(tgc.jit(lambda x: x << 1.5), np.arange(3))
    assert isinstance(error, DTypeError)
    assert HERE in str(error)


def test_unknown_device() -> None:
    with pytest.raises(BackendError, match=r"tpu.*cpu"):
        tgc.jit(lambda x: x, backend="tpu")


def test_leaked_tracer() -> None:
    kept = []
    tgc.jit(lambda x: kept.append(x * 2) or x)(array(3))
    for use in (lambda: kept[0] + 1, lambda: tgc.jit(lambda y: y + kept[0])(array(3))):
        error = raised(use)
        assert isinstance(error, LeakedTracerError)
        assert "mul" in str(error)
        assert HERE in str(error)


def test_python_control_flow_on_a_tracer() -> None:
    def branch(x: Any) -> Any:
        return x if x.sum() > 0 else -x

    for f in (
        branch,
        lambda x: float(x[0]),
        lambda x: range(x[0]),
        lambda x: np.sin(x),
        lambda x: np.asarray(x),
        lambda x: x.item(),
    ):
        error = raised(tgc.jit(f), array(3))
        assert isinstance(error, ConcretizationError), f
        assert "Tracer<" in str(error)
        assert HERE in str(error)


def test_numpy_mutation_of_a_tracer() -> None:
    def f(x: Any) -> Any:
        x[0] = 1
        return x

    error = raised(tgc.jit(f), array(3))
    assert isinstance(error, TraceError)
    assert "in place" in str(error)
    assert HERE in str(error)

    def g(x: Any) -> Any:
        np.zeros(3, np.float32)[...] += x

    assert isinstance(raised(tgc.jit(g), array(3)), TraceError | TypeError)


def test_a_sum_that_begins_as_an_array_becomes_a_tracer() -> None:
    zero = np.zeros(3, np.float32)

    def total(x: Any) -> Any:
        out = zero
        for row in x:
            out += row
        return out

    np.testing.assert_allclose(tgc.jit(total)(array(2, 3)), array(2, 3).sum(0), rtol=1e-6)
    assert (zero == 0).all()


def test_arguments_that_are_no_arrays() -> None:
    error = raised(tgc.jit(lambda x: x), "text")
    assert isinstance(error, TraceError)
    assert "str" in str(error)


def test_gradients_that_do_not_exist() -> None:
    assert isinstance(raised(tgc.grad(lambda x: x), array(3)), GradientError)
    assert isinstance(raised(tgc.grad(lambda x: x.sum()), np.arange(3)), GradientError)
    assert isinstance(raised(tgc.grad(lambda x: x.sum(), argnums=2), array(3)), GradientError)


def test_index_out_of_range_at_run_time() -> None:
    f = tgc.jit(lambda table, i: tnp.take(table, i, axis=0) * 2)
    table = array(10, 4)
    np.testing.assert_allclose(f(table, np.array([0, -1, 9])), table[[0, -1, 9]] * 2)
    error = raised(f, table, np.array([0, 10, 3]))
    assert isinstance(error, OutOfRangeError)
    assert HERE in str(error)
    np.testing.assert_allclose(f(table, np.array([1, 2, 3])), table[1:4] * 2)


# -------------------------------------------------------------------------------------------------------- extension


def test_an_op_is_added_in_one_place() -> None:
    """A definition alone makes an op with a gradient that compiles for the CPU."""
    from tgc.ops.elementwise import elementwise
    from tgc.ops.kinds import REGISTRY
    from tgc.ops.samples import reals, samples

    try:
        swish = elementwise(
            "toy_swish",
            arity=1,
            reference=lambda x: x / (1 + np.exp(-x)),
            scalar=lambda s, x: s.mul(x, s.sigmoid(x)),
            grad=lambda g, x, *, out: (g * _slope(x),),
            samples=samples(reals(-5, 5)),
        )
        x = array(100)
        low = tgc.jit(lambda x: swish(x) * 2).lower(x)
        assert "toy_swish" in str(low.graph)
        assert tgc.parse(str(low.graph)) == low.graph
        got = low.compile()(x)
        np.testing.assert_allclose(got, 2 * x / (1 + np.exp(-x)), rtol=1e-5, atol=1e-6)
        s = 1 / (1 + np.exp(-x))
        g = tgc.grad(lambda x: swish(x).sum())(x)
        np.testing.assert_allclose(g, s + x * s * (1 - s), rtol=1e-4, atol=1e-6)
    finally:
        REGISTRY.pop("toy_swish", None)


def _slope(x: Any) -> Any:
    from tgc.ops.elementwise import sigmoid

    s = sigmoid(x)
    return s + x * s * (1 - s)


def test_index_check_is_not_lost_behind_a_guard() -> None:
    """Padding evaluates what it pads only where there is something; the check must see every index all the same."""
    f = tgc.jit(lambda table, i: tnp.pad(tnp.take(table, i, axis=0), ((1, 1), (0, 0))))
    assert isinstance(raised(f, array(10, 4), np.array([0, 10, 3])), OutOfRangeError)


def test_gradient_of_pooling_nothing() -> None:
    from tgc import nn

    g = tgc.grad(lambda x: nn.avg_pool(x, 2).sum())(np.zeros((0, 4, 4, 1)))
    assert g.shape == (0, 4, 4, 1)


@pytest.mark.parametrize("packed", [False, True])
def test_constants_are_kept_once(packed: bool) -> None:
    """As the program reads them: neither as they were traced nor at any stage of the compilation."""
    weights = np.random.default_rng(0).standard_normal((1000, 1000), dtype=np.float32)
    f = tgc.jit((lambda x: x @ weights) if packed else (lambda x: x + weights))
    x = array(200, 1000)[: 200 if packed else 1]
    f(np.concatenate([x, x]) if packed else x[0])  # what is made once in a process
    gc.collect()
    tracemalloc.start()
    try:
        f(x)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1.4 * weights.nbytes
