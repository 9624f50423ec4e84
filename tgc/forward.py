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
from tgc.ir import Node, Value
from tgc.ops.creation import full_like
from tgc.ops.kinds import Primitive
from tgc.trace import Trace, Tracer, current
from tgc.types import is_float


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
    real = [is_float(r.dtype) for r in node.results]
    if not any(real):
        return [None] * len(real)
    operands = [Tracer(record, v) for v in node.operands]
    results = [Tracer(record, v) for v in node.results]
    out: Any = results[0] if len(results) == 1 else results
    if op.jvp is not None:
        return op.jvp(given, *operands, out=out, **node.attrs)
    since = record.builder.count
    cotangents = [mark(full_like(r, 0)) if here else None for r, here in zip(results, real, strict=True)]
    parts = op.grad(cotangents[0] if len(results) == 1 else tuple(cotangents), *operands, out=out, **node.attrs)
    pairs = [(p, t) for p, t in zip(parts, given, strict=True) if p is not None and t is not None]
    for part, _ in pairs:
        if isinstance(part, GradientError):
            raise part
    if not pairs:
        return [None] * len(real)
    sources = [u for u in cotangents if u is not None]
    transposed = iter(backward([p for p, _ in pairs], [t for _, t in pairs], sources, since))
    return [next(transposed) if here else None for here in real]
