"""Schedules: whatever is chosen, results are the same; what is measured is kept, and no more than asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from machine import HOST
from test_processes import run as run_process

import tgc
import tgc.numpy as tnp
from tgc import nn
from tgc.backends.cpu import autotune
from tgc.backends.cpu.autotune import Autotune, Tuned, Tuner, agree, drawn
from tgc.backends.cpu.backend import CpuBackend
from tgc.backends.cpu.emit import emit
from tgc.backends.cpu.places import overwritten
from tgc.backends.cpu.target import X86_LEVELS, CpuTarget
from tgc.backends.loops.ir import Stack
from tgc.backends.loops.lower import lower
from tgc.backends.loops.schedule import Schedule
from tgc.backends.loops.statements import statements
from tgc.errors import BackendError, TgcError, TraceError
from tgc.interpret import interpret
from tgc.ir import Graph, Node
from tgc.jit import LoweredFunction
from tgc.ops import contraction
from tgc.ops.region import fused
from tgc.passes import PIPELINE, parse_pipeline, run
from tgc.passes.memory import Memory
from tgc.runtime.cache import SUFFIX, CacheWarning, KernelCache
from tgc.runtime.registry import get_backend
from tgc.types import F32, I32, TensorType

SEEDS = range(3)


def normal(*shape: int, seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def conv(x: Any, w: Any, **attrs: Any) -> Any:
    return nn.relu(nn.conv(x, w, **attrs))


def kernel_grad(x: Any, g: Any) -> Any:
    attrs = dict(stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1))
    return contraction.conv_kernel_grad(x, g, kernel=(3, 3), chunks=0, groups=x.shape[-1], **attrs)


def attention(q: Any, k: Any, v: Any) -> Any:
    loss = tgc.value_and_grad(lambda *xs: nn.dot_product_attention(*xs, is_causal=True).sum(), argnums=(0, 1, 2))
    return loss(q, k, v)


# name -> a function, its arguments, and the decisions that there are in it, beside `parts`
CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...], set[str]]] = {
    "product": (lambda x, y: nn.relu(x @ y + 1), (normal(37, 70), normal(70, 45)), {"vectors", "rows", "mixed"}),
    "float64": (lambda x, y: x @ y, (normal(19, 33, dtype="f8"), normal(33, 21, dtype="f8")), {"vectors", "rows"}),
    "packed": (lambda x, y: x @ y, (normal(70, 200), normal(200, 300)), {"rows", "run", "group"}),
    "long sum": (lambda x, y: x.T @ y, (normal(20000, 9), normal(20000, 33)), {"piece", "run", "group"}),
    "few rows": (lambda x, y: x @ y, (normal(8, 256), normal(256, 1024)), {"run", "piece"}),
    "one row": (lambda x, y: x @ y, (normal(1, 90), normal(90, 200)), {"vectors"}),
    "batched": (lambda x, y: x @ y, (normal(5, 9, 20), normal(5, 20, 40)), {"vectors", "rows", "run"}),
    "convolution": (conv, (normal(2, 9, 11, 5), normal(3, 3, 5, 18)), {"vectors", "rows"}),
    "pooled": (lambda x, w: nn.max_pool(conv(x, w), 2), (normal(2, 10, 12, 5), normal(3, 3, 5, 18)), {"rows"}),
    "winograd": (lambda x, w: conv(x, w, padding=1), (normal(1, 20, 20, 64), normal(3, 3, 64, 64)), {"group"}),
    "depthwise": (
        lambda x, w: conv(x, w, padding=1, groups=40),
        (normal(2, 9, 23, 40), normal(3, 3, 1, 40)),
        {"vectors", "inside", "rows", "lines"},
    ),
    "depthwise, its gradient": (kernel_grad, (normal(2, 9, 23, 40), normal(2, 9, 23, 40, seed=1)), {"inside", "rows"}),
    "attention": (attention, tuple(normal(1, 2, 70, 24, seed=k) for k in range(3)), {"panels", "keys"}),
    "map": (lambda x, y: tnp.tanh(x) * y, (normal(5000), normal(5000, seed=1)), {"block"}),
    "map of rows": (lambda x, y: x * y, (normal(7, 5, 33), normal(7, 1, 33)), {"inner"}),
    "turned map": (lambda x, y: x.transpose(0, 2, 1) + y, (normal(3, 50, 70), normal(3, 70, 50)), {"strip"}),
    "sum of columns": (lambda x: (x * x).sum(0), (normal(33, 1500),), {"width"}),
    "sum in chunks": (lambda x: (x * x).sum(), (normal(300, 40),), set()),
    "sum of rows": (lambda x: (x * x).sum(1), (normal(70, 90),), {"height"}),
    "softmax": (nn.softmax, (normal(40, 70),), set()),
    "softmax of columns": (lambda x: nn.softmax(x, axis=0), (normal(20, 700),), {"width"}),
    "scatter": (tgc.grad(lambda x, i: (tnp.take(x, i, axis=0) ** 2).sum()), (normal(9, 5), np.array([0, 3, 3])), set()),
    "running sum": (lambda x: tnp.cumsum(x, axis=1), (normal(30, 40),), set()),
    "float16": (lambda x: x.sum(0), (normal(20, 700, dtype="f2"),), {"width"}),
    "complex": (lambda x: (x * x).sum(0), (normal(20, 700) + 1j * normal(20, 700, seed=1),), {"width"}),
}  # fmt: skip


def host() -> CpuBackend:
    backend = get_backend("cpu")
    assert isinstance(backend, CpuBackend)
    return backend


def planned(f: Callable[..., Any], args: tuple[Any, ...]) -> LoweredFunction:
    return tgc.jit(f).lower(*args)  # type: ignore[no-any-return]


def schedules(node: Node, over: Mapping[int, int], target: CpuTarget = HOST) -> list[Schedule]:
    """The usual one, each that differs from it in one decision, and some that differ in any number."""
    usual = Schedule()
    lower(node, target, over, usual)
    found = [usual, *(s for name in usual.choices for s in usual.others(name))]
    for seed in SEEDS:
        rng, chosen = np.random.default_rng(seed), dict[str, int]()
        while True:
            schedule = Schedule(chosen)
            lower(node, target, over, schedule)
            left = [name for name in schedule.choices if name not in chosen]
            if not left:
                break
            chosen[left[0]] = int(rng.choice(schedule.choices[left[0]].values))
        found.append(schedule)
    return found


class Fixed(Tuner):
    """Gives regions the k-th of these schedules, the last one again where there are fewer."""

    def __init__(self, every: Mapping[Node, Sequence[Schedule]], k: int) -> None:
        self.every, self.k = every, k

    def compile_ahead(self, regions: Mapping[Node, Mapping[int, int]]) -> None:
        pass

    def tuned(self, node: Node, overwrites: Mapping[int, int]) -> Tuned:
        every = self.every[node]
        return Tuned(str(every[min(self.k, len(every) - 1)]), 1.0, 1.0, 1)


@pytest.mark.parametrize("name", CASES)
def test_all_schedules_compute_the_same(name: str) -> None:
    f, args, decisions = CASES[name]
    low = planned(f, args)
    graph, backend = low.compilation.result, host()
    every = {node: schedules(node, over) for node, over in overwritten(graph).items()}
    assert {name for usual, *_ in every.values() for name in usual.choices} >= decisions | {"parts"}
    expected = interpret(low.graph, *args_of(low, args))
    for k in range(max(map(len, every.values()))):
        tuned = Autotune(Fixed(every, k))(graph, backend.target)
        results = backend.compile(tuned, ())(args_of(low, args))
        for a, b in zip(results, expected, strict=True):
            wide = a.dtype.itemsize > 2
            scale = float(np.abs(b).max(initial=1e-30))
            np.testing.assert_allclose(a, b, rtol=1e-4 if wide else 1e-2, atol=(1e-5 if wide else 1e-2) * scale)


OTHERS = {
    "avx512": CpuTarget.of("x86_64-unknown-linux-gnu", frozenset().union(*X86_LEVELS.values()), threads=2),
    "neon": CpuTarget.of("aarch64-unknown-linux-gnu", frozenset({"neon", "fp-armv8"}), threads=4),
    "baseline": CpuTarget.of("x86_64-unknown-linux-gnu", frozenset(), threads=1),
}
STACK = 500 << 10  # bytes of a kernel's local arrays, at most: threads have no more than 512 KiB on some systems


@pytest.mark.parametrize("target", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("name", CASES)
def test_schedules_of_other_machines(name: str, target: CpuTarget) -> None:
    """All of them lower, and fit on the stack."""
    f, args, _ = CASES[name]
    graph = run([*parse_pipeline(PIPELINE), Memory()], planned(f, args).graph, target).result
    for node, over in overwritten(graph).items():
        for schedule in schedules(node, over, target):
            for kernel in lower(node, target, over, Schedule(schedule.chosen)):
                assert emit(kernel, target)
                stacks = [s for s in statements(kernel.body) if isinstance(s, Stack)]
                assert sum(s.elements * s.buffer.dtype.itemsize for s in stacks) <= STACK


def args_of(low: LoweredFunction, args: tuple[Any, ...]) -> list[np.ndarray]:
    return [np.ascontiguousarray(a, v.dtype) for a, v in zip(args, low.graph.inputs, strict=True)]


# ------------------------------------------------------------------------------------------------------- texts, errors


def test_schedules_as_text() -> None:
    for text in ("", "rows=6", "vectors=2,rows=12,parts=0"):
        assert str(Schedule.parse(text)) == text
    for text in ("rows", "rows=", "rows=-1", "rows=1,", "rows=1;run=2", "rows=1\n", "=1"):
        with pytest.raises(BackendError, match="is no schedule, such as rows=6,run=4"):
            Schedule.parse(text)


def test_a_schedule_has_legal_values_of_known_decisions() -> None:
    schedule = Schedule({"rows": 5, "other": 1})
    assert schedule.choose("run", 4, 1, 4, 2) == 4
    assert schedule.choices["run"].values == (4, 1, 2)
    assert [str(s) for s in schedule.others("run")] == ["rows=5,other=1,run=1", "rows=5,other=1,run=2"]
    with pytest.raises(BackendError, match="rows of this region can be 6, 4, not 5"):
        schedule.choose("rows", 6, 4)
    with pytest.raises(BackendError, match="nothing of this region is called other, rows"):
        schedule.check()


def test_a_graph_holds_its_schedules() -> None:
    """As an attribute: printed, parsed, and part of what makes regions different."""
    f, args, _ = CASES["product"]
    graph = planned(f, args).compilation.result
    every = {node: schedules(node, over) for node, over in overwritten(graph).items()}
    tuned = Autotune(Fixed(every, 1))(graph, host().target)
    assert tuned != graph
    assert 'schedule="' in str(tuned)
    assert tgc.text.parse(str(tuned)) == tuned
    (node,) = [n for n in tuned.nodes if n.attrs["kind"] == "contraction"]
    broken = Node.make(fused, node.operands, {**node.attrs, "schedule": "rows=77"}, [v.type for v in node.results])
    with pytest.raises(BackendError, match=r"rows of this region can be .*, not 77"):
        lower(broken, host().target)


@pytest.mark.parametrize("value", ["yes", 1, None, 0.5])
def test_the_flag_is_a_bool(value: Any) -> None:
    with pytest.raises(TraceError, match=re.escape(f"autotune={value!r} is neither True nor False")):
        tgc.jit(lambda x: x, autotune=value)


# ---------------------------------------------------------------------------------------------------------- measuring


@dataclass(frozen=True)
class Model:
    """A function whose regions are of several kinds and worth it."""

    args: tuple[np.ndarray, ...] = (normal(64, 96), normal(96, 80), normal(80))

    def __call__(self, x: Any, w: Any, b: Any) -> Any:
        y = nn.softmax(x @ w + b)
        return y, y.sum(0)


@pytest.fixture
def tuner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tuner:
    """A tuner with a cache of its own, for which everything is worth it, in the place of the backend's."""
    monkeypatch.setattr(autotune, "LEAST", 0.0)
    monkeypatch.setattr(autotune, "SECONDS", 0.0)
    made = again(tmp_path / "cache")
    monkeypatch.setitem(host().__dict__, "tuner", made)
    return made


