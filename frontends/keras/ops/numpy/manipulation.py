"""Shapes: moving, joining, cutting and repeating."""

from __future__ import annotations

from typing import Any

from tgc import numpy as tnp
from tgc.frontends.keras.ops.promotion import converted, joined
from tgc.frontends.keras.ops.tensors import Tensor, convert_to_tensor

__all__ = [
    "append", "array_split", "broadcast_to", "concatenate", "diag", "diagflat", "diagonal", "diff", "dsplit", "dstack",
    "expand_dims", "flip", "fliplr", "flipud", "hsplit", "hstack", "moveaxis", "ndim", "pad", "ravel", "repeat",
    "reshape", "roll", "rot90", "size", "split", "squeeze", "stack", "swapaxes", "tile", "transpose", "tril", "triu",
    "vsplit", "vstack",
]  # fmt: skip

array_split = converted(tnp.array_split)
broadcast_to = converted(tnp.broadcast_to)
diag = converted(tnp.diag)
diagflat = converted(tnp.diagflat)
diagonal = converted(tnp.diagonal)
diff = converted(tnp.diff, parameters="a, n=1, axis=-1")
dsplit = converted(tnp.dsplit)
expand_dims = converted(tnp.expand_dims, parameters="x, axis")
flip = converted(tnp.flip)
fliplr = converted(tnp.fliplr)
flipud = converted(tnp.flipud)
hsplit = converted(tnp.hsplit)
moveaxis = converted(tnp.moveaxis)
ndim = converted(tnp.ndim)
ravel = converted(tnp.ravel)
repeat = converted(tnp.repeat)
reshape = converted(tnp.reshape, parameters="x, newshape")
roll = converted(tnp.roll)
size = converted(tnp.size, parameters="x")
split = converted(tnp.split)
squeeze = converted(tnp.squeeze)
swapaxes = converted(tnp.swapaxes)
tile = converted(tnp.tile, parameters="x, repeats")
transpose = converted(tnp.transpose)
tril = converted(tnp.tril)
triu = converted(tnp.triu)
vsplit = converted(tnp.vsplit)

concatenate = joined(tnp.concatenate, "xs, axis=0")
dstack = joined(tnp.dstack)
hstack = joined(tnp.hstack)
stack = joined(tnp.stack, "x, axis=0")
vstack = joined(tnp.vstack)


def append(x1: Any, x2: Any, axis: int | None = None) -> Tensor:
    """x1, then x2, along `axis` (None: both flattened)."""
    return concatenate([x1, x2], axis)


def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = None) -> Tensor:
    """`x` with `pad_width` more elements before and after along its axes.

    Raises:
        ValueError: there are `constant_values`, but another mode.
    """
    if constant_values is None:
        return tnp.pad(convert_to_tensor(x), pad_width, mode)
    if mode != "constant":
        raise ValueError(
            f"Argument `constant_values` can only be provided when `mode == 'constant'`. Received: mode={mode}"
        )
    return tnp.pad(convert_to_tensor(x), pad_width, mode, constant_values=constant_values)


def rot90(array: Any, k: int = 1, axes: Any = (0, 1)) -> Tensor:
    """`array` turned `k` times by 90 degrees, from the first of `axes` towards the second.

    Raises:
        ValueError: there are fewer than two axes, or `axes` are not two.
    """
    x = convert_to_tensor(array)
    if x.ndim < 2:
        raise ValueError(f"Input array must have at least 2 dimensions. Received: array.ndim={x.ndim}")
    if len(axes) != 2 or axes[0] == axes[1]:
        raise ValueError(f"Invalid axes: {axes}. Axes must be a tuple of two different dimensions.")
    return tnp.rot90(x, k, axes)
