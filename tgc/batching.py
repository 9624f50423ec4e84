"""Mapping over one more axis, inside a trace.

The function is recorded once, on placeholders without the axis. A walk over the nodes between these and the results
then emits each node again with the axis in front, by the `batch` rule of its op; what depends on no placeholder is
shared by all elements. The unmapped nodes are left to pruning: what else refers to them is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tgc.autodiff import between, mark
from tgc.errors import TraceError
from tgc.ir import Graph, Loc, Node, Value, inline
from tgc.ops.batch import in_front
from tgc.ops.creation import fill
from tgc.ops.kinds import Control, Elementwise, Primitive, Reduce
from tgc.ops.movement import transpose
from tgc.trace import Trace, Tracer, current, trace, trace_region
from tgc.types import TensorType


@dataclass(frozen=True, slots=True)
class Mapped:
    """A result of a mapped function; `batched` tells whether it has the mapped axis, in front."""

    tensor: Tracer
    batched: bool


def vectorize(
    f: Callable[..., Sequence[Any]], operands: Sequence[Any], batched: Sequence[bool], size: int
) -> list[Mapped]:
    """What `f` returns if the operands that are `batched` have one more axis than it knows of, in front.

    Args:
        f: takes as many tensors as there are operands; returns a sequence of tensors, arrays or numbers.
        operands: tensors of the current trace.
        size: the size of the mapped axis.

    Raises:
        TraceError: an op on the way cannot be mapped.
    """
    record = current()
    since = record.builder.count
    tensors = [Tracer(record, record.lift(x), getattr(x, "weak", False)) for x in operands]
    env: dict[Value, Tracer] = {}
    unmapped = []
    for x, mapped in zip(tensors, batched, strict=True):
        if mapped:
            one = mark(fill(x.shape[1:], x.dtype, 0))
            one.weak = x.weak
            env[one.value] = x
        unmapped.append(one if mapped else x)
    results = [Tracer(record, record.lift(y), getattr(y, "weak", False)) for y in f(*unmapped)]
    path, reached = between(record, set(env), [y.value for y in results], since)
    record.unmapped |= reached
    for node in path:
        with _located(record, node.loc):
            env.update(zip(node.results, _batch(record, node, env, size), strict=True))
    return [Mapped(Tracer(record, env[y.value].value, y.weak), True) if y.value in env else Mapped(y, False)
            for y in results]  # fmt: skip


@contextmanager
def _located(record: Trace, loc: Loc) -> Iterator[None]:
    """Everything recorded in the with block is from `loc`."""
    before, record.loc = record.loc, loc
    try:
        yield
    finally:
        record.loc = before


def _batch(record: Trace, node: Node, env: dict[Value, Tracer], size: int) -> Sequence[Tracer]:
    """The results of a node for all elements of the mapped axis."""
    if size == 0:
        return [fill((0, *r.shape), r.dtype, 0) for r in node.results]
    op = node.op
    operands = [env[v] if v in env else Tracer(record, v) for v in node.operands]
    batched = tuple(v in env for v in node.operands)
    if isinstance(op, Elementwise):
        results = op(*(in_front(x, mapped, size) for x, mapped in zip(operands, batched, strict=True)), **node.attrs)
    elif isinstance(op, Reduce):
        results = _reduce(op, operands[0], **node.attrs)
    elif isinstance(op, Primitive) and op.batch is not None:
        leading = (vectorized,) if isinstance(op, Control) else ()
        results = op.batch(*leading, operands, batched, **node.attrs)
    else:
        raise TraceError(f"{op.name} cannot be mapped over an axis: it has no batch rule")
    made = results if isinstance(results, tuple) else (results,)
    wanted = [(r.dtype, (size, *r.shape)) for r in node.results]
    if [(x.dtype, x.shape) for x in made] != wanted:
        got = ", ".join(map(repr, made))
        raise TraceError(f"the batch rule of {op.name} made {got}; over an axis of size {size} of {node!r}")
    return made


def _reduce(op: Reduce, x: Tracer, *, axes: tuple[int, ...], chunks: int) -> Tracer:
    result: Tracer = op(x, axes=tuple(a + 1 for a in axes), chunks=chunks)
    return transpose(result, perm=(1, 0, *range(2, result.ndim))) if chunks else result


def batch_graph(graph: Graph, operands: Sequence[Any], batched: Sequence[bool], size: int) -> list[Mapped]:
    """`graph` applied to tensors of the current trace, those that are `batched` with one more axis in front."""

    def f(*xs: Tracer) -> list[Tracer]:
        record = current()
        return [Tracer(record, v) for v in inline(graph, record.builder, [x.value for x in xs])]

    return vectorize(f, operands, batched, size)


def vectorized(
    graph: Graph, batched: Sequence[bool], size: int, wanted: Sequence[bool]
) -> tuple[Graph, tuple[bool, ...]]:
    """A body of control flow for inputs of which those that are `batched` have one more axis in front.

    Returns:
        The graph, and which of its outputs have the axis: those that depend on such an input or are `wanted` to.
    """
    flags: list[bool] = []

    def f(*xs: Tracer) -> list[Any]:
        made = batch_graph(graph, xs, batched, size)
        flags.extend(y.batched or w for y, w in zip(made, wanted, strict=True))
        return [in_front(y.tensor, y.batched, size) if m else y.tensor for y, m in zip(made, flags, strict=True)]

    types = [
        TensorType(v.dtype, (size, *v.shape) if b else v.shape) for v, b in zip(graph.inputs, batched, strict=True)
    ]
    return trace(f, types, [v.name for v in graph.inputs], graph.name), tuple(flags)


def batch_region(graph: Graph, operands: Sequence[Tracer], batched: Sequence[bool]) -> Graph:
    """A region's graph for operands some of which have one more axis in front; all of its results have it too."""
    size = next(x.shape[0] for x, mapped in zip(operands, batched, strict=True) if mapped)

    def f(*xs: Tracer) -> list[Any]:
        return [in_front(y.tensor, y.batched, size) for y in batch_graph(graph, xs, batched, size)]

    body, _ = trace_region(f, [x.value.type for x in operands], [v.name for v in graph.inputs], graph.name)
    return body


__all__ = ["Mapped", "batch_graph", "batch_region", "vectorize"]
