"""Random programs through the whole compiler, and proof that the fuzzer would notice what it looks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import fuzz
import numpy as np
import pytest
from fuzz import Failure, Tally, drawn
from fuzz_draft import OPS, Program
from fuzz_draws import APART, DRAWS, INTERNAL, gradients, programs

from tgc.ir import Graph, transform
from tgc.passes import PASSES, PIPELINE
from tgc.passes.manager import Target
from tgc.text import parse
from tgc.types import ALL, COMPLEXES, FLOAT8S, I8, I16, U16, U64

PARTS, EACH = 12, 14  # seeds, and programs of either kind for each: 336


@pytest.mark.parametrize("part", range(PARTS))
def test_programs(part: int) -> None:
    tally = fuzz.hunt(programs(), EACH, part)
    assert tally.programs == EACH
    assert tally.excused <= 0.05 * tally.results


@pytest.mark.parametrize("part", range(PARTS))
def test_gradients(part: int) -> None:
    tally = fuzz.hunt(gradients(), EACH, part)
    assert tally.programs == EACH
    assert tally.slopes >= EACH // 2
    assert tally.excused <= 0.05 * tally.results


# ---------------------------------------------------------------------------------------------------- its own tests


@pytest.mark.parametrize("name", sorted(DRAWS))
def test_op_is_drawn(name: str) -> None:
    """Every op that can be traced occurs in programs, with operands for which it yields something."""
    some = drawn(programs(1, ((name,),)), 20)
    assert any(node.op.name == name and node.result.type.size for p in some for node in p.graph.nodes)


def test_all_ops_are_known() -> None:
    assert set(DRAWS) == set(OPS) - INTERNAL - APART


def test_programs_vary() -> None:
    """Ops, dtypes, numbers of results, empty tensors, shared values and donated arguments all occur."""
    some = drawn(programs(), 300)
    values = [r for p in some for node in p.graph.nodes for r in node.results]
    assert len({v.node.op.name for v in values if v.node}) > 60
    one_a_program = {I8, I16, U16, U64}
    assert {v.dtype for v in values} >= ALL - COMPLEXES - FLOAT8S - one_a_program
    assert {v.type.rank for v in values} >= {0, 1, 2, 3, 4}
    assert any(v.type.size == 0 for v in values)
    assert {len(p.graph.outputs) for p in some} >= {1, 2, 3, 4}
    assert any(p.donated for p in some)
    assert sum(any(len(users) > 1 for users in p.graph.uses.values()) for p in some) > 100


def test_same_seed_same_programs() -> None:
    first, second = drawn(programs(), 30, 7), drawn(programs(), 30, 7)
    assert [str(p) for p in first] == [str(p) for p in second]
    assert [str(p) for p in first] != [str(p) for p in drawn(programs(), 30, 8)]


CHAIN = """graph @chain(%x: f32[5], %y: f32[5], %i: i32[5]) {
  %0: f32[5] = tanh %x
  %1: f32[5] = mul %0, %y
  %2: f32[5] = exp %1
  %3: f32[5] = sub %2, %x
  %4: f32[5] = sigmoid %3
  %5: i32[5] = neg %i
  return %4, %5
}"""


def program(text: str, **more: Any) -> Program:
    graph = parse(text)
    rng = np.random.default_rng(0)
    return Program(graph, tuple(np.asarray(rng.uniform(-2, 2, v.shape)).astype(v.dtype) for v in graph.inputs), **more)


@pytest.fixture
def wrong_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that turns `sub` into `add`."""

    @dataclass(frozen=True)
    class Wrong:
        name: ClassVar[str] = "wrong"

        def __call__(self, graph: Graph, target: Target) -> Graph:
            return transform(graph, lambda b, node, new: b.emit(OPS["add"], new) if node.op is OPS["sub"] else None)

    monkeypatch.setitem(PASSES, "wrong", Wrong)
    monkeypatch.setenv("TGC_PIPELINE", PIPELINE.replace("layout", "wrong,layout"))


@pytest.mark.usefixtures("wrong_pass")
def test_wrong_pass_is_found_and_the_program_reduced() -> None:
    with pytest.raises(Failure, match="stage wrong: results differ: number 0") as caught:
        fuzz.check(program(CHAIN))
    small = fuzz.reduced(caught.value)
    assert small.kind == ("stage wrong", "results differ")
    assert [node.op.name for node in small.program.graph.nodes] == ["sub"]
    assert "sub %a1, %a0" in str(small)


def replaced(monkeypatch: pytest.MonkeyPatch, op: str, **fields: Any) -> None:
    """Change a definition, frozen as it is, for the duration of a test."""
    own = vars(OPS[op])
    for name, field in fields.items():
        monkeypatch.setitem(own, name, field)


def test_wrong_kernel_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(monkeypatch, "sub", scalar=lambda s, x, y: s.sub(y, x))
    with pytest.raises(Failure, match="compiled: results differ: number 0: 5 of 5 elements"):
        fuzz.check(program(CHAIN))


def test_wrong_gradient_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "graph @f(%x: f64[]) {\n  %0: f64[] = sin %x\n  return %0\n}"
    tally = Tally()
    fuzz.check(program(text, gradient=True), tally)
    assert (tally.slopes, tally.excused) == (1, 0)
    replaced(monkeypatch, "sin", grad=lambda g, x, *, out: (g * out,))
    with pytest.raises(Failure, match="gradient: wrong slope"):
        fuzz.check(program(text, gradient=True))


def test_kinks_are_left_out() -> None:
    """At zero the slope of relu is 0 by definition, whatever differences say."""
    graph = parse("graph @f(%x: f64[]) {\n  %0: f64[] = relu %x\n  return %0\n}")
    tally = Tally()
    fuzz.check(Program(graph, (np.zeros(()),), gradient=True), tally)
    assert tally.slopes == 0


def test_rounding_is_excused_and_nothing_else() -> None:
    """What is left after cancellation is rounding error; more than that is an error."""
    text = """graph @f(%x: f32[100]) {
  %0: f32[] = sum %x {axes=[0], chunks=0}
  %1: f32[100] = reverse %x {axes=[0]}
  %2: f32[] = sum %1 {axes=[0], chunks=0}
  %3: f32[] = sub %0, %2
  return %3
}"""
    p = program(text)
    noisy = [fuzz.perturbed(p.graph, p.arrays, np.random.default_rng(r))[0] for r in range(8)]
    zero = np.zeros((), np.float32)
    assert 1e-7 < max(abs(float(x)) for x in noisy) < 1e-3
    assert not fuzz.disagreement(zero, np.float32(1e-6), lambda: noisy)
    assert fuzz.disagreement(zero, np.float32(1e-2), lambda: noisy)
    assert fuzz.disagreement(zero, np.float32(np.nan), lambda: noisy)


def test_exact_results_are_not_perturbed() -> None:
    """Steps between whole numbers are no excuse: sums, products and comparisons of whole numbers are exact."""
    text = """graph @f(%x: f32[4], %y: f32[4]) {
  %0: f32[4] = mul %x, %y
  %1: f32[4] = add %0, %x
  %2: f32[4] = floor %1
  %3: i64[] = argmax %2 {axes=[0], chunks=0}
  return %2, %3
}"""
    arrays = (np.array([3, 1, 2, 0], np.float32), np.array([1, 5, 2, 7], np.float32))
    graph = parse(text)
    for r in range(8):
        a, b = fuzz.perturbed(graph, arrays, np.random.default_rng(r))
        assert a.tolist() == [6, 6, 6, 0]
        assert b == 0
