"""Reverse-mode differentiation, graph to graph.

Inside a trace the backward pass is emitted behind the forward nodes it belongs to: a walk over the nodes between the
arguments and the result, last to first, in which each op's `grad` rule (made of ops itself) turns the cotangent of
its result into those of its operands. Gradients of gradients are the same walk over the longer graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tgc.errors import GradientError
from tgc.ir import Graph, Node, Value, inline
from tgc.ops.arithmetic import is_weak
from tgc.ops.creation import full_like
from tgc.ops.elementwise import add, identity
from tgc.ops.kinds import Control, Primitive
from tgc.trace import Trace, Tracer, current, trace
from tgc.types import is_float, is_inexact


def mark(x: Any) -> Tracer:
    """A new value equal to `x` that nothing else in the trace refers to: what a gradient is taken with respect to."""
    record = current()
    marked: Tracer = record.emit(identity, (record.lift(x),), {}, unique=True)
    marked.weak = is_weak(x)
    return marked


def between(
    record: Trace, sources: set[Value], sinks: Sequence[Value], since: int = 0
) -> tuple[list[Node], set[Value]]:
    """The recorded nodes on paths from `sources` to `sinks`, in order, and all values that depend on `sources`.

    `since` is how many nodes had been recorded before the sources: none of these can depend on them.
    """
    reached = set(sources)
    forward = []
    for node in record.builder.since(since):
        if any(v in reached for v in node.operands) and not any(r in sources for r in node.results):
            reached.update(node.results)
            forward.append(node)
    needed = set(sinks)
    path = []
    for node in reversed(forward):
        if any(r in needed for r in node.results):
            needed.update(node.operands)
            path.append(node)
    return path[::-1], reached


def backward(
    outputs: Sequence[Tracer], cotangents: Sequence[Any], sources: Sequence[Tracer], since: int = 0
) -> list[Tracer]:
    """Cotangents of `sources` given those of `outputs`, all in the current trace; zeros where nothing depends on one.

    `since` is how many nodes had been recorded before the sources. A rule may return a GradientError in the place of a
    cotangent that does not exist: it is raised if that operand depends on a source.

    Raises:
        GradientError: an op on the way has no gradient.
    """
    found = pull(outputs, cotangents, sources, since)
    return [full_like(s, 0) if g is None else g for s, g in zip(sources, found, strict=True)]


def pull(
    outputs: Sequence[Tracer], cotangents: Sequence[Any], sources: Sequence[Tracer], since: int = 0
) -> list[Tracer | None]:
    """Cotangents of `sources` as by `backward`, but None where nothing depends on one.

    Raises:
        GradientError: an op on the way has no gradient.
    """
    record = current()
    wanted = {s.value for s in sources}
    cotangent: dict[Value, Any] = {}

    def accumulate(value: Value, g: Any) -> None:
        cotangent[value] = add(cotangent[value], g) if value in cotangent else g

    for y, g in zip(outputs, cotangents, strict=True):
        accumulate(record.lift(y), g)
    path, reached = between(record, wanted, [record.lift(y) for y in outputs], since)
    for node in reversed(path):
        gs = [cotangent.get(r) for r in node.results]
        if all(g is None for g in gs):
            continue
        op = node.op
        if not isinstance(op, Primitive):
            raise GradientError(f"{op.name} has no gradient rule")
        operands = [Tracer(record, v) for v in node.operands]
        results = [Tracer(record, v) for v in node.results]
        g, out = (gs[0], results[0]) if len(gs) == 1 else (tuple(gs), results)
        parts = gradient_rule(op)(g, *operands, out=out, **node.attrs)
        for v, part in zip(node.operands, parts, strict=True):
            if isinstance(part, GradientError):
                if v in reached:
                    raise part
            elif part is not None and is_inexact(v.dtype):
                accumulate(v, part)
    return [cotangent.get(s.value) for s in sources]


def gradient_rule(op: Primitive) -> Callable[..., tuple[Any, ...]]:
    """The `grad` rule of an op; that of control flow knows how to differentiate its bodies."""
    return partial(op.grad, joint) if isinstance(op, Control) else op.grad


def joint(graph: Graph, given: Sequence[int]) -> tuple[Graph, tuple[int, ...]]:
    """A body of control flow together with its gradient.

    Args:
        graph: the body.
        given: the outputs whose cotangents are known.

    Returns:
        A graph of (inputs, cotangents of the given outputs) -> (outputs, cotangents of some inputs), and which inputs
        these are: those of floating point that the given outputs depend on.
    """
    reached: list[int] = []

    def f(*tracers: Tracer) -> list[Any]:
        record, inputs = current(), tracers[: len(graph.inputs)]
        out = [record.tracer(v) for v in inline(graph, record.builder, [x.value for x in inputs])]
        real = [k for k, x in enumerate(inputs) if is_inexact(x.dtype)]
        found = pull([out[k] for k in given], tracers[len(inputs) :], [inputs[k] for k in real])
        reached.extend(k for k, g in zip(real, found, strict=True) if g is not None)
        return [*out, *(g for g in found if g is not None)]

    types = [v.type for v in (*graph.inputs, *(graph.outputs[k] for k in given))]
    names = [*(v.name for v in graph.inputs), *(f"g{k}" for k in given)]
    return trace(f, types, names, graph.name), tuple(reached)


def value_and_grad_flat(f: Callable[..., tuple[Tracer, Any]], args: Sequence[Any]) -> tuple[Any, Any, list[Tracer]]:
    """(value, aux, gradients) of `f(*args) -> (scalar, aux)` with respect to all of `args`, in the current trace."""
    since = current().builder.count
    marked = [mark(x) for x in args]
    value, aux = f(*marked)
    if not isinstance(value, Tracer):
        value = Tracer(current(), current().lift(value))
    if value.shape != () or not is_float(value.dtype):
        raise GradientError(f"a gradient needs a function that returns a real scalar, not {value!r}{value.origin}")
    return value, aux, backward([value], [full_like(value, 1)], marked, since)


def differentiate(graph: Graph) -> Graph:
    """Graph of (scalar; inputs) -> Graph of (scalar, gradients of every floating-point input; inputs)."""

    def f(*inputs: Tracer) -> list[Any]:
        real = [x for x in inputs if is_inexact(x.dtype)]

        def forward(*marked: Tracer) -> tuple[Tracer, None]:
            again = iter(marked)
            operands = [next(again).value if is_inexact(x.dtype) else x.value for x in inputs]
            (out,) = inline(graph, current().builder, operands)
            return Tracer(current(), out), None

        value, _, grads = value_and_grad_flat(forward, real)
        return [value, *grads]

    return trace(f, [v.type for v in graph.inputs], [v.name for v in graph.inputs], f"{graph.name}_grad")
