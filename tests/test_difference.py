"""The structural difference of graphs: nothing where only order, names and places differ, and else what is so."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from graphs import GRAPHS, block, in_region
from test_golden import MODELS
from test_passes import TARGET

from tgc.cli.difference import difference
from tgc.ir import Graph
from tgc.passes import PIPELINE, parse_pipeline, run
from tgc.text import parse
from tgc.trace import trace


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_read_again_is_the_same(name: str) -> None:
    graph: Graph = GRAPHS[name]
    assert difference(graph, parse(str(graph))) == []


def of(*lines: str, result: str = "%z") -> Graph:
    body = "\n".join(f"  {line}" for line in lines)
    return parse(f"graph @f(%x: f32[4], %y: f32[4]) {{\n{body}\n  return {result}\n}}")


EXP, TANH = "%a: f32[4] = exp %x", "%b: f32[4] = tanh %y"


def said(a: Graph, b: Graph) -> list[str]:
    return [f"{c.sign} {c.text}" for c in difference(a, b)]


def test_order_does_not_count() -> None:
    assert said(of(EXP, TANH, "%z: f32[4] = add %a, %b"), of(TANH, EXP, "%z: f32[4] = add %a, %b")) == []


def test_operands_are_compared() -> None:
    changed = said(of(EXP, TANH, "%z: f32[4] = sub %a, %b"), of(EXP, TANH, "%z: f32[4] = sub %b, %a"))
    assert changed == ["~ %2: f32[4] = sub %1, %0"]


def test_results_are_compared() -> None:
    assert said(of(EXP, TANH, result="%a, %b"), of(EXP, TANH, result="%b, %a")) == ["~ return %1, %0"]


def test_what_is_new_stands_where_it_is() -> None:
    one = of(EXP, "%z: f32[4] = neg %a")
    other = of(EXP, "%b: f32[4] = sin %a", "%z: f32[4] = neg %b")
    assert said(one, other) == ["+ %1: f32[4] = sin %0", "~ %2: f32[4] = neg %1"]
    assert said(other, one) == ["- %1: f32[4] = sin %0", "~ %1: f32[4] = neg %0"]


def test_attributes_and_types_are_compared() -> None:
    def cast(dtype: str) -> Graph:
        return of(f"%z: {dtype}[4] = cast %x {{dtype={dtype}}}")

    assert said(cast("f64"), cast("i32")) == [
        "- %0: f64[4] = cast %x {dtype=f64}", "+ %0: i32[4] = cast %x {dtype=i32}", "~ return %0",
    ]  # fmt: skip


def test_regions_are_compared() -> None:
    one, other = in_region(block()), in_region(block())
    assert said(one, other) == []
    text = str(other).replace("relu", "exp")
    assert [line[:2] for line in said(one, parse(text))] == ["~ ", "- ", "+ ", "~ "]


@pytest.mark.parametrize("name", MODELS)
def test_passes_are_seen(name: str) -> None:
    """Between stages: nothing if they are equal; and by as many nodes as there are more or fewer."""
    f, types, _ = MODELS[name]
    stages = list(run(parse_pipeline(PIPELINE), trace(f, types), TARGET).stages.values())
    for before, after in pairwise(stages):
        changes = difference(before, after)
        if before == after:
            assert changes == []
        signs = Counter(c.sign for c in changes if not c.text.startswith((" ", "const", "input")))
        assert signs["+"] - signs["-"] == len(after.nodes) - len(before.nodes)
