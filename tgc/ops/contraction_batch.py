"""How contractions map over an axis.

A dot has batch axes for it. A convolution takes it into its own batch axis, if only its input has it, and into the
channels otherwise: as further filters if only the kernel has it, as groups if both have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tgc.ops.batch import from_front, primitive, to_front


def batch_dot(operands: Sequence[Any], batched: Sequence[bool], *, batch: Any, contract: Any) -> Any:
    """The mapped axis is a batch axis, or a free one of the operand that has it."""
    (x, y), dot = operands, primitive("dot")
    if all(batched):
        batch = tuple((0, *(a + 1 for a in axes)) for axes in batch)
        return dot(x, y, batch=batch, contract=tuple(tuple(a + 1 for a in axes) for axes in contract))
    shifted = [
        [tuple(a + mapped for a in axes) for mapped, axes in zip(batched, both, strict=True)]
        for both in (batch, contract)
    ]
    product = dot(x, y, batch=shifted[0], contract=shifted[1])
    free = 0 if batched[0] else len(x.shape) - len(batch[0]) - len(contract[0])  # axes of the result in front of it
    return to_front(product, len(batch[0]) + free)


def _merged(x: Any, groups: int) -> Any:
    """[n, ..., g*c] -> [..., g*n*c]: the mapped axis inside of each of `groups` groups of channels."""
    n, *lead, channels = x.shape
    split = primitive("reshape")(x, shape=(n, *lead, groups, channels // groups))
    return primitive("reshape")(from_front(split, len(lead) + 1), shape=(*lead, n * channels))


def _parted(x: Any, size: int, groups: int) -> Any:
    """[..., g*n*c] -> [n, ..., g*c]: the reverse of `_merged`."""
    *lead, channels = x.shape
    split = primitive("reshape")(x, shape=(*lead, groups, size, channels // (groups * size)))
    moved = to_front(split, len(lead) + 1)
    return primitive("reshape")(moved, shape=(size, *lead, channels // size))


def batch_conv(operands: Sequence[Any], batched: Sequence[bool], *, groups: int, **attrs: Any) -> Any:
    """x: [n, N, *spatial, g*c], w: [n, *kernel, c, g*o] -> [n, N, *spatial, g*o]."""
    (x, w), conv = operands, primitive("conv")
    if not batched[1]:
        n, many, *rest = x.shape
        out = conv(primitive("reshape")(x, shape=(n * many, *rest)), w, groups=groups, **attrs)
        return primitive("reshape")(out, shape=(n, many, *out.shape[1:]))
    n = w.shape[0]
    if not batched[0]:
        return _parted(conv(x, _merged(w, groups), groups=groups, **attrs), n, groups)
    return _parted(conv(_merged(x, 1), _merged(w, 1), groups=n * groups, **attrs), n, 1)


def batch_kernel_grad(operands: Sequence[Any], batched: Sequence[bool], *, groups: int, **attrs: Any) -> Any:
    """x: [n, N, *spatial, g*c], y: [n, N, *spatial', g*o] -> [n, (chunks,) *kernel, c, g*o]."""
    (x, y), kernel_grad = operands, primitive("conv_kernel_grad")
    n = (x if batched[0] else y).shape[0]
    if all(batched):
        return _parted(kernel_grad(_merged(x, 1), _merged(y, 1), groups=n * groups, **attrs), n, 1)
    if batched[1]:
        return _parted(kernel_grad(x, _merged(y, groups), groups=groups, **attrs), n, groups)
    out = kernel_grad(_merged(x, groups), y, groups=groups, **attrs)  # [*kernel, n*c, g*o]
    *kernel, channels, filters = out.shape
    split = primitive("reshape")(out, shape=(*kernel, n, channels // n, filters))
    return to_front(split, len(kernel))
