"""Primitives without array operands: constant fills, counters, random bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from tgc.errors import AttributeSpecError
from tgc.ops.batch import by_attrs, sized
from tgc.ops.kinds import Movement, Primitive, dtype, integer, integers, no_gradient, no_operands, scalar
from tgc.ops.samples import case, reals, samples
from tgc.sizes import is_size
from tgc.types import BOOL, COMPLEXES, F32, F64, I64, INTS, REALS, U32, DType, TensorType, is_float


def _created(op: Primitive, operands: Sequence[TensorType], *, dtype: Any, shape: Any, **attrs: Any) -> TensorType:
    op.expect(operands)
    return op.made(operands, dtype, shape)


def _full_type(op: Primitive, operands: Sequence[TensorType], *, value: Any, **attrs: Any) -> TensorType:
    created = _created(op, operands, **attrs)
    kinds = {BOOL: bool, **dict.fromkeys(INTS, int), **dict.fromkeys(COMPLEXES, tuple)}
    kind = kinds.get(created.dtype, float)
    if is_size(value) and created.dtype in SIZED:
        return created
    if type(value) is not kind:
        raise AttributeSpecError(f"full: {value!r} is no {kind.__name__}, as {created.dtype} needs; use `fill`")
    limits = np.iinfo(created.dtype) if kind is int else None
    if limits and isinstance(value, int) and not limits.min <= value <= limits.max:
        raise AttributeSpecError(f"full: {value} does not fit {created.dtype}; use `fill`")
    return created


Number: TypeAlias = bool | int | float | complex
SIZED = frozenset({F32, F64, I64})  # dtypes of fills by a size that is a symbol


def number(value: Any) -> Number:
    """The number that attribute `value` holds: complex ones are pairs there."""
    return complex(*value) if isinstance(value, tuple) else value


full = Movement(
    "full",
    attrs={"shape": integers, "dtype": dtype, "value": scalar},
    type_rule=_full_type,
    reference=lambda *, shape, dtype, value: np.full(shape, number(value), dtype),
    element=lambda s, index, *, shape, dtype, value: s.fill(value, dtype),
    grad=no_gradient,
    batch=no_operands,
    samples=samples(cases=(case(shape=(2, 3), dtype="f32", value=1.5), case(shape=(), dtype="i64", value=-3))),
)


def fill(shape: Sequence[int], dtype: DType, value: Any) -> Any:
    """A tensor filled with one number, converted to `dtype` as NumPy would."""
    if is_size(value) and dtype in SIZED:
        return full(shape=shape, dtype=dtype, value=value)
    if is_float(dtype):
        value = float(value)
    elif dtype in COMPLEXES:
        value = complex(value)
    else:
        value = np.asarray(value).astype(dtype).item()
    return full(shape=shape, dtype=dtype, value=value)


def full_like(x: Any, value: float) -> Any:
    """A tensor of x's shape and dtype filled with one number."""
    return fill(x.shape, x.dtype, value)


def _iota_type(op: Primitive, operands: Sequence[TensorType], *, dtype: Any, shape: Any, axis: int) -> TensorType:
    created = _created(op, operands, dtype=dtype, shape=shape)
    if created.dtype not in REALS or not 0 <= axis < created.rank:
        raise op.refuse(f"no axis {axis} in {created}, or no number", operands)
    return created


iota = Movement(
    "iota",
    attrs={"shape": integers, "dtype": dtype, "axis": integer},
    type_rule=_iota_type,
    reference=lambda *, shape, dtype, axis: np.broadcast_to(
        np.arange(shape[axis]).astype(dtype).reshape([-1 if a == axis else 1 for a in range(len(shape))]), shape
    ),
    element=lambda s, index, *, shape, dtype, axis: s.cast(index[axis], dtype),
    grad=no_gradient,
    batch=no_operands,
    samples=samples(cases=(case(shape=(2, 5), dtype="f32", axis=1), case(shape=(4, 3), dtype="i32", axis=0))),
)


PHILOX_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
PHILOX_WEYL = 0x9E3779B9, 0xBB67AE85


def philox4x32(key: np.ndarray, counter: np.ndarray) -> np.ndarray:
    """Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).

    Args:
        key: u32[2].
        counter: u32[..., 4].
    Returns:
        u32[..., 4], the block of four words for each counter.
    """
    c = [counter[..., i].astype(np.uint64) for i in range(4)]
    k = [int(key[0]), int(key[1])]
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(PHILOX_MULTIPLIERS[0]), c[2] * np.uint64(PHILOX_MULTIPLIERS[1])
        high0, high1 = p0 >> np.uint64(32), p1 >> np.uint64(32)
        c = [high1 ^ c[1] ^ np.uint64(k[0]), p1 & low, high0 ^ c[3] ^ np.uint64(k[1]), p0 & low]
        k = [(k[0] + PHILOX_WEYL[0]) & 0xFFFFFFFF, (k[1] + PHILOX_WEYL[1]) & 0xFFFFFFFF]
    return np.stack(c, -1).astype(np.uint32)


def _bits_type(op: Primitive, operands: Sequence[TensorType], *, shape: Any) -> TensorType:
    op.expect(operands, frozenset({U32}))
    lead = operands[0].shape[:-1]
    if operands[0].shape[-1:] != (2,) or tuple(shape[: len(lead)]) != lead:
        raise op.refuse(f"keys are u32[..., 2], and the result, {tuple(shape)}, begins with the axes of keys", operands)
    return op.made(operands, U32, shape)


def _bits_reference(key: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
    lead = key.shape[:-1]
    if lead:
        own = shape[len(lead) :]
        draws = [_bits_reference(k, shape=own) for k in key.reshape(-1, 2)]
        return np.stack(draws).reshape(shape) if draws else np.zeros(shape, np.uint32)
    n = int(np.prod(shape))
    block = np.arange(-(-n // 4), dtype=np.uint64)
    counter = np.zeros((len(block), 4), np.uint32)
    counter[:, 0], counter[:, 1] = block & np.uint64(0xFFFFFFFF), block >> np.uint64(32)
    return philox4x32(key, counter).ravel()[:n].reshape(shape)


def _bits_element(s: Any, index: Sequence[Any], *, shape: tuple[int, ...]) -> Any:
    """The words of each key are numbered by the axes behind those of the keys."""
    lead = s.rank(0) - 1
    position = s.const(0, np.dtype(np.int64))
    for axis in range(lead, len(index)):
        position = position * s.size(axis) + index[axis]
    zero, one = (s.const(k, np.dtype(np.int64)) for k in (0, 1))
    return s.philox(s.load(0, (*index[:lead], zero)), s.load(0, (*index[:lead], one)), position)


random_bits = Movement(
    "random_bits",
    attrs={"shape": integers},
    type_rule=_bits_type,
    reference=_bits_reference,
    element=_bits_element,
    cheap=False,
    grad=no_gradient,
    batch=by_attrs("random_bits", shape=sized),
    samples=samples(
        reals(0, 99),
        cases=(
            case((2,), shape=(3, 7)),
            case((2,), shape=(0,)),
            case((2,), shape=()),
            case((3, 2), shape=(3,)),
            case((2, 3, 2), shape=(2, 3, 5)),
        ),
    ),
)
