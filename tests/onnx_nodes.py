"""ONNX models of one node, what tgc's oracle makes of them, and what ONNX's reference does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tgc.frontends.onnx import load
from tgc.interpret import interpret

RNG = np.random.default_rng(0)


def real(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def model(
    op: str,
    operands: Sequence[Any],
    opset: int,
    known: Sequence[int] = (),
    outputs: int = 1,
    domain: str = "",
    **attrs: Any,
) -> ModelProto:
    """A node named "it"; operands at the places `known` are initializers, the others inputs."""
    names = ["" if x is None else f"x{k}" for k, x in enumerate(operands)]
    node = helper.make_node(op, names, [f"y{k}" for k in range(outputs)], "it", domain=domain, **attrs)
    inputs, initializers = [], []
    for k, (name, x) in enumerate(zip(names, operands, strict=True)):
        if x is not None and k in known:
            initializers.append(numpy_helper.from_array(x, name))
        elif x is not None:
            text = x.dtype.kind in "OU"
            elem = TensorProto.STRING if text else helper.np_dtype_to_tensor_dtype(x.dtype)
            inputs.append(helper.make_tensor_value_info(name, elem, x.shape))
    results = [helper.make_empty_tensor_value_info(f"y{k}") for k in range(outputs)]
    graph = helper.make_graph([node], "graph", inputs, results, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, opset)])


def run(op: str, operands: Sequence[Any], opset: int, known: Sequence[int] = (), **more: Any) -> Any:
    """The outputs of a node: of its traced graph, as the oracle evaluates it."""
    graph = load(model(op, operands, opset, known, **more)).graph()
    found = interpret(graph, *(x for k, x in enumerate(operands) if x is not None and k not in known))
    return found[0] if len(found) == 1 else found


def refer(op: str, operands: Sequence[Any], opset: int, known: Sequence[int] = (), **more: Any) -> Any:
    """The same by ONNX's reference."""
    proto = model(op, operands, opset, known, **more)
    feeds = {f"x{k}": x for k, x in enumerate(operands) if x is not None and k not in known}
    with np.errstate(all="ignore"):
        found = ReferenceEvaluator(proto).run(None, feeds)
    return found[0] if len(found) == 1 else found


def same(got: Any, want: Any, rtol: float = 1e-6) -> None:
    for y, w in zip(*((v if isinstance(v, list | tuple) else [v]) for v in (got, want)), strict=True):
        assert (y.dtype, y.shape) == (np.asarray(w).dtype, np.shape(w))
        np.testing.assert_allclose(y, w, rtol=rtol, atol=rtol)
