"""Primitives that move elements: each output element is one operand element, or a fill."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tgc.errors import DTypeError
from tgc.ops.batch import after, by_attrs, first, in_front, offset_indices, order, size_of, sized, to_front
from tgc.ops.kinds import Movement, Primitive, integer, integers, pairs, scalar
from tgc.ops.samples import case, indices, reals, samples
from tgc.ops.scalar import LAST_PLACE, as_place
from tgc.types import ALL, I64, INTS, U64, Layout, TensorType


def _kept_axes(x: Any, axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(a for a in range(len(x.shape)) if a not in axes)


# ------------------------------------------------------------------------------------------------------ broadcast


def _broadcast_type(op: Primitive, operands: Sequence[TensorType], *, axes: Any, shape: Any) -> TensorType:
    op.expect(operands, ALL)
    (x,) = operands
    created = op.made(operands, x.dtype, shape)
    if len(axes) != x.rank or list(axes) != sorted(set(axes)) or any(not 0 <= a < len(shape) for a in axes):
        raise op.refuse(f"axes {axes} do not place each operand axis, in order, among {len(shape)} axes", operands)
    if any(shape[a] != n for a, n in zip(axes, x.shape, strict=True)):
        raise op.refuse(f"operand sizes differ from those of {shape} at axes {axes}", operands)
    return created


def _broadcast_reference(x: np.ndarray, *, axes: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    sizes = [1] * len(shape)
    for a, n in zip(axes, x.shape, strict=True):
        sizes[a] = n
    return np.broadcast_to(x.reshape(sizes), shape)


def _broadcast_grad(g: Any, x: Any, *, out: Any, axes: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Any]:
    from tgc.ops.reduce import reduce_sum

    return (reduce_sum(g, axes=_kept_axes(g, axes), chunks=0),)


broadcast = Movement(
    "broadcast",
    attrs={"axes": integers, "shape": integers},
    type_rule=_broadcast_type,
    reference=_broadcast_reference,
    element=lambda s, index, *, axes, shape: s.load(0, [index[a] for a in axes]),
    reads=lambda x, *, axes, shape: math.prod(n for a, n in enumerate(shape) if a not in axes),
    batch=by_attrs("broadcast", axes=order, shape=sized),
    grad=_broadcast_grad,
    samples=samples(
        reals(),
        cases=(
            case((4,), axes=(1,), shape=(3, 4)),
            case((4,), axes=(0,), shape=(4, 3)),
            case((), axes=(), shape=(2, 3)),
            case((2, 5), axes=(0, 2), shape=(2, 3, 5)),
            case((3,), axes=(1,), shape=(0, 3)),
        ),
    ),
)


# ------------------------------------------------------------------------------------------- reshape and transpose


def _reshape_type(op: Primitive, operands: Sequence[TensorType], *, shape: Any) -> TensorType:
    op.expect(operands, ALL)
    created = op.made(operands, operands[0].dtype, shape)
    if created.size != operands[0].size:
        raise op.refuse(f"shape {tuple(shape)} has another number of elements", operands)
    return created


def _reshape_element(s: Any, index: Sequence[Any], *, shape: tuple[int, ...]) -> Any:
    return s.load_flat(0, index)


reshape: Movement = Movement(
    "reshape",
    attrs={"shape": integers},
    type_rule=_reshape_type,
    reference=lambda x, *, shape: x.reshape(shape),
    element=_reshape_element,
    batch=by_attrs("reshape", shape=sized),
    grad=lambda g, x, *, out, shape: (reshape(g, shape=x.shape),),
    samples=samples(
        reals(),
        cases=(
            case((3, 4), shape=(2, 6)),
            case((6,), shape=(2, 1, 3)),
            case((1, 1), shape=()),
            case((0, 3), shape=(0,)),
        ),
    ),
)


def inverse(perm: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes another."""
    return tuple(perm.index(a) for a in range(len(perm)))


def _transpose_type(op: Primitive, operands: Sequence[TensorType], *, perm: Any) -> TensorType:
    op.expect(operands, ALL)
    (x,) = operands
    if sorted(perm) != list(range(x.rank)):
        raise op.refuse(f"{tuple(perm)} is no permutation of the operand's axes", operands)
    return TensorType(x.dtype, tuple(x.shape[a] for a in perm))


def _transpose_element(s: Any, index: Sequence[Any], *, perm: tuple[int, ...]) -> Any:
    return s.load(0, [index[perm.index(a)] for a in range(len(perm))])


