"""What the transforms share: checks of pytrees, and programs for calls outside of any trace."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import optree

from tgc.errors import DTypeError, GradientError, ShapeError, TraceError
from tgc.ir import recorder
from tgc.jit import Jit, argument_type
from tgc.ops.arithmetic import as_tensor, dtype_of, is_weak, shape_of
from tgc.trace import Tracer, current
from tgc.types import SHORT_NAMES, TensorType, is_inexact


def compiled(traced: Callable[..., Any], like: Callable[..., Any]) -> Callable[..., Any]:
    """`traced`, which must run in a trace, as a function to call anywhere: outside of any trace it is compiled."""
    program = Jit(traced, (), (), "cpu")

    @functools.wraps(like)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return traced(*args, **kwargs) if recorder() is not None else program(*args, **kwargs)

    return wrapper


def copied(tree: Any) -> Any:
    """A pytree whose arrays no later writes of their owners reach."""
    return optree.tree_map(lambda x: np.array(x, copy=True) if isinstance(x, np.ndarray) else x, tree)


def flatten(tree: Any) -> tuple[list[Any], Any]:
    """Leaves and structure of a pytree."""
    leaves, structure = optree.tree_flatten(tree)
    return list(leaves), structure


def unflatten(structure: Any, leaves: Iterable[Any]) -> Any:
    """The pytree of that structure."""
    return optree.tree_unflatten(structure, leaves)


def type_of_leaf(x: Any) -> TensorType:
    """The type of a tensor, array or number."""
    return x.value.type if isinstance(x, Tracer) else argument_type(x)


def lifted(x: Any) -> Tracer:
    """A tracer of the current trace that stands for `x`."""
    record = current()
    return Tracer(record, record.lift(x), is_weak(x))


def real_leaves(op: str, what: str, tree: Any) -> tuple[list[Any], Any]:
    """The leaves of a pytree to differentiate by or to differentiate, and its structure.

    Raises:
        GradientError: a leaf is not of a floating-point dtype.
    """
    leaves, structure = flatten(tree)
    for x in leaves:
        if not is_inexact(type_of_leaf(x).dtype):
            mend = "leave it out of the primals" if what == "primal" else "return it as auxiliary value (has_aux=True)"
            raise GradientError(f"{op}: a {what} is {x!r:.80}, not of a floating-point dtype; {mend}")
    return leaves, structure


def matching(op: str, what: str, tree: Any, structure: Any, types: Sequence[TensorType], of: str) -> list[Any]:
    """The leaves of a pytree of tangents or cotangents, checked against what they belong to.

    Raises:
        TraceError: it has another structure.
        ShapeError, DTypeError: a leaf has another shape or dtype; Python numbers take on the dtype.
    """
    leaves, got = flatten(tree)
    if got != structure:
        raise TraceError(f"{op}: the {what} has the structure {got}, the {of} has {structure}")
    found = []
    for k, (x, t) in enumerate(zip(leaves, types, strict=True)):
        here = f"{op}: leaf {k} of the {what}" if len(types) > 1 else f"{op}: the {what}"
        if shape_of(x) != t.shape:
            raise ShapeError(f"{here} has shape {shape_of(x)}, the {of} is {t}")
        if not is_weak(x) and dtype_of(x) != t.dtype:
            raise DTypeError(f"{here} is of dtype {SHORT_NAMES[dtype_of(x)]}, the {of} is {t}; cast it")
        found.append(as_tensor(x, t.dtype))
    return found


def with_aux(op: str, out: Any, has_aux: bool) -> tuple[Any, Any]:
    """(result, aux) of a function that returns such a pair if it has an auxiliary value.

    Raises:
        TraceError: it has one but returns no pair.
    """
    if not has_aux:
        return out, None
    if not isinstance(out, tuple) or len(out) != 2:
        raise TraceError(
            f"{op}: with has_aux the function must return a pair (result, aux), not a {type(out).__name__}"
        )
    return out
