"""Products of tensors of 8-bit integers less their zero points, as int32 contractions of the integers themselves.

    sum_k (a - p)(b - q) = sum_k a b - p sum_k b - q sum_k a + k p q

Operands of the contraction are then plain casts, for which machines have instructions: of uint8 on the left, of int8 on
the right (an integer and its zero point shift together). The other sums are numbers where the operand is known; where a
zero point is known to be 0 there are none. All of it is exact, modulo 2^32 as the standard's accumulators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tgc import nn
from tgc import numpy as tnp
from tgc.frontends.onnx.formats import Coded, decoded
from tgc.frontends.onnx.ops.windows import Windows, windows
from tgc.frontends.onnx.values import Tensor
from tgc.ir import recording
from tgc.ops.elementwise import cast
from tgc.ops.window import window_sum
from tgc.trace import Tracer
from tgc.types import F32, I8, I32, U8, DType

HALF = 128  # between the zeros of int8 and uint8


def computed(f: Callable[..., Any], x: Tensor, *rest: Any, **options: Any) -> Any:
    """f(x, ...): at once where no operand is traced, else as part of the trace."""
    if not any(isinstance(v.codes if isinstance(v, Coded) else v, Tracer) for v in (x, *rest)):
        with recording(None):
            return np.asarray(f(x, *rest, **options))
    return f(x, *rest, **options)


def flipped(x: Tensor) -> Tensor:
    """int8 as uint8, 128 more; uint8 as int8, 128 less."""
    if x.dtype == U8:
        return computed(lambda x: tnp.astype(tnp.bitwise_xor(x, HALF), I8), x)
    return computed(lambda x: tnp.bitwise_xor(tnp.astype(x, U8), HALF), x)


@dataclass(frozen=True, eq=False)
class Integers:
    """int8 or uint8 `codes`, and the `zero` point to be subtracted: int32, known or not, broadcasts to them."""

    codes: Tensor
    zero: Tensor

    @classmethod
    def of(cls, codes: Any, zero: Any, shape: tuple[int, ...] = ()) -> Integers:
        """Operands of a node: a zero point that is a vector gets `shape`, none is 0."""
        if isinstance(codes, Coded):
            codes = decoded(codes, I8 if codes.format.signed else U8)
        if zero is None:
            return cls(codes, np.zeros((), I32))
        zero = decoded(zero, I32) if isinstance(zero, Coded) else computed(tnp.astype, zero, I32)
        shape = () if math.prod(zero.shape) == 1 else shape if zero.ndim == 1 else zero.shape
        return cls(codes, computed(tnp.reshape, zero, shape))

    @property
    def unshifted(self) -> bool:
        """Whether the zero point is known to be 0."""
        return isinstance(self.zero, np.ndarray) and not self.zero.any()

    def to(self, dtype: DType) -> Integers:
        """The same numbers by codes of `dtype`, uint8 or int8."""
        if self.codes.dtype == dtype:
            return self
        return Integers(flipped(self.codes), computed(tnp.add, self.zero, HALF if dtype == U8 else -HALF))

    def numbers(self) -> Tensor:
        """int32: codes less the zero point."""
        wide = cast(self.codes, dtype=I32)
        return wide if self.unshifted else tnp.subtract(wide, self.zero)

    def sums(self, axes: int | tuple[int, ...]) -> Tensor:
        """int32: codes summed over axes, which are kept."""
        return computed(tnp.sum, self.codes, axis=axes, dtype=I32, keepdims=True)


def _plus(y: Tensor, more: list[Tensor]) -> Tensor:
    """int32: y plus what is there more; what is known is added up first, and is nothing if that is 0."""
    known, traced = ([m for m in more if isinstance(m, np.ndarray) is which] for which in (True, False))
    total = sum(known[1:], start=known[0]) if known else np.zeros((), I32)
    for m in (*([total] if total.any() else []), *traced):
        y = tnp.add(y, m)
    return y


def _negative(*factors: Tensor) -> Tensor:
    """int32: less the product of factors."""
    product = computed(tnp.negative, factors[0])
    for f in factors[1:]:
        product = computed(tnp.multiply, product, f)
    return product


def matmul(a: Integers, b: Integers, bias: Tensor | None = None) -> Tensor:
    """int32 of NumPy's matmul: zero points are of `a` or its rows, of `b` or its columns. The bias is int32."""
    more = [] if bias is None else [bias]
    if a.codes.ndim < 2 or b.codes.ndim < 2:
        return _plus(tnp.matmul(a.numbers(), b.numbers()), more)
    a, b = a.to(U8), b.to(I8)
    if not a.unshifted:
        more.append(_negative(a.zero, b.sums(-2)))
    if not b.unshifted:
        more.append(_negative(b.zero, a.sums(-1)))
    if not a.unshifted and not b.unshifted:
        more.append(_negative(a.zero, b.zero, np.asarray(-a.codes.shape[-1], I32)))
    return _plus(tnp.matmul(cast(a.codes, dtype=I32), cast(b.codes, dtype=I32)), more)