transpose: Movement = Movement(
    "transpose",
    attrs={"perm": integers},
    type_rule=_transpose_type,
    reference=lambda x, *, perm: x.transpose(perm),
    element=_transpose_element,
    batch=by_attrs("transpose", perm=order),
    grad=lambda g, x, *, out, perm: (transpose(g, perm=inverse(perm)),),
    samples=samples(
        reals(),
        cases=(case((3, 4), perm=(1, 0)), case((2, 3, 4), perm=(2, 0, 1)), case((2, 3, 4, 5), perm=(0, 2, 3, 1))),
    ),
)


# -------------------------------------------------------------------------------------------------- slice and pad


def _slice_type(op: Primitive, operands: Sequence[TensorType], *, start: Any, stop: Any, step: Any) -> TensorType:
    op.expect(operands, ALL)
    (x,) = operands
    if not len(start) == len(stop) == len(step) == x.rank:
        raise op.refuse("start, stop and step need one entry an axis", operands)
    for n, a, b, c in zip(x.shape, start, stop, step, strict=True):
        if c < 1 or not 0 <= a <= b <= n:
            raise op.refuse(f"range {a}:{b}:{c} lies outside of an axis of size {n}", operands)
    return TensorType(x.dtype, tuple(-(-(b - a) // c) for a, b, c in zip(start, stop, step, strict=True)))


def _slice_grad(g: Any, x: Any, *, out: Any, start: Any, stop: Any, step: Any) -> tuple[Any]:
    last = [a + max(n - 1, 0) * c + (n > 0) for a, n, c in zip(start, g.shape, step, strict=True)]
    high = [n - e for n, e in zip(x.shape, last, strict=True)]
    return (pad(g, low=start, high=high, interior=[c - 1 for c in step], value=0),)


slice_ = Movement(
    "slice",
    attrs={"start": integers, "stop": integers, "step": integers},
    type_rule=_slice_type,
    reference=lambda x, *, start, stop, step: x[tuple(slice(*r) for r in zip(start, stop, step, strict=True))],
    element=lambda s, index, *, start, stop, step: s.load(
        0,
        [
            i * c + s.given(a, axis if c > 1 else None)
            for axis, (i, a, c) in enumerate(zip(index, start, step, strict=True))
        ],
    ),
    batch=by_attrs("slice", start=first(0), stop=sized, step=first(1)),
    grad=_slice_grad,
    samples=samples(
        reals(),
        cases=(
            case((5, 7), start=(1, 0), stop=(4, 7), step=(1, 2)),
            case((6,), start=(0,), stop=(6,), step=(4,)),
            case((4, 3), start=(2, 1), stop=(2, 3), step=(1, 1)),
        ),
    ),
)


def _pad_type(
    op: Primitive, operands: Sequence[TensorType], *, low: Any, high: Any, interior: Any, value: Any
) -> TensorType:
    op.expect(operands, ALL)
    (x,) = operands
    if not len(low) == len(high) == len(interior) == x.rank or any(k < 0 for k in interior):
        raise op.refuse("low, high and interior (not negative) need one entry an axis", operands)
    shape = tuple(a + n + max(n - 1, 0) * k + b for n, a, b, k in zip(x.shape, low, high, interior, strict=True))
    if any(n < 0 for n in shape):
        raise op.refuse(f"negative padding {low}, {high} removes more than there is", operands)
    return TensorType(x.dtype, shape)


def _pad_reference(x: np.ndarray, *, low: Any, high: Any, interior: Any, value: Any) -> np.ndarray:
    spread = [n + max(n - 1, 0) * k for n, k in zip(x.shape, interior, strict=True)]
    full = np.full([n + max(a, 0) + max(b, 0) for n, a, b in zip(spread, low, high, strict=True)], value, x.dtype)
    full[tuple(slice(max(a, 0), max(a, 0) + n, k + 1) for a, n, k in zip(low, spread, interior, strict=True))] = x
    return full[tuple(slice(max(-a, 0), n - max(-b, 0)) for a, b, n in zip(low, high, full.shape, strict=True))]


def _pad_element(s: Any, index: Sequence[Any], *, low: Any, high: Any, interior: Any, value: Any) -> Any:
    inside = None
    places = []
    for axis, (i, a, b, k) in enumerate(zip(index, low, high, interior, strict=True)):
        place = i - s.given(a, axis if a or b or k else None)
        checks = []
        if a > 0 or b > 0:  # on either side: that there is none on the other makes no other kernel
            checks.append(place >= 0)
        if k > 0:
            checks.append(s.eq(place % (k + 1), s.const(0, I64)))
            place = place // (k + 1)
        if a > 0 or b > 0:
            checks.append(place < s.dim(0, axis))
        places.append(place)
        for check in checks:
            inside = check if inside is None else s.bit_and(inside, check)
    if inside is None:
        return s.load(0, places)
    return s.guard(inside, lambda: s.load(0, places), s.const(value, s.out_dtype))


def _pad_grad(g: Any, x: Any, *, out: Any, low: Any, high: Any, interior: Any, value: Any) -> tuple[Any]:
    whole = pad(g, low=[-a for a in low], high=[-b for b in high], interior=[0] * len(low), value=0)
    return (slice_(whole, start=[0] * len(low), stop=whole.shape, step=[k + 1 for k in interior]),)


pad = Movement(
    "pad",
    attrs={"low": integers, "high": integers, "interior": integers, "value": scalar},
    type_rule=_pad_type,
    reference=_pad_reference,
    element=_pad_element,
    batch=by_attrs("pad", low=first(0), high=first(0), interior=first(0)),
    grad=_pad_grad,
    samples=samples(
        reals(),
        cases=(
            case((3, 4), low=(1, 0), high=(2, 1), interior=(0, 0), value=0),
            case((3, 4), low=(0, -1), high=(0, -1), interior=(1, 0), value=2),
            case((3,), low=(2,), high=(-1,), interior=(2,), value=0),
            case((0, 2), low=(1, 1), high=(1, 1), interior=(0, 1), value=1),
        ),
    ),
)


# --------------------------------------------------------------------------------------------- concat and reverse


def _concat_type(op: Primitive, operands: Sequence[TensorType], *, axis: int) -> TensorType:
    if not operands:
        raise op.refuse("needs at least one operand", operands)
    op.expect(operands, *([ALL] * len(operands)))
    first = operands[0]
    if not 0 <= axis < first.rank:
        raise op.refuse(f"no axis {axis}", operands)
    for t in operands:
        if t.dtype != first.dtype:
            raise DTypeError(f"concat({', '.join(map(str, operands))}): operand dtypes differ")
        if t.rank != first.rank or any(a != axis and n != first.shape[a] for a, n in enumerate(t.shape)):
            raise op.refuse(f"operand shapes differ along axes other than {axis}", operands)
    total = sum(t.shape[axis] for t in operands)
    return TensorType(first.dtype, (*first.shape[:axis], total, *first.shape[axis + 1 :]))


def _concat_element(s: Any, index: Sequence[Any], *, axis: int) -> Any:
    def piece(operand: int, place: Any) -> Any:
        at = (*index[:axis], place, *index[axis + 1 :])
        if operand == s.arity - 1:
            return s.load(operand, at)
        n = s.dim(operand, axis)
        return s.guard(place < n, lambda: s.load(operand, at), lambda: piece(operand + 1, place - n))

    return piece(0, index[axis])


def _concat_grad(g: Any, *xs: Any, out: Any, axis: int) -> tuple[Any, ...]:
    grads, at = [], 0
    for x in xs:
        start, stop = [0] * len(x.shape), list(g.shape)
        start[axis], stop[axis] = at, at + x.shape[axis]
        at += x.shape[axis]
        grads.append(slice_(g, start=start, stop=stop, step=[1] * len(start)))
    return tuple(grads)


concat = Movement(
    "concat",
    attrs={"axis": integer},
    type_rule=_concat_type,
    reference=lambda *xs, axis: np.concatenate(xs, axis),
    element=_concat_element,
    batch=by_attrs("concat", axis=after),
    grad=_concat_grad,
    samples=samples(
        reals(), reals(), reals(),
        cases=(case((2, 3), (2, 1), axis=1), case((2, 3), (0, 3), (4, 3), axis=0), case((5,), axis=0)),
    ),
)  # fmt: skip


def _axes_type(op: Primitive, operands: Sequence[TensorType], *, axes: Any) -> TensorType:
    op.expect(operands, ALL)
    if len(set(axes)) != len(axes) or any(not 0 <= a < operands[0].rank for a in axes):
        raise op.refuse(f"axes {tuple(axes)} are not distinct axes of the operand", operands)
    return TensorType(operands[0].dtype, operands[0].shape)


reverse: Movement = Movement(
    "reverse",
    attrs={"axes": integers},
    type_rule=_axes_type,
    reference=lambda x, *, axes: np.flip(x, axes),
    element=lambda s, index, *, axes: s.load(0, [s.size(a) - 1 - i if a in axes else i for a, i in enumerate(index)]),
    batch=by_attrs("reverse", axes=after),
    grad=lambda g, x, *, out, axes: (reverse(g, axes=axes),),
    samples=samples(reals(), cases=(case((3, 4), axes=(0,)), case((3, 4, 2), axes=(0, 2)), case((3,), axes=()))),
)


# --------------------------------------------------------------------------------------------------------- gather


def as_places(index: np.ndarray) -> np.ndarray:
    """Indices of any integer dtype in i64, as `as_place` has them."""
    return (np.minimum(index, LAST_PLACE) if index.dtype == U64 else index).astype(I64)


def _take_type(op: Primitive, operands: Sequence[TensorType]) -> TensorType:
    op.expect(operands, ALL, INTS)
    x, index = operands
    if x.rank < 1:
        raise op.refuse("operand 0 needs an axis to take from", operands)
    return TensorType(x.dtype, index.shape + x.shape[1:])


def _take_reference(x: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.take(x, as_places(index), axis=0)


def _take_element(s: Any, index: Sequence[Any]) -> Any:
    k = s.rank(1)
    at = as_place(s, s.load(1, index[:k]))
    return s.load(0, (s.index(at, s.dim(0, 0)), *index[k:]))


def _take_grad(g: Any, x: Any, index: Any, *, out: Any) -> tuple[Any, None]:
    from tgc.ops.creation import full_like
    from tgc.ops.scatter import scatter_add

    return scatter_add(full_like(x, 0), index, g), None


def _take_batch(operands: Sequence[Any], batched: Sequence[bool]) -> Any:
    x, index = operands
    if not batched[0]:
        return take(x, index)
    if not batched[1]:
        return to_front(take(to_front(x, 1), index), len(index.shape))
    n, m = x.shape[:2]
    return take(reshape(x, shape=(n * m, *x.shape[2:])), offset_indices(index, m))


take = Movement(
    "take",
    attrs={},
    type_rule=_take_type,
    reference=_take_reference,
    element=_take_element,
    reads=lambda x, index: max(1, -(-index.size // max(x.shape[0], 1))),
    batch=_take_batch,
    grad=_take_grad,
    samples=samples(reals(), indices(4, -4), cases=(case((4, 3), (5,)), case((4,), (2, 3)), case((4, 2, 2), ()))),
)


# -------------------------------------------------------------------------------------------------------- barrier


def _barrier_type(op: Primitive, operands: Sequence[TensorType]) -> TensorType:
    if not operands:
        raise op.refuse("needs at least one operand", operands)
    op.expect(operands, *([ALL] * len(operands)))
    return operands[0]


def _barrier_batch(operands: Sequence[Any], batched: Sequence[bool]) -> Any:
    return in_front(barrier(*operands), batched[0], size_of(operands, batched))


barrier: Movement = Movement(
    "barrier",
    attrs={},
    type_rule=_barrier_type,
    reference=lambda x, *others: x,
    element=lambda s, index: s.load(0, index),
    batch=_barrier_batch,
    grad=lambda g, x, *others, out: (g, *([None] * len(others))),
    samples=samples(reals(), reals(), cases=(case((3, 4), (2,)), case((), (0, 3)), case((5,)))),
)
"""Operand 0, computed not before the others are.

Nothing that is computed of it is taken for what is computed of the operand itself: it is computed again.
"""


# ------------------------------------------------------------------------------------------------------- relayout


def _relayout_type(op: Primitive, operands: Sequence[TensorType], *, order: Any, tiles: Any) -> TensorType:
    op.expect(operands, ALL)
    (x,) = operands
    tiled = {t[0] for t in tiles if len(t) == 2 and 0 <= t[0] < x.rank and t[1] > 0}
    if sorted(order) != list(range(x.rank)) or len(tiled) != len(tiles):
        raise op.refuse(f"order {order} and tiles {tiles} are no layout of the operand", operands)
    return x.with_layout(Layout(tuple(order), tuple(tiles)))


relayout = Movement(
    "relayout",
    attrs={"order": integers, "tiles": pairs},
    type_rule=_relayout_type,
    reference=lambda x, *, order, tiles: x,
    element=lambda s, index, *, order, tiles: s.load(0, index),
    batch=by_attrs("relayout", order=order, tiles=lambda tiles, n: tuple((a + 1, k) for a, k in tiles)),
    grad=lambda g, x, *, out, order, tiles: (g,),
    samples=samples(reals(), cases=(case((3, 4), order=(0, 1), tiles=()),)),
)

__all__ = [
    "barrier", "broadcast", "concat", "inverse", "pad", "relayout", "reshape", "reverse", "slice_", "take", "transpose",
]  # fmt: skip
