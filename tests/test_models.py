"""Training steps of whole models: what their kernels move, and that each pass keeps what they compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from models import DONATED, Sizes, resnet_step, transformer_step
from test_passes import TARGET

import tgc
from benchmarks.workloads import cnn
from tgc.ir import Graph
from tgc.ops.region import fused
from tgc.passes import PIPELINE, parse_pipeline, run
from tgc.passes.memory import Memory
from tgc.runtime.lowered import Lowered, check_pass

Step = tuple[Callable[..., Any], dict[str, Any]]


def cnn_step() -> Step:
    """The CNN of the examples, batch 32."""
    inputs = cnn.batch(32)()
    zeros = ({k: {n: np.zeros_like(a) for n, a in layer.items()} for k, layer in inputs["p"].items()} for _ in range(2))
    m, v = zeros
    return cnn.train_step, {**inputs, "m": m, "v": v, "t": np.zeros((), np.float32), "rate": 1e-3}


def lowered(made: Step) -> Lowered:
    step, args = made
    return tgc.jit(step, donate=[name for name in DONATED if name in args]).lower(**args)


def planned(low: Lowered) -> Graph:
    """The graph as `TARGET`, not this machine, would run it."""
    return run([*parse_pipeline(PIPELINE), Memory(donated=low.donated)], low.graph, TARGET).result


def moved(graph: Graph) -> float:
    """Megabytes that kernels read and write, each operand and result counted once."""
    kernels = [node for node in graph.nodes if node.op is fused]
    return sum(v.type.nbytes for node in kernels for v in (*node.operands, *node.results)) / 1e6


@pytest.mark.parametrize(
    ("made", "launches", "megabytes"),
    [(cnn_step, 26, 37.3), (resnet_step, 220, 2196), (transformer_step, 195, 1346)],
    ids=["cnn", "resnet18", "transformer"],
)
def test_launches_and_bytes(made: Callable[[], Step], launches: int, megabytes: float) -> None:
    """They may only become fewer. Where a change means them to, write the new figures here."""
    graph = planned(lowered(made()))
    assert sum(node.op is fused for node in graph.nodes) <= launches
    assert moved(graph) <= megabytes


TINY = Sizes(layers=1, width=32, heads=2, time=9, batch=2, vocabulary=11)


@pytest.mark.parametrize(
    "made", [lambda: resnet_step(1, 32, width=2), lambda: transformer_step(TINY)], ids=["resnet18", "transformer"]
)
def test_passes_keep_the_meaning(made: Callable[[], Step]) -> None:
    low = lowered(made())
    run(parse_pipeline(PIPELINE), low.graph, TARGET, check_pass)
