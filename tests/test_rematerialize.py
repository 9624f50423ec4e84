"""`memory_limit`: programs that need less memory compute the same, and those that cannot say what is in the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import optree
import pytest
from fuzz import drawn
from fuzz_draws import gradients
from models import DONATED, transformer_step
from test_passes import TARGET
from test_passes_memory import Machine, check_lifetimes, places

import tgc
import tgc.numpy as tnp
from tgc import nn
from tgc.autodiff import differentiate
from tgc.errors import OutOfMemoryError, TgcError, TraceError
from tgc.interpret import interpret
from tgc.ir import Graph, Node
from tgc.passes import PIPELINE, parse_pipeline, run
from tgc.passes.arena import ALIGNMENT, Buffer, place
from tgc.passes.lifetimes import Sequencer
from tgc.passes.memory import Memory, arena_bytes
from tgc.passes.rematerialize import Rematerialize
from tgc.passes.reorder import reordered
from tgc.text import parse
from tgc.types import is_float

RNG = np.random.default_rng(0)


def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (scale * RNG.standard_normal(shape)).astype(np.float32)


def again(g: Graph) -> list[Node]:
    """What is computed once more."""
    return [node for node in g.nodes if "again" in node.attrs]


def equal(a: Any, b: Any) -> bool:
    """Whether two trees of results are the same, bit for bit."""
    pairs = zip(optree.tree_leaves(a), optree.tree_leaves(b), strict=True)
    return all(np.array_equal(x, y, equal_nan=True) for x, y in pairs)


def needs(f: Any, *args: Any, **options: Any) -> int:
    """Bytes of the arena of a jitted function."""
    return arena_bytes(tgc.jit(f, **options).lower(*args).compilation.result)


def deep(layers: int = 6) -> tuple[Any, tuple[Any, ...]]:
    """The gradient of a deep network of products, and its arguments."""

    def loss(ws: Any, x: Any) -> Any:
        for w in ws:
            x = tnp.tanh(x @ w)
        return tnp.sum(x * x)

    return tgc.grad(loss), ([normal(16, 16, scale=0.25) for _ in range(layers)], normal(64, 16))


# ------------------------------------------------------------------------------------------------------ small programs


def test_activations_are_computed_again() -> None:
    """By the same kernels, so that gradients are the same bit for bit; the dumps show which."""
    f, args = deep()
    full = needs(f, *args)
    for part in (0.8, 0.6):
        limited = tgc.jit(f, memory_limit=int(full * part))
        low = limited.lower(*args)
        result = low.compilation.result
        assert arena_bytes(result) <= full * part
        assert again(result)
        assert "again=1" in low.text("rematerialize")
        assert parse(low.text("memory"), {c.digest: c.data for c in result.constants}) == result  # type: ignore[misc]
        assert "kernels that run again, their results not kept: dot_tanh" in low.explain()
        check_lifetimes(result, optree.tree_leaves(args))
        assert equal(limited(*args), tgc.jit(f)(*args))


def test_profiles_show_them() -> None:
    f, args = deep()
    names = [row.name for row in tgc.jit(f, memory_limit=int(0.6 * needs(f, *args))).profile(*args).rows]
    assert any(name.endswith(" (again)") for name in names)


def test_chains() -> None:
    """What a dropped value is made of is computed again too, where that is not in memory either."""
    f, args = deep(12)
    low = tgc.jit(f, memory_limit=int(0.45 * needs(f, *args))).lower(*args)
    made = set(again(low.stages["rematerialize"]))
    assert any(v.node in made for node in made for v in node.operands)
    assert equal(low.compile()(*args), tgc.jit(f)(*args))


def test_enough_memory_changes_nothing() -> None:
    f, args = deep()
    full = needs(f, *args)
    plain, limited = (tgc.jit(f, memory_limit=limit).lower(*args) for limit in (None, full))
    assert limited.stages["rematerialize"] is limited.stages["fuse"]
    assert limited.text("memory") == plain.text("memory")
    assert "rematerialize" not in plain.stages


def test_too_little_memory() -> None:
    """The error says what the limit is, what can be reached, and what needs most."""
    f, args = deep()
    with pytest.raises(OutOfMemoryError, match=r"does not fit memory_limit=5000 \(4\.9 KiB\)") as caught:
        tgc.jit(f, memory_limit=5000)(*args)
    least = int(str(caught.value).split("arena takes ")[1].split(" bytes")[0])
    assert 5000 < least < needs(f, *args)
    assert "the largest at the peak: f32[64,16], 4.0 KiB at test_rematerialize.py:" in str(caught.value)
    assert isinstance(caught.value, MemoryError)
    assert arena_bytes(tgc.jit(f, memory_limit=least).lower(*args).compilation.result) <= least


@pytest.mark.parametrize("limit", [0, -1, 1.5, "1 GiB"])
def test_limits_are_positive_integers(limit: Any) -> None:
    with pytest.raises(TraceError, match="is no positive integer"):
        tgc.jit(lambda x: x, memory_limit=limit)


def test_each_shape_and_each_limit_has_its_program() -> None:
    """A batch that does not fit leaves those that do alone."""
    f, (ws, x) = deep()
    plain, limited = tgc.jit(f), tgc.jit(f, memory_limit=int(0.6 * needs(f, ws, x)))
    for batch in (64, 7, 65, 64, 1):
        some = normal(batch, 16)
        assert equal(limited(ws, some), plain(ws, some))
    with pytest.raises(OutOfMemoryError):
        limited(ws, normal(640, 16))
    assert equal(limited(ws, x), plain(ws, x))


def test_donated_arguments_are_still_overwritten() -> None:
    """Nothing that reads a parameter is computed again behind its update."""
    f, (ws, x) = deep()

    def step(ws: Any, x: Any) -> Any:
        return [w - 0.1 * g for w, g in zip(ws, f(ws, x), strict=True)]

    full = needs(step, ws, x, donate="ws")
    plain, limited = (tgc.jit(step, donate="ws", memory_limit=limit) for limit in (None, int(0.6 * full)))
    result = limited.lower(ws, x).compilation.result
    assert again(result)
    assert {f"in:{k}" for k in range(len(ws))} <= set(places(result))
    assert equal(limited([w.copy() for w in ws], x), plain([w.copy() for w in ws], x))


def test_random_numbers_are_the_same_again() -> None:
    def loss(ws: Any, x: Any, key: Any) -> Any:
        for k, w in enumerate(ws):
            x = nn.dropout(tnp.tanh(x @ w), 0.5, tgc.random.fold_in(key, k))
        return tnp.sum(x * x)

    _, (ws, x) = deep()
    f, args = tgc.value_and_grad(loss), (ws, x, tgc.random.key(3))
    limited = tgc.jit(f, memory_limit=int(0.6 * needs(f, *args)))
    assert again(limited.lower(*args).compilation.result)
    assert equal(limited(*args), tgc.jit(f)(*args))


def convolved(x: Any, w: Any) -> Any:
    return tnp.tanh(nn.conv(x, w, padding="same"))


def attended(x: Any, w: Any) -> Any:
    return nn.dot_product_attention(x, x, x) + w


@pytest.mark.parametrize(
    ("layer", "name", "x", "w", "share"),
    [(convolved, "conv", (2, 8, 8, 8), (5, 5, 8, 8), 0.4), (attended, "attention", (2, 1, 64, 16), (16,), 0.7)],
)
def test_convolutions_and_attention_run_again(
    layer: Any, name: str, x: tuple[int, ...], w: tuple[int, ...], share: float
) -> None:
    def loss(ws: Any, x: Any) -> Any:
        for w in ws:
            x = layer(x, w)
        return tnp.sum(x * x)

    f, args = tgc.grad(loss), ([normal(*w, scale=0.05) for _ in range(5)], normal(*x))
    limited = tgc.jit(f, memory_limit=int(share * needs(f, *args)))
    assert any(name in node.body.name for node in again(limited.lower(*args).compilation.result))
    assert equal(limited(*args), tgc.jit(f)(*args))


# -------------------------------------------------------------------------------------------------------- control flow


def test_loops_run_again() -> None:
    """A scan is a kernel like others: what it returns need not be kept."""

    def loss(w: Any, xs: Any) -> Any:
        total = 0.0
        for _ in range(4):
            _, xs = tgc.scan(lambda h, x: (tnp.tanh(h @ w + x),) * 2, xs[0], xs)
            total = total + tnp.sum(tnp.sin(xs[::-1]))
        return total

    f, args = tgc.grad(loss), (normal(16, 16, scale=0.25), normal(30, 4, 16))
    limited = tgc.jit(f, memory_limit=int(0.7 * needs(f, *args)))
    assert "scan" in [node.op.name for node in again(limited.lower(*args).compilation.result)]
    assert equal(limited(*args), tgc.jit(f)(*args))


def test_bodies_of_loops_need_less() -> None:
    """Training steps within a scan drop their own activations."""
    f, (ws, x) = deep()

    def train(ws: Any, xs: Any) -> Any:
        return tgc.scan(lambda ws, x: ([w - 0.1 * g for w, g in zip(ws, f(ws, x), strict=True)], ()), ws, xs)[0]

    xs = np.stack([x, -x, x + 1])
    limited = tgc.jit(train, memory_limit=int(0.6 * needs(train, ws, xs)))
    (loop,) = (node for node in limited.lower(ws, xs).compilation.result.nodes if node.op.name == "scan")
    assert again(loop.body)
    assert equal(limited(ws, xs), tgc.jit(train)(ws, xs))
    with pytest.raises(OutOfMemoryError, match="the bodies of scan"):
        tgc.jit(train, memory_limit=1000)(ws, xs)


# ----------------------------------------------------------------------------------------------------- random programs


def limited(g: Graph, donated: Sequence[int], limit: int) -> Graph:
    steps = [*parse_pipeline(PIPELINE), Rematerialize(limit, tuple(donated)), Memory(tuple(donated), limit)]
    return run(steps, g, TARGET).result


@pytest.mark.parametrize("part", range(2))
def test_any_program(part: int) -> None:
    """Under limits that leave something to do: the same results, with rubbish in all memory that is not in use."""
    met = 0
    for program in drawn(gradients(most=14), 40, part):
        g = differentiate(program.graph) if program.gradient else program.graph
        for donated in ((), tuple(k for k, v in enumerate(g.inputs) if is_float(v.dtype))):
            plain = run([*parse_pipeline(PIPELINE), Memory(donated)], g, TARGET).result
            for share in (0.9, 0.7):
                limit = max(1, int(share * arena_bytes(plain)))
                try:
                    plan = limited(g, donated, limit)
                except OutOfMemoryError:
                    continue
                assert arena_bytes(plan) <= limit
                met += bool(again(plan))
                check_lifetimes(plan, program.arrays)
                machine = Machine(plan, program.arrays, donated)
                for want, got in zip(interpret(plain, *program.arrays), machine.run(), strict=True):
                    np.testing.assert_array_equal(want, got, err_msg=str(program))
    assert met


def test_the_transformer_trains_in_half_of_its_memory() -> None:
    """Parameters, moments and losses of some steps are those of the program without a limit, bit for bit."""
    step, args = transformer_step()
    donate = [name for name in DONATED if name in args]
    full = arena_bytes(tgc.jit(step, donate=donate).lower(**args).compilation.result)
    runs = []
    for limit in (None, full // 2):
        f = tgc.jit(step, donate=donate, memory_limit=limit)
        state = optree.tree_map(np.copy, {name: args[name] for name in donate})  # type: ignore[arg-type]
        rest = {name: x for name, x in args.items() if name not in donate}
        losses = []
        for _ in range(3):
            *new, loss = f(**state, **rest)
            state = dict(zip(donate, new, strict=True))
            losses.append(float(loss))
        assert losses == sorted(losses, reverse=True)
        runs.append((losses, state))
    low = tgc.jit(step, donate=donate, memory_limit=full // 2).lower(**args)
    assert arena_bytes(low.compilation.result) <= full // 2
    assert equal(runs[0], runs[1])


# --------------------------------------------------------------------------------------------------- order and buffers


def test_what_frees_memory_runs_as_soon_as_it_can() -> None:
    """Though the function does it in the end."""

    def f(x: Any, ws: Any) -> Any:
        ys = [tnp.tanh(x @ w) for w in ws]
        return [tnp.sum(y, axis=0) for y in ys]

    args = normal(64, 16), [normal(16, 16) for _ in range(8)]
    graph = tgc.jit(f).lower(*args).stages["fuse"]
    sequencer = Sequencer(graph, {})
    early = reordered(sequencer)
    assert sorted(map(id, early)) == sorted(map(id, sequencer.nodes))
    one = 4 * 64 * 16
    assert (sequencer.usage(sequencer.nodes).peak, sequencer.usage(early).peak) == (8 * one, one)
    arrays = optree.tree_leaves(args)
    for want, got in zip(interpret(graph, *arrays), interpret(sequencer.emitted(early), *arrays), strict=True):
        np.testing.assert_array_equal(want, got)
    low = tgc.jit(f, memory_limit=one).lower(*args)
    assert not again(low.compilation.result)


def test_usage_is_what_a_plan_takes() -> None:
    """The bytes that are counted for a sequence are those of its arena, but for gaps."""
    f, args = deep()
    low = tgc.jit(f).lower(*args)
    usage = Sequencer(low.stages["fuse"], {}).usage(Sequencer(low.stages["fuse"], {}).nodes)
    assert usage.peak <= arena_bytes(low.compilation.result) <= 1.2 * usage.peak


@pytest.mark.parametrize("seed", range(5))
def test_buffers_in_use_at_once_do_not_overlap(seed: int) -> None:
    """In either order; the second is taken only if it needs less."""
    rng = np.random.default_rng(seed)
    firsts = np.sort(rng.integers(0, 50, 80)).tolist()
    ends = []
    for limit in (0, 1):
        rng = np.random.default_rng(seed)
        buffers = [Buffer(ALIGNMENT * int(rng.integers(0, 9)), k, k + int(rng.integers(0, 9))) for k in firsts]
        place(buffers, limit)
        for i, a in enumerate(buffers):
            for b in buffers[:i]:
                apart = a.first > b.last or b.first > a.last
                assert apart or a.at + a.size <= b.at or b.at + b.size <= a.at or not a.size * b.size
        ends.append(max(b.at + b.size for b in buffers))
    most = max(sum(b.size for b in buffers if b.first <= k <= b.last) for k in range(60))
    assert most <= ends[1] <= ends[0]


def test_unknown_attributes_are_still_refused() -> None:
    """`again` is optional for kernels and loops, and for nothing else."""
    with pytest.raises(TgcError, match="attributes"):
        tgc.eval_shape(lambda x: tgc.ops.REGISTRY["neg"](x, again=1), normal(3))