def again(folder: Path | None) -> Tuner:
    """A tuner as of another process."""
    return Tuner(host().target, KernelCache(folder), host().loader, host().driver)


def entries(tuner: Tuner) -> list[Path]:
    """The files of stored schedules."""
    return [p for p in tuner.cache.entries() if b'"region"' in p.read_bytes().split(b"\n")[2]]


def low_of(f: Callable[..., Any], args: tuple[Any, ...]) -> LoweredFunction:
    return tgc.jit(f, autotune=True).lower(*args)  # type: ignore[no-any-return]


def test_equal_regions_are_measured_once_and_kept(tuner: Tuner, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model()

    def twice(x: Any, w: Any, b: Any) -> Any:
        return [model(x * k, w, b) for k in (1.0, 2.0)]

    low = low_of(twice, model.args)
    regions = overwritten(low.compilation.result)
    assert tuner.measured == len(tuner.known) == len({(n.body, n.attrs["kind"]) for n in regions}) < len(regions)
    assert len(entries(tuner)) == tuner.measured
    other = again(tuner.cache.root)
    monkeypatch.setitem(host().__dict__, "tuner", other)
    assert low_of(twice, model.args).compilation.result == low.compilation.result
    assert other.measured == 0
    low_of(model, (normal(65, 96), *model.args[1:])).compilation  # noqa: B018  # another size
    assert other.measured > 0


def test_without_a_cache_each_process_measures(tuner: Tuner, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        other = again(None)
        monkeypatch.setitem(host().__dict__, "tuner", other)
        for _ in range(2):
            low_of(Model(), Model().args).compilation  # noqa: B018
        assert other.measured == len(other.known) > 0


def test_what_is_quickest_is_chosen(tuner: Tuner, monkeypatch: pytest.MonkeyPatch) -> None:
    """With measurements that say so: tiles of five rows, and nothing else."""
    f, args, _ = CASES["product"]

    def took(self: Any, variant: Any) -> float:
        return 0.5 if variant.schedule.chosen.get("rows") == 5 else 1.0

    run = autotune._Trial._run
    monkeypatch.setattr(autotune._Trial, "_run", lambda self, v: (run(self, v), took(self, v))[1])
    low = low_of(f, args)
    assert [n.attrs.get("schedule") for n in low.compilation.result.nodes] == ["rows=5"]
    (line,) = [x for x in low.explain().splitlines() if x.startswith("autotune: @")]
    what = r"autotune: @dot_add_relu\(f32\[37,70\], f32\[70,45\]\): rows=5 takes 500000.0 us rather than 1000000.0 us"
    assert re.fullmatch(what + r", the best of \d+", line)
    assert "(64, " not in line
    (text,) = low.kernels.values()
    assert text != next(iter(planned(f, args).kernels.values()))
    for a, b in zip(low.compile()(*args), (interpret(low.graph, *args)[0],), strict=False):
        np.testing.assert_allclose(a, b[0] if a.ndim < b.ndim else b, rtol=1e-4, atol=1e-4)


def test_noise_chooses_nothing(tuner: Tuner, monkeypatch: pytest.MonkeyPatch) -> None:
    run, rng = autotune._Trial._run, np.random.default_rng(0)
    noisy = lambda self, v: (run(self, v), rng.uniform(0.985, 1.0))[1]  # noqa: E731
    monkeypatch.setattr(autotune._Trial, "_run", noisy)
    low = low_of(Model(), Model().args)
    assert all("schedule" not in n.attrs for n in low.compilation.result.nodes)
    assert "others are no quicker" in low.explain()


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_results_are_spoilt_before_they_are_compared(shape: tuple[int, ...]) -> None:
    expected = [np.ones(shape, np.float32), np.ones(shape, np.int64)]
    trial = SimpleNamespace(expected=expected, results=[a.copy() for a in expected])
    autotune._Trial._spoil(trial)  # type: ignore[arg-type]
    assert not any(np.any(a == b) for a, b in zip(trial.results, expected, strict=True))


def test_a_schedule_that_leaves_results_out_is_an_error(tuner: Tuner, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the usual schedule has left in memory is no result of another one."""
    f, args, _ = CASES["product"]
    run = autotune._Trial._run

    def idle(self: Any, variant: Any) -> float:
        if variant.schedule.chosen.get("rows") != 5:
            run(self, variant)
        return 1.0

    monkeypatch.setattr(autotune._Trial, "_run", idle)
    with pytest.raises(BackendError, match=r"autotune: result 0 of @dot_add_relu is another with rows=5"):
        low_of(f, args).compile()


def test_a_schedule_with_other_results_is_an_error(tuner: Tuner, monkeypatch: pytest.MonkeyPatch) -> None:
    f, args, _ = CASES["product"]
    run = autotune._Trial._run

    def wrong(self: Any, variant: Any) -> float:
        run(self, variant)
        self.results[0][0, 0] += variant.schedule.chosen.get("rows") == 5
        return 1.0

    monkeypatch.setattr(autotune._Trial, "_run", wrong)
    with pytest.raises(BackendError, match=r"autotune: result 0 of @dot_add_relu is another with rows=5:\ngraph @dot"):
        low_of(f, args).compile()


def test_what_fails_on_random_data_stays_as_usual(tuner: Tuner) -> None:
    low = low_of(lambda x, i: tnp.take(x, i, axis=0), (normal(1, 500), np.zeros(900, np.int64)))
    assert "as usual: it fails on random data" in low.explain()
    assert tuner.measured == 0
    low.compile()(normal(1, 500), np.zeros(900, np.int64))


def test_what_takes_no_time_is_left_alone(tuner: Tuner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "LEAST", 3600.0)
    assert "too little to tune" in low_of(Model(), Model().args).explain()


def test_results_written_over_operands(tuner: Tuner) -> None:
    """Each launch begins with the operand as it was."""
    step = tgc.jit(lambda p, g: tnp.sqrt(p) * 0.5 + g, donate="p", autotune=True)
    p, g = np.full(30_000, 4.0, np.float32), np.ones(30_000, np.float32)
    assert list(overwritten(step.lower(p, g).compilation.result).values()) == [{0: 0}]
    assert (step(p, g) == 2).all()


def test_what_was_found_can_be_printed(
    tuner: Tuner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TGC_EXPLAIN", "autotune")
    low_of(lambda x: x * 2, (normal(7000),)).compile()
    assert re.fullmatch(r"autotune: @mul\(f32\[7000\]\): .* us.*\n", capsys.readouterr().err)


def test_bodies_of_loops_are_tuned(tuner: Tuner) -> None:
    def loop(x: Any, w: Any) -> Any:
        return tgc.fori_loop(0, 3, lambda i, h: tnp.tanh(h @ w) + i, x)

    args = normal(40, 30), normal(30, 30)
    low = low_of(loop, args)
    assert "autotune: @dot_tanh" in low.explain()
    assert tuner.measured >= 1
    np.testing.assert_allclose(low.compile()(*args), tgc.jit(loop)(*args), rtol=1e-4, atol=1e-5)


def test_the_usual_program_is_none_the_wiser(tuner: Tuner) -> None:
    """The flag is another program; without it nothing is measured, before or after."""
    model = Model()
    before = planned(model, model.args)
    low_of(model, model.args).compile()
    after = planned(model, model.args)
    assert list(after.stages) == list(before.stages) == [n for n in low_of(model, model.args).stages if n != "autotune"]
    assert after.compilation.result == before.compilation.result
    assert dict(after.kernels) == dict(before.kernels)
    assert all("schedule" not in n.attrs for n in after.compilation.result.nodes)


# --------------------------------------------------------------------------------------------------------- the cache


def test_a_damaged_entry_is_reported_and_measured_anew(tuner: Tuner, monkeypatch: pytest.MonkeyPatch) -> None:
    low_of(Model(), Model().args).compilation  # noqa: B018
    for path in entries(tuner):
        path.write_bytes(path.read_bytes()[:-1])
    other = again(tuner.cache.root)
    monkeypatch.setitem(host().__dict__, "tuner", other)
    with pytest.warns(CacheWarning, match="is damaged and will be rebuilt"):
        low_of(Model(), Model().args).compilation  # noqa: B018
    assert other.measured == len(entries(other)) == tuner.measured


SOUND = asdict(Tuned("", 1.0, 1.0, 3))
STALE: dict[str, bytes] = {
    "no JSON": b"\x7fELF",
    "a list": b"[]",
    "other names": json.dumps({"rows": 4}).encode(),
    "no schedule": json.dumps({**SOUND, "schedule": "rows:4"}).encode(),
    "a number": json.dumps({**SOUND, "schedule": 4}).encode(),
    "an unknown decision": json.dumps({**SOUND, "schedule": "colour=4"}).encode(),
    "an illegal value": json.dumps({**SOUND, "schedule": "parts=3"}).encode(),
}


@pytest.mark.parametrize("payload", STALE.values(), ids=STALE)
def test_a_sound_entry_that_is_no_schedule_is_measured_anew(
    tuner: Tuner, monkeypatch: pytest.MonkeyPatch, payload: bytes
) -> None:
    model = lambda x: tnp.tanh(x)  # noqa: E731
    low_of(model, (normal(9000),)).compilation  # noqa: B018
    (key,) = tuner.known
    tuner.cache.put(key, payload, {"region": "tanh"})
    other = again(tuner.cache.root)
    monkeypatch.setitem(host().__dict__, "tuner", other)
    with pytest.warns(CacheWarning, match="the schedule of @tanh in the kernel cache .* will be measured anew"):
        low_of(model, (normal(9000),)).compilation  # noqa: B018
    assert other.measured == 1
    assert again(tuner.cache.root).cache.get(key) != payload


PROGRAM = """
from tgc.backends.cpu import autotune
autotune.LEAST = autotune.SECONDS = 0.0
f = tgc.jit(parallel, autotune=True)
low = f.lower(X, W)
tuner = get_backend("cpu").tuner
print((digest(*f(X, W)), tuner.measured, low.text("autotune"), sorted({"numba"} & set(sys.modules))))
"""


def test_a_second_process_measures_and_compiles_nothing(tmp_path: Path) -> None:
    first = run_process(PROGRAM, tmp_path)
    second = run_process(PROGRAM, tmp_path)
    assert first[1] > 0
    assert second == (first[0], 0, first[2], [])
    other = run_process(PROGRAM, tmp_path, TGC_NUM_THREADS="1")
    assert other[1] == first[1]  # another number of threads
    assert list(tmp_path.glob(f"*{SUFFIX}"))


def test_progress_is_told_to_those_who_debug(
    tuner: Tuner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    low_of(lambda x: x * 2, (normal(7000),)).compile()
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("TGC_DEBUG", "1")
    low_of(lambda x: x * 2, (normal(7001),)).compile()
    told = capsys.readouterr()
    assert told.out == ""
    assert re.search(r"^tgc: autotune @mul: ", told.err, re.MULTILINE)


# ------------------------------------------------------------------------------------------------------- made-up data


def test_made_up_data() -> None:
    rng = np.random.default_rng(0)
    x = drawn(TensorType(F32, (50,)), rng)
    assert x.dtype == np.float32
    assert ((x >= 0.1) & (x < 1)).all()
    assert set(drawn(TensorType(I32, (50,)), rng).tolist()) == {0, 1}


def test_results_agree_up_to_rounding_and_few_flips() -> None:
    a = np.linspace(1, 2, 20_000, dtype=np.float32)
    assert agree(a, a * np.float32(1 + 1e-6))
    assert not agree(a, a * np.float32(1.01))
    for flipped, fine in ((2, True), (3, False)):
        b = a.copy()
        b[:flipped] = 0
        assert agree(a, b) is fine
    c = a[:10] + 1j * a[:10]
    assert agree(c, c * np.complex64(1 + 1e-6))
    assert not agree(c, c.conj())
    assert not agree(np.arange(3), np.array([0, 1, 3]))
    assert agree(np.array([np.nan, np.inf]), np.array([np.nan, np.inf]))


def test_errors_are_of_the_hierarchy() -> None:
    assert issubclass(autotune._UntunableError, TgcError)
    assert isinstance(planned(Model(), Model().args).compilation.result, Graph)
