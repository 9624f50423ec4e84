"""Operators on integers in units of scales, see `tgc.frontends.onnx.scaled`.

Functions return NotImplemented where the standard's floats are to be computed: for scales along other axes, of blocks
or below zero, integers of more than 8 bits, sums that int32 may not hold.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from tgc import numpy as tnp
from tgc.frontends.onnx.formats import FORMATS, Coded, decoded, dtype_of
from tgc.frontends.onnx.ops import integers
from tgc.frontends.onnx.ops.integers import HALF, Integers, computed, flipped
from tgc.frontends.onnx.scaled import CODES, NOTHING, Computed, Scaled, Term, on_scaled, settled
from tgc.types import F32, I8, I16, I32, U8, U16

LARGEST = 2 * HALF - 1  # magnitude of an 8-bit integer less its zero point
LIMIT = 2**30  # of the magnitudes of sums, and of a bias


# ---------------------------------------------------------------------------------------------------- in and out


def _numbers(value: Any, x: Any, axis: int) -> np.ndarray | None:
    """A scale or zero point of the tensor, or of each place along `axis`, as it broadcasts to `x`; None if unknown."""
    if isinstance(value, Coded):
        value = computed(decoded, value)
    if not isinstance(value, np.ndarray):
        return None
    if value.size == 1:
        return value.reshape(())
    axis %= x.ndim
    if value.shape != x.shape[axis : axis + 1]:
        return None
    return value.reshape(-1, *(1,) * (x.ndim - 1 - axis))


def _scale_and_zero(scale: Any, zero: Any, x: Any, axis: int) -> tuple[np.ndarray, np.ndarray] | None:
    """float32 and int64, if they are known and of use: scales of float32 above 0."""
    units = _numbers(scale, x, axis)
    zeros = NOTHING if zero is None else _numbers(zero, x, axis)
    if units is None or zeros is None or units.dtype != F32 or not (np.isfinite(units) & (units > 0)).all():
        return None
    return units, zeros.astype(np.int64)


@on_scaled("DequantizeLinear")
def dequantize_linear(
    rule: Computed, x: Any, scale: Any, zero: Any = None, /, *, axis: int = 1, block_size: int = 0, **attrs: Any
) -> Any:
    """Traced integers of 8 bits, and known ones of up to 32."""
    found = _scale_and_zero(scale, zero, x, axis) if isinstance(x, Coded | np.ndarray) or x.dtype in CODES else None
    if found is None or block_size or attrs.get("output_dtype") not in (None, 0, 1):
        return NotImplemented
    codes = x
    if isinstance(x, Coded):
        if not isinstance(x.codes, np.ndarray) or not FORMATS[x.dtype].integer:
            return NotImplemented
        codes = computed(decoded, x, I8)
    if codes.dtype not in (*CODES, I32):
        return NotImplemented
    units, zeros = found
    if not isinstance(codes, np.ndarray):
        made = Integers(codes, zeros).to(U8)
        return Scaled((Term(made.codes, units, made.zero),))
    return Scaled((Term(codes, units, zeros),), made=lambda: rule((x, scale, zero)))


@on_scaled("QuantizeLinear")
def quantize_linear(
    rule: Computed, x: Scaled, scale: Any, zero: Any = None, /, *, axis: int = 1, block_size: int = 0, **attrs: Any
) -> Any:
    """Of one scale: the codes themselves, where they are in that scale, else the rounded sum."""
    to = zero.dtype if zero is not None else dtype_of(attrs["output_dtype"]) if attrs.get("output_dtype") else U8
    found = _scale_and_zero(scale, zero, x, axis) if isinstance(zero, np.ndarray | None) else None
    if x.known or found is None or found[0].size > 1 or found[1].size > 1:
        return NotImplemented
    if to not in (U8, I8, U16, I16) or attrs.get("precision") not in (None, 0, 1) or block_size:
        return NotImplemented
    shift = HALF if to == I8 else 0  # int8 is made of uint8, which is what operators that read it compute with
    unit, offset = found[0].item(), found[1].item() + shift
    held = x.codes
    if held and held.uniform and to in CODES and held.zero.item() == offset and held.scale == unit:
        y = held.integers
    else:
        info = np.iinfo(U8 if shift else to)
        y = tnp.astype(x.rounded(unit, offset, info.min, info.max), U8 if shift else to)
    return flipped(y) if shift else y


# ------------------------------------------------------------------------------------------------------- products


def _factors(x: Any, y: Any) -> tuple[Term, Term] | None:
    """Both factors of a product as 8-bit integers, the left one in one scale; None if one of them is not that."""
    if not isinstance(x, Scaled) or not isinstance(y, Scaled) or (x.known and y.known):
        return None
    left, right = x.codes, y.codes
    return (left, right) if left and right and left.uniform else None


def _along(t: Term, axis: int) -> bool:
    """Whether scales and zero points are of the tensor, or of each place along `axis`."""
    shape = tuple(n if a == axis else 1 for a, n in enumerate(t.integers.shape))
    return all(v.size == 1 or (1,) * (len(shape) - v.ndim) + v.shape == shape for v in (t.scale, t.zero))


def _integers(t: Term) -> Integers:
    zero = t.zero.reshape(()) if t.zero.size == 1 else t.zero
    return Integers(t.integers, zero.astype(I32))


def _fits(t: Term, summed: tuple[int, ...]) -> bool:
    """Whether int32 holds sums of products of other 8-bit integers and those of `t` along axes, and as much again."""
    if math.prod(t.integers.shape[a] for a in summed) * LARGEST**2 < LIMIT:
        return True
    if not isinstance(t.integers, np.ndarray):
        return False
    return bool(np.abs(t.integers - t.zero).sum(summed).max(initial=0) * LARGEST < LIMIT)


def _in_units(bias: Any, scale: np.ndarray) -> np.ndarray | None:
    """A bias that is known to be integers in units of `scale`: int32."""
    if not isinstance(bias, Scaled) or not bias.known:
        return None
    (term,) = bias.terms
    whole = term.integers.dtype == I32 and not term.zero.any() and bool((term.scale == scale).all())
    return term.integers if whole and np.abs(term.integers.astype(np.int64)).max(initial=0) < LIMIT else None


def _plus(y: Scaled, bias: Any, factor: float = 1.0) -> Any:
    """y + factor * bias."""
    if bias is None:
        return y
    if isinstance(bias, np.ndarray):
        return replace(y, offset=bias.astype(np.float64) * factor)
    return tnp.add(y.value, bias if factor == 1 else tnp.multiply(bias, factor))


@on_scaled("Conv")
def conv(rule: Computed, x: Any, w: Any, bias: Any = None, /, **attrs: Any) -> Any:
    """Scales of x, and of w or its filters."""
    factors = _factors(x, w)
    if factors is None or not _along(factors[1], 0):
        return NotImplemented
    left, right = factors
    rank = right.integers.ndim
    if not _fits(right, tuple(range(1, rank))):
        return NotImplemented
    scale = left.scale * right.scale.reshape(-1)
    held = _in_units(bias, scale)
    sums = integers.convolution(_integers(left), _integers(right), held, **attrs)
    channels = (-1, *(1,) * (rank - 2))
    bias = None if bias is None or held is not None else computed(tnp.reshape, settled(bias), channels)
    return _plus(Scaled((Term(sums, scale.reshape(channels)),)), bias)


@on_scaled("MatMul")
def matmul(rule: Computed, a: Any, b: Any, /) -> Any:
    """Scales of a, and of b or its columns."""
    factors = _factors(a, b)
    return NotImplemented if factors is None else _product(*factors)


def _product(a: Term, b: Term, bias: Any = None, alpha: float = 1.0, beta: float = 1.0) -> Any:
    rank = b.integers.ndim
    if a.integers.ndim < 2 or rank < 2 or not _along(b, rank - 1) or not _fits(b, (rank - 2,)):
        return NotImplemented
    scale = np.float32(alpha) * a.scale * b.scale.reshape(-1)
    held = _in_units(bias, scale) if beta == 1 else None
    y = Scaled((Term(integers.matmul(_integers(a), _integers(b), held), scale),))
    return _plus(y, None if held is not None else settled(bias), beta)


@on_scaled("Gemm")
def gemm(
    rule: Computed, a: Any, b: Any, c: Any = None, /, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0,
    transB: int = 0, **attrs: Any,
) -> Any:  # fmt: skip
    """Scales of a, and of b or its columns, once they are transposed."""
    factors = _factors(a, b)
    if factors is None:
        return NotImplemented
    left, right = (_transposed(t, (1, 0)) if swap else t for t, swap in zip(factors, (transA, transB), strict=True))
    return _product(left, right, c, alpha, beta)


# ------------------------------------------------------------------------------------------------------ movements


def _transposed(t: Term, perm: tuple[int, ...]) -> Term:
    def turned(v: np.ndarray) -> np.ndarray:
        return v if v.size == 1 else v.reshape((1,) * (len(perm) - v.ndim) + v.shape).transpose(perm)

    return Term(computed(tnp.transpose, t.integers, perm), turned(t.scale), turned(t.zero))


@on_scaled("Transpose")
def transpose(rule: Computed, x: Scaled, /, *, perm: tuple[int, ...] | None = None) -> Any:
    """Scales along an axis go with it."""
    if x.codes is None:
        return NotImplemented
    rank = x.codes.integers.ndim
    return Scaled((_transposed(x.codes, tuple(a % rank for a in perm) if perm else tuple(range(rank))[::-1]),))


@on_scaled(
    "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "GlobalMaxPool", "Identity", "MaxPool",
    "ReduceMax", "ReduceMin", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Unsqueeze",
)  # fmt: skip
def moved(rule: Computed, x: Any, /, *rest: Any, outputs: int = 1, **attrs: Any) -> Any:
    """Integers of one scale are put elsewhere, or the largest of them found, as the numbers that they stand for."""
    held = x.codes if isinstance(x, Scaled) else None
    if held is None or not held.uniform or any(isinstance(v, Scaled) for v in rest):
        return NotImplemented
    made = rule((held.integers, *rest))
    results = tuple(Scaled((replace(held, integers=y),)) for y in (made if isinstance(made, tuple) else (made,)))
    return results if isinstance(made, tuple) else results[0]


@on_scaled("Concat")
def concat(rule: Computed, /, *pieces: Any, axis: int) -> Any:
    """Pieces of one scale."""
    terms = [x.codes if isinstance(x, Scaled) else None for x in pieces]
    first = terms[0]
    if first is None or not first.uniform or not all(t is not None and t.alike(first) for t in terms):
        return NotImplemented
    return Scaled((replace(first, integers=rule([t.integers for t in terms if t is not None])),))


# ------------------------------------------------------------------------------------------------------ elementwise


@on_scaled("Add")
def add(rule: Computed, x: Any, y: Any, /) -> Any:
    """The terms of both, or those of one and a number more."""
    one, other = (x, y) if isinstance(x, Scaled) and not x.known else (y, x)
    if not isinstance(one, Scaled) or one.known or _limited(one):
        return NotImplemented
    if isinstance(other, Scaled) and not other.known:
        if _limited(other):
            return NotImplemented
        return Scaled(one.terms + other.terms, one.offset + other.offset)
    other = settled(other)
    return Scaled(one.terms, one.offset + other.astype(np.float64)) if isinstance(other, np.ndarray) else NotImplemented


def _limited(x: Scaled) -> bool:
    return x.low > -math.inf or x.high < math.inf


@on_scaled("Relu")
def relu(rule: Computed, x: Scaled, /) -> Any:
    """Codes are at least their zero point, sums at least 0."""
    if x.known:
        return NotImplemented
    held = x.codes
    if held and held.uniform:
        zero = int(held.zero)
        return Scaled((replace(held, integers=tnp.maximum(held.integers, zero)),)) if zero else x
    return replace(x, low=max(x.low, 0.0), high=max(x.high, 0.0))


@on_scaled("Clip")
def clip(
    rule: Computed, x: Any, low: Any = None, high: Any = None, /, *, min: float = -math.inf, max: float = math.inf
) -> Any:
    """Limits that are known, and do not cross."""
    if not isinstance(x, Scaled) or x.known or not all(v is None or isinstance(v, np.ndarray) for v in (low, high)):
        return NotImplemented
    least, most = (float(np.ravel(v)[0]) if v is not None else d for v, d in ((low, min), (high, max)))
    if not least <= most:
        return NotImplemented
    least, most = (float(np.clip(limit, least, most)) for limit in (x.low, x.high))
    return replace(x, low=least, high=most)
