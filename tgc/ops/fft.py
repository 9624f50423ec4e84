"""Discrete Fourier transforms along the last axis, unscaled: scales are multiplied in `tgc.numpy.fft`.

The transforms are linear, so their gradients are their transposes (Cooley and Tukey, 1965, for the algorithm behind
them). Single precision stays single.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tgc.ir import Attr
from tgc.ops.creation import full, iota
from tgc.ops.elementwise import conj, eq, real, select
from tgc.ops.kinds import Primitive, flag, integer
from tgc.ops.movement import pad
from tgc.ops.opaque import Opaque, over_leading_axes
from tgc.ops.samples import case, reals, samples
from tgc.types import COMPLEXES, F32, F64, I64, DType, TensorType, complex_dtype, real_dtype

_REALS = frozenset({F32, F64})
_SHAPES = ((3, 8), (5,), (2, 3, 6), (1,), (0, 4), (300,))


def _along(
    domain: frozenset[DType], to: Callable[[DType], DType], size: Callable[..., int]
) -> Callable[..., tuple[TensorType, ...]]:
    """The type rule of transforms from `domain` whose result has `size(n, **attrs)` elements of dtype `to(dtype)`."""

    def rule(op: Primitive, operands: Sequence[TensorType], **attrs: Attr) -> tuple[TensorType, ...]:
        op.expect(operands, domain)
        (x,) = operands
        if not x.rank or not x.shape[-1]:
            raise op.refuse("operand 0 needs a last axis that is not empty", operands)
        return (TensorType(to(x.dtype), (*x.shape[:-1], size(x.shape[-1], **attrs))),)

    return rule


fft: Opaque = Opaque(
    "fft",
    attrs={"inverse": flag},
    type_rule=_along(COMPLEXES, complex_dtype, lambda n, *, inverse: n),
    domain=COMPLEXES,
    reference=lambda x, *, inverse: np.fft.ifft(x, norm="forward") if inverse else np.fft.fft(x),
    grad=lambda g, x, *, out, inverse: (fft(g, inverse=inverse),),  # the matrix is symmetric
    batch=over_leading_axes("fft"),
    samples=samples(reals(), cases=tuple(case(s, inverse=k % 2 == 1) for k, s in enumerate(_SHAPES)), ulps=16),
)
"""y[k] = sum over j of x[j] exp(-2 pi i j k / n); of the conjugate, exp(2 pi i j k / n), if `inverse`."""


def _rfft_grad(g: Any, x: Any, *, out: Any) -> tuple[Any]:
    last = len(g.shape) - 1
    high = (*[0] * last, x.shape[-1] - g.shape[-1])
    padded = pad(g, low=(0,) * len(high), high=high, interior=(0,) * len(high), value=0.0)
    return (real(fft(padded, inverse=False)),)


rfft: Opaque = Opaque(
    "rfft",
    attrs={},
    type_rule=_along(_REALS, complex_dtype, lambda n: n // 2 + 1),
    domain=_REALS,
    reference=np.fft.rfft,
    grad=_rfft_grad,
    batch=over_leading_axes("rfft"),
    samples=samples(reals(), cases=tuple(case(s) for s in _SHAPES), ulps=16),
)
"""The first n // 2 + 1 elements of the `fft` of real numbers; the others are their conjugates."""


def _irfft_type(op: Primitive, operands: Sequence[TensorType], *, n: int) -> tuple[TensorType, ...]:
    found = _along(COMPLEXES, real_dtype, lambda m: n)(op, operands)
    if n < 1 or operands[0].shape[-1] != n // 2 + 1:
        raise op.refuse(f"the last axis of operand 0 must have n // 2 + 1 elements, for n = {n} >= 1", operands)
    return found


def _irfft_grad(g: Any, x: Any, *, out: Any, n: int) -> tuple[Any]:
    """All elements count twice, for their conjugates too, but the first, and the last if `n` is even."""
    at = iota(shape=x.shape, dtype=I64, axis=len(x.shape) - 1)
    gx = conj(rfft(g))
    twice = gx + gx
    for once in (0, *([n // 2] if n % 2 == 0 else [])):
        twice = select(eq(at, full(shape=x.shape, dtype=I64, value=once)), gx, twice)
    return (twice,)


irfft: Opaque = Opaque(
    "irfft",
    attrs={"n": integer},
    type_rule=_irfft_type,
    domain=COMPLEXES,
    reference=lambda x, *, n: np.fft.irfft(x, n, norm="forward"),
    grad=_irfft_grad,
    batch=over_leading_axes("irfft"),
    samples=samples(
        reals(), cases=tuple(case(s, n=n) for s, n in zip(_SHAPES, (14, 9, 11, 1, 6, 598), strict=True)), ulps=16
    ),
)
"""`n` real numbers: the inverse `fft` of the n // 2 + 1 elements given and of the conjugates that follow from them.

The imaginary part of the first one, and of the last one if `n` is even, is not read.
"""

__all__ = ["fft", "irfft", "rfft"]
