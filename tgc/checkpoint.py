"""`checkpoint`: functions whose values are computed again in the backward pass instead of being kept for it.

A chain of n layers keeps n tensors between its layers, not all that its layers compute (Chen, Xu, Zhang, Guestrin:
"Training deep nets with sublinear memory cost", 2016).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from tgc.batching import batch_region
from tgc.ir import Graph, recorder
from tgc.ops.creation import full_like
from tgc.ops.kinds import Region, region
from tgc.ops.movement import barrier
from tgc.ops.region import interpreted
from tgc.ops.samples import samples
from tgc.regions import Arguments, jvp_of, listed, region_of, vjp_of
from tgc.trace import Tracer, trace_region
from tgc.types import is_inexact


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function like `f`, whose intermediate values are not kept for the backward pass but computed again there.

    Args:
        f: a function of pytrees, which may close over tensors of enclosing traces. What is no tensor among its
            arguments is handed on as it is.

    Returns:
        A function with the same results and, bit for bit, the same gradients.
    """

    @functools.wraps(f)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if recorder() is None:
            return f(*args, **kwargs)
        arguments = Arguments.of((args, kwargs))
        name = getattr(f, "__name__", "checkpoint").strip("<>")
        body, captured, out = region_of(lambda both: f(*both[0], **both[1]), arguments, name)
        return out.give(listed(checkpointed(*arguments.operands, *captured, body=body)))

    return wrapper


def _grad(g: Any, *operands: Tracer, out: Any, body: Graph) -> tuple[Any, ...]:
    """The cotangents through the body, which is computed again, and not before those of its results are there."""
    cotangents = listed(g)
    given = [c for c in cotangents if c is not None]
    return vjp_of(body, cotangents, [barrier(x, *given) for x in operands])


def _jvp(tangents: Sequence[Any], *operands: Tracer, out: Any, body: Graph) -> tuple[Any, ...]:
    """A checkpoint of the body's tangents, so that their own backward pass computes them again."""
    given = [t for t in tangents if t is not None]
    real = [v for v in body.outputs if is_inexact(v.dtype)]

    def linear(*xs: Tracer) -> list[Any]:
        rest = iter(xs[len(operands) :])
        along = [None if t is None else next(rest) for t in tangents]
        made = jvp_of(body, along, xs[: len(operands)])
        return [
            full_like(v, 0) if t is None else t for v, t in zip(body.outputs, made, strict=True) if is_inexact(v.dtype)
        ]

    graph, _ = trace_region(linear, [x.value.type for x in (*operands, *given)], name=f"{body.name}_jvp")
    made = iter(listed(checkpointed(*operands, *given, body=graph)) if real else [])
    return tuple(next(made) if is_inexact(v.dtype) else None for v in body.outputs)


def _batch(operands: Sequence[Tracer], batched: Sequence[bool], *, body: Graph) -> Any:
    return checkpointed(*operands, body=batch_region(body, operands, batched))


checkpointed = Region(
    "checkpoint",
    attrs={"body": region},
    transparent=True,
    reference=interpreted,
    grad=_grad,
    jvp=_jvp,
    batch=_batch,
    samples=samples(),
)
