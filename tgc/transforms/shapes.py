"""`eval_shape`: what a function returns, without computing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tgc.ir import recorder
from tgc.ops.arithmetic import is_weak
from tgc.trace import Tracer, trace, trace_region
from tgc.transforms.calls import flatten, type_of_leaf, unflatten


def eval_shape(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The pytree of `TensorType`s (each has a shape and a dtype) of the results of `f`; nothing is computed.

    Args:
        f: a function of pytrees of arrays.
        args, kwargs: its arguments; in the place of arrays, anything that has a shape and a dtype.

    Raises:
        TraceError: an argument is no array, or `f` needs the numbers of one.
    """
    leaves, structure = flatten((args, kwargs))
    result: list[Any] = []

    def flat(*tensors: Tracer) -> list[Any]:
        for t, x in zip(tensors, leaves, strict=True):
            t.weak = is_weak(x)
        inner, named = unflatten(structure, tensors)
        out, spec = flatten(f(*inner, **named))
        result.append(spec)
        return out

    types = [type_of_leaf(x) for x in leaves]
    graph = trace(flat, types) if recorder() is None else trace_region(flat, types)[0]
    return unflatten(result[0], [v.type for v in graph.outputs])
