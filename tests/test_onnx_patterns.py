"""Attention that exporters have taken apart: which nodes are put together, and what they compute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tgc.frontends.onnx import load

RNG = np.random.default_rng(0)
TIME, SOURCE = 5, 7
SHAPES = {"q": (2, 3, TIME, 4), "k": (2, 3, SOURCE, 4), "v": (2, 3, SOURCE, 6)}
LOWEST = float(np.finfo(np.float32).min)


def node(op: str, *names: str, **attrs: Any) -> NodeProto:
    return helper.make_node(op, names[:-1], names[-1:], **attrs)


def model(nodes: Sequence[NodeProto], shapes: Any = SHAPES, results: tuple[str, ...] = ("y",), **constants: Any) -> Any:
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    held = [numpy_helper.from_array(np.asarray(x, np.float32), n) for n, x in constants.items()]
    graph = helper.make_graph(nodes, "graph", infos, [helper.make_empty_tensor_value_info(r) for r in results], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def attention(*steps: NodeProto, scores: str = "s", **softmax: Any) -> list[NodeProto]:
    """The nodes of softmax(q k^T ...) v."""
    ends = [node("Softmax", scores, "p", **softmax), node("MatMul", "p", "v", "y")]
    return [node("Transpose", "k", "t", perm=[0, 1, 3, 2]), node("MatMul", "q", "t", "s"), *steps, *ends]


def masked(seen: np.ndarray, forbidden: float) -> np.ndarray:
    return np.where(seen, np.float32(0), np.float32(forbidden))


CAUSAL = np.tril(np.ones((TIME, SOURCE), bool))
SOME = RNG.random((1, 1, TIME, SOURCE)) < 0.7
SOME[..., 0] = True


@pytest.mark.parametrize(("nodes", "constants", "seen"), [
    (attention(), {}, None),
    (attention(node("Mul", "c", "s", "a"), scores="a"), {"c": 0.5}, None),
    (attention(node("Div", "s", "c", "a"), node("Add", "a", "m", "b"), scores="b"),
     {"c": [2.0], "m": masked(CAUSAL, -np.inf)}, "causal"),
    (attention(node("Add", "m", "s", "a"), scores="a"), {"m": masked(SOME, LOWEST)}, "mask"),
    (attention(node("Add", "s", "m", "a"), scores="a"), {"m": masked(CAUSAL[:1], LOWEST)}, "mask"),
    ([node("Mul", "q", "c", "ql"), node("Transpose", "k", "t", perm=[0, 1, 3, 2]), node("Mul", "t", "c", "kr"),
      node("MatMul", "ql", "kr", "s"), *attention()[2:]], {"c": 0.7}, None),
])  # fmt: skip
def test_nodes_that_are_an_attention(nodes: list[NodeProto], constants: dict[str, Any], seen: str | None) -> None:
    proto = model(nodes, **constants)
    imported = load(proto)
    graph = imported.graph()
    (found,) = [n for n in graph.nodes if n.op.name == "attention"]
    assert len(found.operands) == 3 + (seen == "mask")
    assert found.attrs["after"] == (0 if seen == "causal" else None)
    compare(proto)


@pytest.mark.parametrize(("nodes", "constants"), [
    (attention(node("Add", "s", "m", "a"), scores="a"), {"m": RNG.random((TIME, SOURCE))}),  # a bias
    (attention(node("Add", "s", "m", "a"), scores="a"), {"m": masked(CAUSAL & (np.arange(TIME) > 0)[:, None], LOWEST)}),
    (attention(node("Mul", "s", "c", "a"), scores="a"), {"c": RNG.random((3, 1, 1))}),  # a scale for each head
    (attention(axis=2), {}),
    ([node("Mul", "q", "c", "ql"), node("Transpose", "k", "t", perm=[0, 1, 3, 2]), node("MatMul", "ql", "t", "s"),
      *attention(axis=2)[2:]], {"c": 0.7}),
])  # fmt: skip
def test_nodes_that_are_none_compute_what_they_did(nodes: list[NodeProto], constants: dict[str, Any]) -> None:
    proto = model(nodes, **constants)
    assert "attention" not in {n.op.name for n in load(proto).graph().nodes}
    compare(proto)


def test_results_that_others_read_stay() -> None:
    proto = model(attention(), results=("y", "p"))
    assert "attention" not in {n.op.name for n in load(proto).graph().nodes}
    compare(proto)


def test_operands_that_are_broadcast() -> None:
    compare(model(attention(), {**SHAPES, "k": (1, 3, SOURCE, 4)}))


def compare(proto: ModelProto) -> None:
    """tgc's results with those of ONNX's own evaluator."""
    inputs = {v.name: RNG.standard_normal([d.dim_value for d in v.type.tensor_type.shape.dim]).astype(np.float32)
              for v in proto.graph.input}  # fmt: skip
    made, want = load(proto)(**inputs), ReferenceEvaluator(proto).run(None, inputs)
    for a, b in zip([made] if len(want) == 1 else made, want, strict=True):
        np.testing.assert_allclose(a, b, 1e-5, 1e-5)
