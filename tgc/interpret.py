"""The oracle: a graph evaluated node by node with NumPy, by the references of its ops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tgc.errors import DTypeError, LinearAlgebraError, OutOfRangeError, ShapeError, VerifyError
from tgc.ir import Graph, Node, Value
from tgc.ops.kinds import Control, Primitive, Region
from tgc.verify import describe


def interpret(graph: Graph, *args: np.ndarray) -> tuple[np.ndarray, ...]:
    """The outputs of `graph`, which is taken to be well-formed, on arguments of exactly its inputs' types.

    Arguments, constants and results are logical tensors, row-major whatever the layouts of their types. The results
    are fresh arrays: they share memory neither with the arguments nor with each other.

    Raises:
        ShapeError, DTypeError: an argument does not fit its input.
        OutOfRangeError: an index lies outside the axis that it addresses.
        LinearAlgebraError: a matrix has no such factorization or inverse.
        VerifyError: a constant has no data, or the reference of an op breaks the op's type rule.
    """
    env = _start(graph, args)
    last = {v: i for i, node in enumerate(graph.nodes) for v in node.operands}
    outputs = set(graph.outputs)
    for i, node in enumerate(graph.nodes):
        _step(graph, i, env)
        for v in {*node.operands, *node.results} - outputs:  # free what is not read any more
            if last.get(v, i) == i:
                del env[v]
    return tuple(np.array(env[v], order="C", copy=True) for v in graph.outputs)


def interpret_values(graph: Graph, *args: np.ndarray) -> dict[Value, np.ndarray]:
    """Every value of `graph` (not those inside its regions), for debugging; the arrays may share memory."""
    env = _start(graph, args)
    for i in range(len(graph.nodes)):
        _step(graph, i, env)
    return env


def _start(graph: Graph, args: tuple[np.ndarray, ...]) -> dict[Value, np.ndarray]:
    """The values of inputs and constants."""
    if len(args) != len(graph.inputs):
        names = ", ".join(f"{v.name}: {v.type}" for v in graph.inputs)
        raise ShapeError(f"graph @{graph.name} takes {len(graph.inputs)} arguments ({names}), got {len(args)}")
    env: dict[Value, np.ndarray] = {}
    for v, arg in zip(graph.inputs, args, strict=True):
        array = np.asarray(arg).view()
        array.setflags(write=False)
        got = f"{array.dtype}{list(array.shape)}"
        if array.dtype != v.dtype:
            raise DTypeError(f"input {v.name} of graph @{graph.name} is {v.type}, got {got}")
        if array.shape != v.shape:
            raise ShapeError(f"input {v.name} of graph @{graph.name} is {v.type}, got {got}")
        env[v] = array
    for c in graph.constants:
        if c.data is None:
            raise VerifyError(f"constant {c.digest} ({c.value.type}) of graph @{graph.name} has no data")
        env[c.value] = c.data
    return env


def _step(graph: Graph, index: int, env: dict[Value, np.ndarray]) -> None:
    """Evaluate one node."""
    node = graph.nodes[index]
    results = _apply(node, [env[v] for v in node.operands], lambda: describe(graph, index))
    got = ", ".join(f"{a.dtype}{list(a.shape)}" for a in results)
    if [(a.dtype, a.shape) for a in results] != [(r.dtype, r.shape) for r in node.results]:
        wanted = ", ".join(str(r.type) for r in node.results)
        raise VerifyError(f"{describe(graph, index)}: reference of {node.op.name} returned {got}, not {wanted}")
    env.update(zip(node.results, results, strict=True))


def _apply(node: Node, operands: list[np.ndarray], here: Callable[[], str]) -> tuple[np.ndarray, ...]:
    if isinstance(node.op, Region):
        return interpret(node.body, *operands)
    if not isinstance(node.op, Primitive):
        raise VerifyError(f"{here()}: {node.op!r} has no reference")
    leading = (interpret,) if isinstance(node.op, Control) else ()
    try:
        with np.errstate(all="ignore"):
            result = node.op.reference(*leading, *operands, **node.attrs)
    except (OutOfRangeError, LinearAlgebraError):  # of a node in a body, which it names
        raise
    except IndexError as error:
        raise OutOfRangeError(f"{here()}: {error}") from error
    except np.linalg.LinAlgError as error:
        raise LinearAlgebraError(f"{here()}: {error}") from error
    return tuple(np.asarray(r) for r in (result if isinstance(result, tuple) else (result,)))
