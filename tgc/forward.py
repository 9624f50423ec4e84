"""Forward-mode differentiation, without a second rule an op.

A walk over the recorded nodes between sources and outputs, first to last, carries tangents along. An op's tangent is
the transpose of its gradient: its `grad` rule, applied to a cotangent that stands for any (its value does not matter,
since the rule is linear in it), is itself walked backwards. What that leaves unused is pruned with the trace. (Radul,
Paszke, Frostig, Johnson, Maclaurin: "You only linearize once", POPL 2023.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tgc.autodiff import backward, between, mark
from tgc.errors import GradientError
from tgc.ir import Graph, Node, Value, inline
from tgc.ops.creation import full_like
from tgc.ops.kinds import Control, Primitive
from tgc.trace import Trace, Tracer, current, trace
from tgc.types import is_inexact


def forward(
    outputs: Sequence[Tracer], sources: Sequence[Tracer], tangents: Sequence[Any], since: int = 0
) -> list[Tracer | None]:
    """Tangents of `outputs` given those of `sources` (None: zero), all in the current trace; None where they are zero.

    `since` is how many nodes had been recorded before the sources.

    Raises:
        GradientError: an op on the way has no gradient.
    """
    record = current()
    tangent: dict[Value, Any] = {s.value: t for s, t in zip(sources, tangents, strict=True) if t is not None}
    sinks = [record.lift(y) for y in outputs]
    path, _ = between(record, set(tangent), sinks, since)
    for node in path:
        given = [tangent.get(v) for v in node.operands]
        if any(t is not None for t in given):
            made = _tangents(record, node, given)
            tangent.update((r, t) for r, t in zip(node.results, made, strict=True) if t is not None)
    return [tangent.get(v) for v in sinks]


def _tangents(record: Trace, node: Node, given: Sequence[Any]) -> Sequence[Any]:
    """The tangents of a node's results given those of its operands."""
    op = node.op
    if not isinstance(op, Primitive):
        raise GradientError(f"{op.name} has no gradient rule")
    real = [is_inexact(r.dtype) for r in node.results]
    if not any(real):
        return [None] * len(real)
    operands = [Tracer(record, v) for v in node.operands]
    results = [Tracer(record, v) for v in node.results]
    out: Any = results[0] if len(results) == 1 else results
    if op.jvp is None:
        return transposed(op, given, *operands, out=out, **node.attrs)
    leading = (pushed,) if isinstance(op, Control) else ()
    return op.jvp(*leading, given, *operands, out=out, **node.attrs)


def pushed(graph: Graph, moving: Sequence[bool], wanted: Sequence[bool]) -> tuple[Graph, tuple[bool, ...]]:
    """A body of control flow together with its tangents.

    Args:
        graph: the body.
        moving: which inputs have a tangent.
        wanted: which outputs must have one.

    Returns:
        A graph of (inputs, tangents of the moving ones) -> (outputs, tangents of some outputs), and which outputs these
        are: those of floating point that depend on a moving input, and those that are wanted.
    """
    flags: list[bool] = []

    def f(*tracers: Tracer) -> list[Any]:
        record, inputs = current(), tracers[: len(graph.inputs)]
        since = record.builder.count
        out = [record.tracer(v) for v in inline(graph, record.builder, [x.value for x in inputs])]
        sources = [x for x, m in zip(inputs, moving, strict=True) if m]
        found = forward(out, sources, tracers[len(inputs) :], since)
        flags.extend(w or t is not None for w, t in zip(wanted, found, strict=True))
        tangents = (full_like(y, 0) if t is None else t for y, t in zip(out, found, strict=True))
        return [*out, *(t for t, m in zip(tangents, flags, strict=True) if m)]

    types = [v.type for v in (*graph.inputs, *(v for v, m in zip(graph.inputs, moving, strict=True) if m))]
    return trace(f, types, [v.name for v in graph.inputs] + [""] * sum(moving), graph.name), tuple(flags)


def transposed(op: Primitive, given: Sequence[Any], *operands: Tracer, out: Any, **attrs: Any) -> tuple[Any, ...]:
    """Tangents of an op's results (None: zero) given those of its operands, by its `grad` rule."""
    record = current()
    results = out if isinstance(out, list) else [out]
    since = record.builder.count
    cotangents = [mark(full_like(r, 0)) if is_inexact(r.dtype) else None for r in results]
    parts = op.grad(tuple(cotangents) if isinstance(out, list) else cotangents[0], *operands, out=out, **attrs)
    pairs = [(p, t) for p, t in zip(parts, given, strict=True) if p is not None and t is not None]
    for part, _ in pairs:
        if isinstance(part, GradientError):
            raise part
    if not pairs:
        return (None,) * len(results)
    sources = [u for u in cotangents if u is not None]
    made = iter(backward([p for p, _ in pairs], [t for _, t in pairs], sources, since))
    return tuple(None if u is None else next(made) for u in cotangents)