def _surrounded(codes: Tensor, zero: Tensor, padding: Sequence[tuple[int, int]]) -> Tensor:
    """Codes with the zero point around their spatial axes."""
    around = [(0, 0), (0, 0), *padding]
    if isinstance(zero, np.ndarray):
        return tnp.pad(codes, around, constant_values=int(zero))
    inside = tnp.pad(tnp.ones(codes.shape[2:], bool), padding)
    return tnp.where(inside, tnp.pad(codes, around), tnp.astype(zero, codes.dtype))


def _seen(codes: Tensor, group: int, at: Windows) -> Tensor:
    """int32 [batch, group, *grid]: the sum of what filters of a group see."""
    batch, channels, *spatial = codes.shape
    each = tnp.reshape(tnp.astype(codes, I32), (batch, group, channels // group, *spatial))
    ones, none = (1, 1), ((0, 0), (0, 0))
    return window_sum(
        tnp.sum(each, axis=2, dtype=I32), window=(*ones, *at.size), stride=(*ones, *at.stride),
        padding=(*none, *at.padding), dilation=(*ones, *at.dilation),
    )  # fmt: skip


EXACT = 2**24  # magnitude up to which all integers are float32


def convolution(
    x: Integers, w: Integers, bias: Tensor | None = None, *, group: int = 1, kernel_shape: Any = None, **attrs: Any
) -> Tensor:
    """int32 of ONNX's convolution: x [batch, channels, *spatial], w [out, channels / group, *kernel], bias int32[out].

    Zero points are of `x`, and of `w` or its filters: [out, 1, ...]. What lies around `x` is its zero point.
    """
    at = windows(x.codes.shape[2:], kernel_shape or w.codes.shape[2:], **attrs)
    x, w = x.to(U8), w.to(I8)
    channels = (-1, *(1,) * len(at.padding))
    more = [] if bias is None else [computed(tnp.reshape, bias, channels)]
    if not x.unshifted and any(map(any, at.padding)):
        x = Integers(_surrounded(x.codes, x.zero, at.padding), x.zero)
        at = at._replace(padding=((0, 0),) * len(at.padding))
    how: dict[str, Any] = {"groups": group, "stride": at.stride, "padding": at.padding, "dilation": at.dilation}
    count = math.prod(w.codes.shape[1:])
    if group > 1 and not w.unshifted and count * (2 * HALF) ** 2 <= EXACT:  # few products, whose sums floats hold
        sums = nn.conv(tnp.astype(x.numbers(), F32), tnp.astype(w.numbers(), F32), data_format="NCHW", **how)
        return _plus(tnp.astype(sums, I32), more)
    if not x.unshifted:
        sums = w.sums(tuple(range(1, w.codes.ndim)))
        more.append(_negative(x.zero, computed(tnp.reshape, sums, channels)))
    if not w.unshifted:
        w_zero = computed(tnp.reshape, w.zero, channels if w.zero.ndim else ())
        seen = _seen(x.codes, group, at)
        more.append(_negative(w_zero, tnp.repeat(seen, w.codes.shape[0] // group, axis=1) if group > 1 else seen))
        if not x.unshifted:
            more.append(_negative(w_zero, x.zero, np.asarray(-count, I32)))
    return _plus(nn.conv(cast(x.codes, dtype=I32), cast(w.codes, dtype=I32), data_format="NCHW", **how), more)
