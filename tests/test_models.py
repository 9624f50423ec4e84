"""Training steps of whole models: what their kernels move, and that each pass keeps what they compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from models import DONATED, Sizes, resnet_step, transformer_step
from test_passes import TARGET

import tgc
from benchmarks.implementations.tgc_jit import Training
from benchmarks.workloads import cnn
from tgc.ir import Graph
from tgc.ops.region import fused
from tgc.passes import PIPELINE, parse_pipeline, run
from tgc.passes.memory import Memory
from tgc.runtime.lowered import Lowered, check_pass

CNN = cnn.program(32, trains=True)
Step = tuple[Callable[..., Any], dict[str, Any]]


def lowered(made: Step) -> Lowered:
    step, args = made
    return tgc.jit(step, donate=[name for name in DONATED if name in args]).lower(**args)


DIRECT = PIPELINE.replace("winograd", "winograd{most=0.0}")


def planned(low: Lowered, pipeline: str) -> Graph:
    """The graph as `TARGET`, not this machine, would run it."""
    return run([*parse_pipeline(pipeline), Memory(donated=low.donated)], low.graph, TARGET).result


def moved(graph: Graph) -> float:
    """Megabytes that kernels read and write, each operand and result counted once."""
    kernels = [node for node in graph.nodes if node.op is fused]
    return sum(v.type.nbytes for node in kernels for v in (*node.operands, *node.results)) / 1e6


MADE = {
    "cnn": lambda: Training(CNN, CNN.inputs()).lower(),
    "resnet18": lambda: lowered(resnet_step()),
    "transformer": lambda: lowered(transformer_step()),
}


@pytest.mark.parametrize(
    ("model", "pipeline", "launches", "megabytes"),
    [
        ("cnn", DIRECT, 26, 29.7),
        # strided convolutions: a launch for each phase of the gradient; sums that share no memory are not one kernel,
        # which would be one more to compile
        ("resnet18", DIRECT, 348, 2157.1),
        ("transformer", DIRECT, 215, 1441),
        ("cnn", PIPELINE, 34, 43.9),  # a quarter of the multiplications for transforms through memory
        ("resnet18", PIPELINE, 446, 3597.6),
    ],
)
def test_launches_and_bytes(model: str, pipeline: str, launches: int, megabytes: float) -> None:
    """They may only become fewer. Where a change means them to, write the new figures here."""
    graph = planned(MADE[model](), pipeline)
    assert sum(node.op is fused for node in graph.nodes) <= launches
    assert moved(graph) <= megabytes


TINY = Sizes(layers=1, width=32, heads=2, time=9, batch=2, vocabulary=11)


@pytest.mark.parametrize(
    "made", [lambda: resnet_step(1, 32, width=2), lambda: transformer_step(TINY)], ids=["resnet18", "transformer"]
)
def test_passes_keep_the_meaning(made: Callable[[], Step]) -> None:
    low = lowered(made())
    run(parse_pipeline(PIPELINE), low.graph, TARGET, check_pass)
