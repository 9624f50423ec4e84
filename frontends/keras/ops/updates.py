"""Keras's slices, and tensors that differ from others at some places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tgc import numpy as tnp
from tgc.frontends.keras.ops.tensors import Tensor, convert_to_tensor
from tgc.trace import Tracer

_REDUCTIONS = {None: "set", "add": "add", "max": "max", "min": "min", "mul": "multiply"}


def scatter(indices: Any, values: Any, shape: Sequence[int]) -> Tensor:
    """Zeros of `shape`, to which `values` are added at `indices`."""
    values = convert_to_tensor(values)
    return scatter_update(tnp.zeros(tuple(shape), dtype=values.dtype), indices, values, "add")


def scatter_update(inputs: Any, indices: Any, updates: Any, reduction: str | None = None) -> Tensor:
    """`inputs` with `updates` at `indices`, whose last axis holds the places along the first axes of `inputs`."""
    if reduction not in _REDUCTIONS:
        raise ValueError(f"Unsupported reduction: {reduction}")
    inputs, indices = convert_to_tensor(inputs), convert_to_tensor(indices)
    places = tuple(indices[..., k] for k in range(indices.shape[-1]))
    values = convert_to_tensor(updates, inputs.dtype)
    return getattr(tnp.at(inputs)[places], _REDUCTIONS[reduction])(values)


def _starts(starts: Any) -> list[Any]:
    """Starts one by one; integers where they are known."""
    if isinstance(starts, Tracer):
        return [starts[k] for k in range(len(starts))]
    return [s if isinstance(s, Tracer) else int(s) for s in starts]


def slice(inputs: Any, start_indices: Any, shape: Sequence[int]) -> Tensor:
    """`inputs[start : start + size]` along each axis; -1 for a size means all from the start on."""
    inputs, starts = convert_to_tensor(inputs), _starts(start_indices)
    if len(starts) != len(shape):
        raise ValueError(
            "Length of `start_indices` must match length of `shape`. "
            f"Received: start_indices={start_indices}, shape={shape}"
        )
    sizes = []
    for n, start, size in zip(inputs.shape, starts, shape, strict=True):
        if size == -1 and isinstance(start, Tracer):
            raise ValueError("slice: a size of -1 needs a start that is known, but the start is being traced")
        sizes.append(n - start if size == -1 else size)
    return tnp.dynamic_slice(inputs, starts, sizes)


def slice_update(inputs: Any, start_indices: Any, updates: Any) -> Tensor:
    """`inputs` with `updates` in the place of the slice of their shape that begins at `start_indices`."""
    inputs = convert_to_tensor(inputs)
    return tnp.dynamic_update_slice(inputs, convert_to_tensor(updates, inputs.dtype), _starts(start_indices))


def unstack(x: Any, num: int | None = None, axis: int = 0) -> list[Tensor]:
    """The parts of `x` along `axis`, without it."""
    rows = tnp.moveaxis(convert_to_tensor(x), axis, 0)
    return [np.asarray(row) if isinstance(row, np.generic) else row for row in rows]


__all__ = ["scatter", "scatter_update", "slice", "slice_update", "unstack"]
