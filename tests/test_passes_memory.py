"""Memory planning: places are reused, kernels overwrite operands that die, and nothing is overwritten too early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from fuzz import drawn
from fuzz_draft import OPS
from fuzz_draws import gradients, programs
from graphs import f32
from test_passes import TARGET, traced
from traced import graph_of

import tgc.numpy as tnp
from tgc.autodiff import differentiate
from tgc.interpret import interpret, interpret_values
from tgc.ir import Graph, Node, Value
from tgc.passes import PIPELINE, parse_pipeline, run
from tgc.passes.arena import ALIGNMENT
from tgc.passes.memory import Memory, arena_bytes, match_donations
from tgc.runtime.lowered import Lowered, same
from tgc.trace import trace
from tgc.types import F32, is_float

RESHAPE = OPS["reshape"]


def planned(g: Graph, donated: Sequence[int] = ()) -> Graph:
    return run([*parse_pipeline(PIPELINE), Memory(donated=tuple(donated))], g, TARGET).result


def places(g: Graph) -> list[str]:
    """Of every result that a kernel writes, in order."""
    return [str(p) for node in g.nodes if node.op is not RESHAPE for p in node.attrs["places"]]  # type: ignore[union-attr]


# -------------------------------------------------------------------------------------------------- execution in place


class Machine:
    """Memory as a compiled program has it; every kernel runs at once, and what is dead is filled with rubbish.

    Kernels read all operands before they write a result: whether one may write over an operand is tested by itself.
    """

    def __init__(self, g: Graph, arrays: Sequence[np.ndarray], donated: Sequence[int]) -> None:
        self.graph, self.donated = g, set(donated)
        self.arena = np.random.default_rng(0).integers(0, 256, arena_bytes(g), np.uint8)
        self.inputs = [np.array(a, order="C") for a in arrays]
        self.out = [np.empty(v.shape, v.dtype) for v in g.outputs]
        self.data: dict[Value, np.ndarray] = dict(zip(g.inputs, self.inputs, strict=True))
        self.data |= {c.value: np.asarray(c.data) for c in g.constants}

    def place(self, text: str, v: Value) -> np.ndarray:
        kind, _, number = text.partition(":")
        if kind == "arena":
            at = int(number)
            assert at % ALIGNMENT == 0
            size = v.type.size * v.dtype.itemsize
            return self.arena[at : at + size].view(v.dtype).reshape(v.shape)
        if kind == "in":
            assert int(number) in self.donated
            return self.inputs[int(number)].reshape(v.shape)
        assert kind == "out"
        return self.out[int(number)].reshape(v.shape)

    def run(self) -> list[np.ndarray]:
        for node in self.graph.nodes:
            operands = [self.data[v] for v in node.operands]
            if node.op is RESHAPE:
                self.data[node.result] = operands[0].reshape(node.result.shape)
                continue
            for v, array, text in zip(node.results, interpret(node.body, *operands), node.attrs["places"], strict=True):  # type: ignore[arg-type]
                self.data[v] = self.place(str(text), v)
                self.data[v][...] = array
        return [np.array(self.data[v]) for v in self.graph.outputs]


def roots(g: Graph) -> dict[Value, Value]:
    """The value whose memory each value has."""
    root = {v: v for v in (*g.inputs, *(c.value for c in g.constants))}
    for node in g.nodes:
        root |= {r: root[node.operands[0]] if node.op is RESHAPE else r for r in node.results}
    return root


def check_lifetimes(g: Graph, arrays: Sequence[np.ndarray]) -> None:
    """No two values that are live at once share a byte; but one may be written by the step that reads another last."""
    root, numbers = roots(g), interpret_values(g, *arrays)
    end = len(g.nodes)
    last: dict[Value, int] = {}
    for step, node in enumerate(g.nodes):
        last |= {root[v]: step for v in node.operands}
    last |= {root[v]: end for v in g.outputs}
    spans: list[tuple[str, int, int, int, int, Node, Value]] = []
    for step, node in enumerate(g.nodes):
        for r, text in zip(node.results, node.attrs.get("places", ()), strict=node.op is not RESHAPE):  # type: ignore[arg-type]
            kind, _, number = str(text).partition(":")
            memory, first = (kind, int(number)) if kind == "arena" else (str(text), 0)
            spans.append((memory, first, first + r.type.nbytes, step, last.get(r, step), node, r))
    for k, v in enumerate(g.inputs):
        spans.append((f"in:{k}", 0, v.type.nbytes, -1, last.get(v, -1), None, v))  # type: ignore[arg-type]
    for i, a in enumerate(spans):
        for b in spans[i + 1 :]:
            early, late = sorted((a, b), key=lambda s: s[3])
            if early[0] != late[0] or early[1] >= late[2] or late[1] >= early[2] or late[3] > early[4]:
                continue
            handed_over = late[3] == early[4] and early[3] < late[3] and early[1:3] == late[1:3]
            assert handed_over, f"{early[-1]} and {late[-1]} share memory"
            node, readers = late[5], [k for k, v in enumerate(late[5].operands) if root[v] is early[6]]
            check_overwritable(node, readers, late[6], [numbers[v] for v in node.operands])


def check_overwritable(node: Node, readers: list[int], result: Value, arrays: list[np.ndarray]) -> None:
    """An element of the operand reaches no element of any result but the one in its own place."""
    (operand,) = readers
    rng = np.random.default_rng(0)
    assert arrays[operand].size == result.type.size
    before = interpret(node.body, *arrays)
    for at in rng.permutation(arrays[operand].size)[:5]:
        moved = [a.copy() for a in arrays]
        flat = moved[operand].reshape(-1)
        flat[at] = flat[at] == 0
        for a, b, v in zip(before, interpret(node.body, *moved), node.results, strict=True):
            where = np.flatnonzero((a != b).ravel() & ~((a != a) & (b != b)).ravel())
            assert set(where) <= {at} or (v.shape != result.shape and node.attrs["kind"] == "map"), (
                "reads other elements"
            )


def check_plan(g: Graph, arrays: Sequence[np.ndarray], donated: Sequence[int]) -> None:
    plan = planned(g, donated)
    check_lifetimes(plan, arrays)
    machine = Machine(plan, arrays, donated)
    for want, got in zip(interpret(planned(g), *arrays), machine.run(), strict=True):
        assert same(want, got)
    for k, a in enumerate(arrays):
        if k not in donated:
            assert a.tobytes() == machine.inputs[k].tobytes()


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("strategy", [programs(most=14), gradients(most=9)], ids=["forward", "gradient"])
def test_any_program(strategy: Any, part: int) -> None:
    """Without donated arguments, and with all that are floats."""
    for program in drawn(strategy, 40, part):
        g = differentiate(program.graph) if program.gradient else program.graph
        real = tuple(k for k, v in enumerate(g.inputs) if is_float(v.dtype))
        try:
            check_plan(g, program.arrays, ())
            check_plan(g, program.arrays, real)
        except AssertionError as error:
            error.add_note(str(program))
            raise


# ------------------------------------------------------------------------------------------------------ small examples

N = 64  # float32 elements: 256 bytes


def chain(n: int, body: Callable[[Any], Any]) -> Graph:
    """`n` products with a reversal in between, none of which can be fused with another."""

    def f(x: Any, w: Any) -> Any:
        for _ in range(n):
            x = body(x @ w)
        return x

    return traced(f, "f32[8,8]", "f32[8,8]")


def test_places_are_reused() -> None:
    """A chain of any length alternates between two places."""
    plan = planned(chain(7, lambda x: x))
    assert arena_bytes(plan) == 2 * 4 * N
    assert places(plan)[-1] == "out:0"
    assert set(places(plan)[:-1]) == {"arena:0", "arena:256"}


def test_small_values_fill_gaps() -> None:
    """The smallest gap that is large enough is taken."""
    plan = planned(chain(3, lambda x: x + tnp.sum(x, axis=0)))
    assert arena_bytes(plan) <= 3 * 4 * N
    assert all(p.startswith(("arena:", "out:")) for p in places(plan))


def test_maps_write_over_operands_that_die() -> None:
    """If they read them element by element."""

    def behind_scatter(f: Callable[[Any], Any]) -> list[str]:
        types = ("f32[8,8]", "i32[3]", "f32[3,8]")
        return places(planned(traced(lambda x, i, y: f(OPS["scatter_add"](x, i, y)) @ x, *types)))

    assert behind_scatter(tnp.exp) == ["arena:0", "arena:0", "out:0"]
    assert behind_scatter(lambda x: tnp.exp(x) + x) == ["arena:0", "arena:0", "out:0"]
    assert behind_scatter(lambda x: tnp.exp(x[::-1])) == ["arena:0", "arena:256", "out:0"]
    assert behind_scatter(lambda x: x + x.T) == ["arena:0", "arena:256", "out:0"]


def over(f: Callable[..., Any], *types: str) -> list[str]:
    """Places with the first argument donated."""
    return places(planned(traced(f, *types), (0,)))


def test_donation() -> None:
    """A result is written over the donated argument if that is read element by element, or before; else beside it."""
    assert over(lambda x, g: x - g * 0.1, "f32[64]", "f32[64]") == ["in:0"]
    assert over(lambda x: x.T + x, "f32[8,8]") == ["out:0"]
    assert over(lambda x: x[::-1] * 2, "f32[64]") == ["out:0"]
    assert over(lambda x: x - tnp.sum(x), "f32[64]")[-1] == "out:0"
    assert over(lambda x: tnp.sum(x, axis=0), "f32[8,8]") == ["out:0"]
    assert over(lambda x, w: x @ w + x, "f32[8,8]", "f32[8,8]")[-1] == "out:0"
    assert over(lambda x, y, w: y @ w + x, "f32[8,8]", "f32[8,8]", "f32[8,8]") == ["in:0"]
    assert over(lambda x, w: (x @ w) @ w, "f32[8,8]", "f32[8,8]")[-1] == "in:0"  # dead by then


def test_operands_of_later_sweeps_are_kept() -> None:
    """A result of one reduction must not be written over an operand of a result that waits for another one."""

    def two(x: Any, y: Any) -> list[Any]:
        p = x / tnp.sum(x, axis=1, keepdims=True)
        return [p, y - tnp.sum(p * p, axis=1, keepdims=True)]

    g = trace(two, [f32(8, 16), f32(8, 16)])
    assert places(planned(g, (1,))) == ["out:0", "out:1"]
    x, y = np.random.default_rng(0).uniform(1, 2, (2, 8, 16)).astype(np.float32)
    want = interpret(g, x, y)
    for a, b in zip(Lowered(g, donated=(1,)).compile()([x, y.copy()]), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_donated_arguments_that_are_results() -> None:
    """An argument that is returned as it was must not be written over."""
    g = trace(lambda x: [x * 2, x], [f32(N)])
    assert places(planned(g, (0,))) == ["out:0"]
    g = trace(lambda x: [x * 2, x.reshape(8, 8)], [f32(N)])
    assert places(planned(g, (0,))) == ["out:0"]


def test_results_take_donated_arguments_of_their_type_in_order() -> None:
    g = trace(lambda a, b, c: [b + 1, c.astype(F32), a + 2], [f32(3), f32(3), f32(4)])
    assert match_donations(g, (0, 1, 2)) == {0: 0, 1: 2, 2: 1}
    assert match_donations(g, (1,)) == {0: 1}
    assert match_donations(g, ()) == {}


def test_unused_results_have_places() -> None:
    """A kernel may make a value that nobody reads any more."""
    g = trace(lambda x: [tnp.sum(tnp.exp(x), axis=1)], [f32(8, 8)])
    plan = planned(g)
    assert all(len(node.attrs["places"]) == len(node.results) for node in plan.nodes if node.op is not RESHAPE)


@pytest.mark.parametrize("donated", [(), (0,), (0, 1)])
def test_training_step(donated: tuple[int, ...]) -> None:
    """Parameters are updated in place, and every intermediate value is where nothing else is."""

    def loss(w: Any, b: Any, x: Any, y: Any) -> Any:
        d = tnp.tanh(x @ w + b) - y
        return tnp.mean(d * d)

    gradient = differentiate(traced(loss, "f32[8,4]", "f32[4]", "f32[9,8]", "f32[9,4]"))
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(v.shape).astype(np.float32) for v in gradient.inputs]
    check_plan(gradient, arrays, donated)

    def step(w: Any, b: Any, x: Any, y: Any) -> list[Any]:
        from tgc.ir import inline
        from tgc.trace import Tracer, current

        made = inline(gradient, current().builder, [t.value for t in (w, b, x, y)])
        _, dw, db, *_ = (Tracer(current(), v) for v in made)
        return [w - 0.1 * dw, b - 0.1 * db]

    g = trace(step, [v.type for v in gradient.inputs])
    check_plan(g, arrays, donated)
    assert {f"in:{k}" for k in donated} <= set(places(planned(g, donated)))


def test_results_of_another_dtype_get_memory_of_their_own() -> None:
    """A kernel addresses each buffer in one dtype: int64 is not written over float64 that dies."""

    def f(x: Any) -> Any:
        highest = OPS["cummax"](x, axis=0, reverse=False)
        return OPS["cummax"](tnp.where(x == highest, tnp.arange(4), 0), axis=0, reverse=False)

    x = np.array([1.0, 3.0, 2.0, 4.0])
    graph = graph_of(f, x)
    np.testing.assert_array_equal(Lowered(graph).compile()([x])[0], [0, 1, 1, 3])
