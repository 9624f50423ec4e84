"""Primitives that create and move elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tgc.frontends.onnx.emitters.emission import Emission, Place, exports
from tgc.ir import Node, Value
from tgc.ops.creation import number
from tgc.sizes import is_size, surely_equal
from tgc.types import I64, U64

_END = np.iinfo(np.int64).max


@exports("full")
def full(e: Emission, node: Node) -> Place:
    """A scalar, which broadcasts."""
    value, dtype = node.attrs["value"], node.result.dtype
    if is_size(value):
        size = e.op("Squeeze", e.integers([value]), e.integers([0]))
        return Place(e.op("CastLike", size, e.scalar(0, dtype)), ())
    return Place(e.scalar(number(value), dtype), ())  # type: ignore[arg-type]


@exports("iota")
def iota(e: Emission, node: Node) -> Place:
    """Numbers along one axis, which broadcast along the others."""
    v, axis = node.result, node.attrs["axis"]
    n, behind = v.shape[axis], v.type.rank - 1 - axis
    if not is_size(n):
        return Place(e.constant(np.arange(n).astype(v.dtype).reshape(n, *[1] * behind)), (n, *[1] * behind))
    stop = e.op("Squeeze", e.integers([n]), e.integers([0]))
    steps = e.op("CastLike", e.op("Range", e.scalar(0, I64), stop, e.scalar(1, I64)), e.scalar(0, v.dtype))
    shaped = e.op("Unsqueeze", steps, e.integers(range(1, behind + 1))) if behind else steps
    return Place(shaped, (n, *[1] * behind))


@exports("broadcast")
def broadcast(e: Emission, node: Node) -> Place:
    """Axes of size 1 where elements are repeated; that they are is left to the operators that read them."""
    (x,) = node.operands
    axes: Sequence[int] = node.attrs["axes"]
    place, rank = e.places[x], node.result.type.rank
    if not place.shape:
        return place
    kept = axes[len(axes) - len(place.shape) :]  # the axes that the tensor has
    new = [a for a in range(kept[0], rank) if a not in kept]
    sizes = dict(zip(kept, place.shape, strict=True))
    name = e.op("Unsqueeze", place.name, e.integers([a - kept[0] for a in new])) if new else place.name
    return Place(name, tuple(sizes.get(a, 1) for a in range(kept[0], rank)))


@exports("reshape")
def reshape(e: Emission, node: Node) -> str | Place:
    """Reshape, of what an earlier one was applied to.

    Of sizes that are symbols, those that stay are taken from the operand, and one other is inferred.
    """
    (x,) = node.operands
    shape = node.attrs["shape"]
    if not e.places[x].shape:
        return e.places[x]
    name, old = e.reshapes.get(e.whole(x), (e.whole(x), x.shape))
    if surely_equal(old, shape):
        return name
    stay = [n if not is_size(n) else 0 if surely_equal((n,), old[a : a + 1]) else -1 for a, n in enumerate(shape)]
    plain = not any(map(is_size, shape)) or 0 in (*old, *shape) or stay.count(-1) > 1

    def apply(name: str) -> str:
        made = reshaped(e, name, shape) if plain else e.op("Reshape", name, e.integers(stay))
        e.reshapes[made] = name, old
        return made

    made = apply(name)
    if mean := e.means.get(name):
        e.means[made] = mean[0], lambda: apply(mean[1]())
    return made


def reshaped(e: Emission, name: str, shape: Sequence[int]) -> str:
    """A tensor in another shape."""
    return e.op("Reshape", name, e.integers(shape), allowzero=1)


@exports("transpose")
def transpose(e: Emission, node: Node) -> str | Place:
    """Transpose."""
    (x,) = node.operands
    return e.turned(e.whole(x), node.attrs["perm"]) if e.places[x].shape else e.places[x]


def sliced(e: Emission, x: str, ranges: Sequence[tuple[int, int, int, int]]) -> str:
    """A tensor cut along axes: (axis, start, stop, step)."""
    if not ranges:
        return x
    axes, starts, stops, steps = zip(*ranges, strict=True)
    return e.op("Slice", x, *map(e.integers, (starts, stops, axes, steps)))


@exports("slice")
def slice_(e: Emission, node: Node) -> str | Place:
    """Slice, along the axes that are cut."""
    (x,) = node.operands
    if not e.places[x].shape:
        return e.places[x]
    ranges = zip(node.attrs["start"], node.attrs["stop"], node.attrs["step"], x.shape, strict=True)
    cut = []
    for axis, (a, b, c, n) in enumerate(ranges):
        to_end = surely_equal((b,), (n,))
        if not (surely_equal((a,), (0,)) and to_end and c == 1):
            cut.append((axis, a, _END if to_end else b, c))
    return sliced(e, e.whole(x), cut)


@exports("pad")
def pad(e: Emission, node: Node) -> str:
    """Pad; negative padding is cut, and what comes between elements is padding of axes of their own."""
    (x,) = node.operands
    value = e.scalar(number(node.attrs["value"]), x.dtype)  # type: ignore[arg-type]
    name, rank, sizes = e.whole(x), x.type.rank, list(x.shape)
    for axis, k in enumerate(node.attrs["interior"]):
        if k and sizes[axis]:
            rows = reshaped(e, name, (*sizes[: axis + 1], 1, *sizes[axis + 1 :]))
            spread = padded(e, rows, [0] * (rank + 1), [k if a == axis + 1 else 0 for a in range(rank + 1)], value)
            sizes[axis] *= k + 1
            name = sliced(e, reshaped(e, spread, sizes), [(axis, 0, sizes[axis] - k, 1)])
            sizes[axis] -= k
    low, high = node.attrs["low"], node.attrs["high"]
    cut = [(a, max(-p, 0), n - max(-q, 0), 1) for a, (p, q, n) in enumerate(zip(low, high, sizes, strict=True))]
    name = sliced(e, name, [c for c, p, q in zip(cut, low, high, strict=True) if p < 0 or q < 0])
    return padded(e, name, [max(p, 0) for p in low], [max(q, 0) for q in high], value)


def padded(e: Emission, x: str, low: Sequence[int], high: Sequence[int], value: str) -> str:
    """A tensor with more elements before and behind the others of each axis."""
    return e.op("Pad", x, e.integers([*low, *high]), value) if any((*low, *high)) else x


@exports("concat")
def concat(e: Emission, node: Node) -> str:
    """Concat."""
    names = [e.whole(v) for v in node.operands]
    return names[0] if len(names) == 1 else e.op("Concat", *names, axis=node.attrs["axis"])


def flipped(e: Emission, x: str, axes: Sequence[int]) -> str:
    """A tensor with the elements along some axes in reverse."""
    return sliced(e, x, [(a, _END, -_END, -1) for a in axes])


@exports("reverse")
def reverse(e: Emission, node: Node) -> str:
    """Slice with steps of -1."""
    return flipped(e, e.whole(node.operands[0]), node.attrs["axes"])


def indices(e: Emission, v: Value) -> str:
    """Integers as int64, which ONNX has for indices; those that uint64 alone holds are out of any range."""
    name = e.whole(v)
    if v.dtype == U64:
        name = e.op("Min", name, e.scalar(_END, U64))
    return name if v.dtype == I64 else e.op("Cast", name, to=7)


@exports("take")
def take(e: Emission, node: Node) -> str:
    """Gather."""
    x, index = node.operands
    return e.op("Gather", e.whole(x), indices(e, index), axis=0)


@exports("dynamic_slice")
def dynamic_slice(e: Emission, node: Node) -> str:
    """Slice, from starts that are brought into range."""
    x, *starts = node.operands
    sizes = node.attrs["sizes"]
    if not starts:
        return e.whole(x)
    zero = e.integers([0])
    each = [e.op("Unsqueeze", indices(e, v), zero) for v in starts]
    last = e.integers([n - k for n, k in zip(x.shape, sizes, strict=True)])
    start = e.op("Max", e.op("Min", e.op("Concat", *each, axis=0), last), zero)
    return e.op("Slice", e.whole(x), start, e.op("Add", start, e.integers(sizes)))
