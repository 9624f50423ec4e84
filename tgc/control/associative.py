"""`associative_scan`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import optree

from tgc import numpy as tnp
from tgc.control.bodies import Leaves
from tgc.errors import ShapeError, TraceError


def associative_scan(fn: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """All partial results of an associative function along an axis, in a depth of 2 log2(n) applications.

    Args:
        fn: (a, b) -> c, associative, on pytrees of tensors like `elems` whose `axis` has any size: it works on each
            place of that axis by itself.
        elems: a pytree of tensors that agree in the size of `axis`.
        reverse: whether to go from the last place to the first.
        axis: counts from the end if negative.

    Returns:
        A pytree like `elems`: place i along `axis` is fn(... fn(elems[0], elems[1]) ..., elems[i]).

    Source: Blelloch, Prefix Sums and Their Applications, 1990.
    """
    leaves = Leaves.of(elems, "elems")
    for name, t in zip(leaves.names, leaves.types, strict=True):
        if not -len(t.shape) <= axis < len(t.shape):
            raise ShapeError(f"associative_scan: {name} is {t}, which has no axis {axis}")
    axes = [axis % len(t.shape) for t in leaves.types]
    sizes = {t.shape[a] for t, a in zip(leaves.types, axes, strict=True)}
    if len(sizes) != 1:
        raise ShapeError(f"associative_scan: sizes along axis {axis} differ: {', '.join(map(str, leaves.types))}")

    def part(xs: Sequence[Any], start: int, stop: int, step: int = 1) -> list[Any]:
        return [tnp.moveaxis(tnp.moveaxis(x, a, 0)[start:stop:step], 0, a) for x, a in zip(xs, axes, strict=True)]

    def apply(a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
        out = Leaves.of(fn(*(optree.tree_unflatten(leaves.structure, x) for x in (a, b))), "fn(a, b)")
        if out.structure != leaves.structure:
            raise TraceError(f"associative_scan: fn returns {out.structure}, its operands are {leaves.structure}")
        return out.tensors

    def joined(a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
        return [tnp.concatenate(pair, axis=x) for *pair, x in zip(a, b, axes, strict=True)]

    def interleaved(a: Sequence[Any], b: Sequence[Any], n: int) -> list[Any]:
        """Places of `a` and `b` in turn; `a` may have one more."""
        pairs = []
        for x, y, axis in zip(part(a, 0, n // 2), b, axes, strict=True):
            both = tnp.stack([x, y], axis=axis + 1)
            pairs.append(tnp.reshape(both, (*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])))
        return joined(pairs, part(a, n // 2, n)) if n % 2 else pairs

    def partial(xs: list[Any], n: int) -> list[Any]:
        if n < 2:
            return xs
        odd = partial(apply(part(xs, 0, n - 1, 2), part(xs, 1, n, 2)), n // 2)
        even = part(xs, 0, 1)
        if n > 2:
            even = joined(even, apply(part(odd, 0, (n - 1) // 2), part(xs, 2, n, 2)))
        return interleaved(even, odd, n)

    (n,) = sizes
    flip = [tnp.flip(x, axis=a) for x, a in zip(leaves.tensors, axes, strict=True)] if reverse else leaves.tensors
    made = partial(list(flip), n)
    if reverse:
        made = [tnp.flip(x, axis=a) for x, a in zip(made, axes, strict=True)]
    return optree.tree_unflatten(leaves.structure, made)
