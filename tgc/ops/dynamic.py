"""Slices whose place is known only at run time. As in XLA, starts are brought into range: nothing is out of bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tgc.errors import DTypeError
from tgc.ops.batch import in_front, primitive, size_of
from tgc.ops.creation import full_like, iota
from tgc.ops.elementwise import add, cast, maximum, minimum, mul
from tgc.ops.kinds import Movement, Primitive, integers
from tgc.ops.movement import broadcast, reshape, take
from tgc.ops.samples import case, indices, reals, samples
from tgc.ops.scatter import scatter_set
from tgc.types import ALL, I32, I64, TensorType

_STARTS = frozenset({I32, I64})


def _check(op: Primitive, operands: Sequence[TensorType], arrays: int, sizes: Sequence[int]) -> None:
    x = operands[0] if operands else None
    op.expect(operands, *[ALL] * arrays, *[_STARTS] * (len(operands) - arrays))
    assert x is not None
    if len(operands) - arrays != x.rank or any(t.rank for t in operands[arrays:]):
        raise op.refuse("takes one scalar start for each axis of operand 0", operands)
    if len({t.dtype for t in operands[arrays:]}) > 1:
        raise DTypeError(f"{op.name}({', '.join(map(str, operands))}): the dtypes of the starts differ")
    if len(sizes) != x.rank or any(not 0 <= k <= n for k, n in zip(sizes, x.shape, strict=True)):
        raise op.refuse(f"cannot place {tuple(sizes)} in operand 0", operands)


def _slice_type(op: Primitive, operands: Sequence[TensorType], *, sizes: Any) -> TensorType:
    if not operands:
        raise op.refuse("takes a tensor and its starts", operands)
    _check(op, operands, 1, sizes)
    return TensorType(operands[0].dtype, tuple(sizes))


def _at(shape: Sequence[int], sizes: Sequence[int], starts: Sequence[np.ndarray]) -> tuple[slice, ...]:
    places = [int(np.clip(s, 0, n - k)) for n, k, s in zip(shape, sizes, starts, strict=True)]
    return tuple(slice(p, p + k) for p, k in zip(places, sizes, strict=True))


def _start(s: Any, operand: int, whole: Any, part: Any) -> Any:
    """The start in `operand`, brought into range."""
    at = s.cast(s.load(operand, ()), I64)
    return s.maximum(s.minimum(at, whole - part), s.const(0, I64))


def _slice_element(s: Any, index: Sequence[Any], *, sizes: tuple[int, ...]) -> Any:
    return s.load(0, [i + _start(s, 1 + a, s.dim(0, a), s.size(a)) for a, i in enumerate(index)])


def _places(starts: Sequence[Any], batched: Sequence[bool], n: int, shape: Sequence[int], sizes: Sequence[int]) -> Any:
    """i64[n, *sizes]: for each element of a batch the row-major places of a slice in a tensor of `shape`."""
    whole, stride, total = (n, *sizes), 1, None
    for a in reversed(range(len(sizes))):
        start = cast(in_front(starts[a], batched[a], n), dtype=I64)
        start = maximum(minimum(start, full_like(start, shape[a] - sizes[a])), full_like(start, 0))
        along = add(broadcast(start, axes=(0,), shape=whole), iota(shape=whole, dtype=I64, axis=1 + a))
        along = mul(along, full_like(along, stride))
        total = along if total is None else add(total, along)
        stride *= shape[a]
    return total


def _slice_batch(operands: Sequence[Any], batched: Sequence[bool], *, sizes: tuple[int, ...]) -> Any:
    x, *starts = operands
    n = size_of(operands, batched)
    if not any(batched[1:]):
        return dynamic_slice(x, full_like(starts[0], 0) if starts else _zero(), *starts, sizes=(n, *sizes))
    if batched[0]:
        first = reshape(iota(shape=(n,), dtype=I64, axis=0), shape=(n,))
        return reshape(
            take(reshape(x, shape=(x.size,)), _places([first, *starts], [True, *batched[1:]], n, x.shape, (1, *sizes))),
            shape=(n, *sizes),
        )
    return take(reshape(x, shape=(x.size,)), _places(starts, batched[1:], n, x.shape, sizes))


def _zero() -> Any:
    return primitive("full")(shape=(), dtype=I64, value=0)


dynamic_slice: Movement = Movement(
    "dynamic_slice",
    attrs={"sizes": integers},
    type_rule=_slice_type,
    reference=lambda x, *starts, sizes: x[_at(x.shape, sizes, starts)],
    element=_slice_element,
    grad=lambda g, x, *starts, out, sizes: (
        dynamic_update_slice(full_like(x, 0), g, *starts),
        *([None] * len(starts)),
    ),
    batch=_slice_batch,
    samples=samples(
        reals(), indices(4, -2), indices(4, -2),
        cases=(case((5, 4), (), (), sizes=(2, 3)), case((6,), (), sizes=(6,)), case((3, 2), (), (), sizes=(0, 2))),
    ),
)  # fmt: skip


def _update_type(op: Primitive, operands: Sequence[TensorType]) -> TensorType:
    if len(operands) < 2:
        raise op.refuse("takes a tensor, an update and its starts", operands)
    x, update = operands[:2]
    if x.rank != update.rank:
        raise op.refuse("operand 0 and the update differ in rank", operands)
    _check(op, operands, 2, update.shape)
    if x.dtype != update.dtype:
        raise DTypeError(f"{op.name}({', '.join(map(str, operands))}): the dtypes of operand 0 and the update differ")
    return TensorType(x.dtype, x.shape)


def _update_reference(x: np.ndarray, update: np.ndarray, *starts: np.ndarray) -> np.ndarray:
    out = np.array(x)
    out[_at(x.shape, update.shape, starts)] = update
    return out


def _update_element(s: Any, index: Sequence[Any]) -> Any:
    places, inside = [], None
    for a, i in enumerate(index):
        place = i - _start(s, 2 + a, s.dim(0, a), s.dim(1, a))
        for check in (s.ge(place, s.const(0, I64)), s.lt(place, s.dim(1, a))):
            inside = check if inside is None else s.bit_and(inside, check)
        places.append(place)
    if inside is None:
        return s.load(1, ())
    return s.guard(inside, lambda: s.load(1, places), lambda: s.load(0, index))


def _update_batch(operands: Sequence[Any], batched: Sequence[bool]) -> Any:
    n = size_of(operands, batched)
    x, update = (in_front(v, b, n) for v, b in zip(operands[:2], batched[:2], strict=True))
    starts = operands[2:]
    if not any(batched[2:]):
        return dynamic_update_slice(x, update, full_like(starts[0], 0) if starts else _zero(), *starts)
    first = iota(shape=(n,), dtype=I64, axis=0)
    sizes = (1, *update.shape[1:])
    at = reshape(_places([first, *starts], [True, *batched[2:]], n, x.shape, sizes), shape=update.shape)
    return reshape(scatter_set(reshape(x, shape=(x.size,)), at, update), shape=x.shape)


dynamic_update_slice: Movement = Movement(
    "dynamic_update_slice",
    attrs={},
    type_rule=_update_type,
    reference=_update_reference,
    element=_update_element,
    loads=lambda: 2,
    grad=lambda g, x, update, *starts, out: (
        dynamic_update_slice(g, full_like(update, 0), *starts),
        dynamic_slice(g, *starts, sizes=update.shape),
        *([None] * len(starts)),
    ),
    batch=_update_batch,
    samples=samples(
        reals(), reals(), indices(4, -2), indices(4, -2),
        cases=(case((5, 4), (2, 3), (), ()), case((6,), (6,), ()), case((), ()), case((3, 2), (0, 2), (), ())),
    ),
)  # fmt: skip

__all__ = ["dynamic_slice", "dynamic_update_slice"]
