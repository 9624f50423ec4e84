"""What the `batch` rules of ops are made of: how an op maps over one more axis, which is the first one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from tgc.ops.kinds import REGISTRY, Batch, Primitive
from tgc.ops.scalar import LAST_PLACE
from tgc.types import I64, U64

Change: TypeAlias = Callable[
    [Any, int], Any
]  # (an attribute, the size of the new axis) -> the attribute with that axis


def primitive(name: str) -> Primitive:
    """The op of that name; for rules that are needed where it is defined."""
    op = REGISTRY[name]
    assert isinstance(op, Primitive)
    return op


def size_of(operands: Sequence[Any], batched: Sequence[bool]) -> int:
    """The size of the mapped axis."""
    return next(int(x.shape[0]) for x, mapped in zip(operands, batched, strict=True) if mapped)


def in_front(x: Any, mapped: bool, size: int) -> Any:
    """`x` with the mapped axis in front: repeated unless it is `mapped`."""
    axes = range(1, len(x.shape) + 1)
    return x if mapped else primitive("broadcast")(x, axes=axes, shape=(size, *x.shape))


def to_front(x: Any, axis: int) -> Any:
    """`x` with `axis` moved to the front."""
    rest = (a for a in range(len(x.shape)) if a != axis)
    return primitive("transpose")(x, perm=(axis, *rest)) if axis else x


def from_front(x: Any, axis: int) -> Any:
    """`x` with its first axis moved to `axis`."""
    perm = (*range(1, axis + 1), 0, *range(axis + 1, len(x.shape)))
    return primitive("transpose")(x, perm=perm) if axis else x


def by_attrs(name: str, **changes: Change) -> Batch:
    """The rule of an op for which the new axis is a matter of attributes; all operands get it."""

    def rule(operands: Sequence[Any], batched: Sequence[bool], **attrs: Any) -> Any:
        size = size_of(operands, batched)
        whole = [in_front(x, mapped, size) for x, mapped in zip(operands, batched, strict=True)]
        changed = {key: changes[key](a, size) if key in changes else a for key, a in attrs.items()}
        return primitive(name)(*whole, **changed)

    return rule


def first(entry: Any) -> Change:
    """The new axis has this entry in an attribute with one entry an axis."""
    return lambda entries, size: (entry, *entries)


def sized(shape: Sequence[int], size: int) -> tuple[int, ...]:
    """A shape with the new axis."""
    return (size, *shape)


def after(axes: Any, size: int) -> Any:
    """An axis, or several, behind the new one."""
    return tuple(a + 1 for a in axes) if isinstance(axes, tuple) else axes + 1


def order(axes: Sequence[int], size: int) -> tuple[int, ...]:
    """An order of axes in which the new one is the first."""
    return (0, *(a + 1 for a in axes))


def offset_indices(index: Any, length: int) -> Any:
    """Indices of each element of the mapped axis into an axis of `length`, as indices into all these axes in a row.

    Those that are out of range stay so.

    Args:
        index: integers [size, ...]; negative ones count from the end.
        length: of the axis that each of them addresses.
    Returns:
        i64[size, ...].
    """

    def number(k: int) -> Any:
        return primitive("full")(shape=index.shape, dtype=I64, value=k)

    e = primitive
    if index.dtype == U64:
        index = e("minimum")(index, e("full")(shape=index.shape, dtype=U64, value=LAST_PLACE))
    place = e("cast")(index, dtype=I64)
    place = e("select")(e("lt")(place, number(0)), e("add")(place, number(length)), place)
    inside = e("bit_and")(e("ge")(place, number(0)), e("lt")(place, number(length)))
    start = e("mul")(e("iota")(shape=index.shape, dtype=I64, axis=0), number(length))
    return e("select")(inside, e("add")(place, start), number(index.shape[0] * length))
