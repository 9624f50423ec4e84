"""`cond` and `switch`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tgc.control.bodies import Body, Leaves, promotes, results, shared, truth
from tgc.errors import DTypeError, ShapeError, TraceError
from tgc.ops import control
from tgc.ops.arithmetic import as_tensor, dtype_of, shape_of
from tgc.types import BOOL, I32, I64, DType, TensorType, as_dtype, is_float


def cond(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], *operands: Any) -> Any:
    """`true_fn(*operands)` if the scalar `pred` is true (not zero), else `false_fn(*operands)`; only that one runs.

    Raises:
        ShapeError, DTypeError, TraceError: `pred` is no scalar, or the functions return different kinds of results.
    """
    return _switch("cond", truth(pred, "cond: pred"), ("false_fn", "true_fn"), (false_fn, true_fn), operands)


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """`branches[index](*operands)`; only that one runs. `index` is an integer scalar, clamped to 0..len(branches) - 1.

    Raises:
        ShapeError, DTypeError, TraceError: `index` is no integer scalar, there is no branch, or the branches return
            different kinds of results.
    """
    if not branches:
        raise TraceError("switch: there must be at least one branch")
    dtype = dtype_of(index)
    if shape_of(index) or dtype == BOOL or is_float(dtype):
        raise (ShapeError if shape_of(index) else DTypeError)(
            f"switch: the index must be an integer scalar, not {TensorType(dtype, tuple(shape_of(index)))}"
        )
    if len(branches) == 1:
        return branches[0](*operands)
    held = I32 if np.can_cast(dtype, I32) else I64
    return _switch("switch", as_tensor(index, held), [f"branch {k}" for k in range(len(branches))], branches, operands)


def _switch(op: str, index: Any, names: Sequence[str], branches: Sequence[Callable[..., Any]], operands: Any) -> Any:
    leaves = Leaves.of(operands, "operands")
    bodies = [Body(f, [Leaves.of(x, f"operands[{k}]") for k, x in enumerate(operands)], name)
              for name, f in zip(names, branches, strict=True)]  # fmt: skip
    first = bodies[0].out
    for name, body in zip(names, bodies, strict=True):
        if body.out.structure != first.structure:
            raise TraceError(
                f"{op}: {names[0]} returns the structure {first.structure}, {name} {body.out.structure}; "
                "all must return the same"
            )
    dtypes = [_common(op, k, names, bodies) for k in range(len(first.types))]
    for body in bodies:
        if dtypes != [t.dtype for t in body.out.types]:
            body.trace(dtypes)
    graphs, captured = shared(bodies)
    made = control.switch(index, *leaves.tensors, *captured, branches=tuple(graphs), places=())
    return results(first.structure, made, [all(b.out.weak[k] for b in bodies) for k in range(len(dtypes))])


def _common(op: str, k: int, names: Sequence[str], bodies: Sequence[Body]) -> DType:
    """The dtype of result `k` of all branches: that of the strong ones, or the promoted one of weak ones."""
    types = [b.out.types[k] for b in bodies]
    weak = [b.out.weak[k] for b in bodies]
    strong = [t.dtype for t, w in zip(types, weak, strict=True) if not w]
    dtype = strong[0] if strong else as_dtype(np.result_type(*(t.dtype for t in types)))
    for t, w, name, body in zip(types, weak, names, bodies, strict=True):
        fits = t.shape == types[0].shape and (promotes(t.dtype, dtype) if w else t.dtype == dtype)
        if not fits:
            error = ShapeError if t.shape != types[0].shape else DTypeError
            raise error(
                f"{op}: {bodies[0].out.names[k]} is {types[0]}, but {body.out.names[k]} of {name} is {t}; "
                "all must return the same shapes and dtypes: convert with .astype, reshape or tgc.numpy.broadcast_to"
            )
    return dtype
