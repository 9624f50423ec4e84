"""Activations of the form x * gate(x), with gradients in closed form.

As products they would multiply infinities by zero, and guards against that cost more than the functions: in the value
x is limited from below, where the gate is 0 to rounding; the slope is the gate where this is 0 or 1 to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tgc.ops.creation import full_like
from tgc.ops.elementwise import absolute, elementwise, erf, exp, lt, select, sigmoid, tanh
from tgc.ops.kinds import Elementwise
from tgc.ops.samples import reals, samples
from tgc.types import BF16, F16, F32

_CUBE, _ROOT = 0.044715, math.sqrt(2 / math.pi)


def _gated(
    name: str,
    gate: Callable[[Any, Any], Any],
    reference: Callable[[np.ndarray], Any],
    slope: Callable[[Any], tuple[Any, Any]],
    reach: float,
    ulps: float = 8,
) -> Elementwise:
    """x * gate(x): 0 below -`reach`, x above it. `slope` gives the gate and the derivative of the whole."""

    def limited(x: np.ndarray) -> np.ndarray:
        wide = x.astype(F32) if x.dtype in (F16, BF16) else x
        return np.asarray(np.maximum(wide, -reach) * reference(wide)).astype(x.dtype)

    def grad(g: Any, x: Any, *, out: Any) -> tuple[Any]:
        outer, inner = slope(x)
        return (g * select(lt(absolute(x), full_like(x, reach)), inner, outer),)

    return elementwise(
        name,
        arity=1,
        reference=limited,
        scalar=lambda s, x: s.mul(s.maximum(x, s.const(-reach, s.dtype(x))), gate(s, x)),
        grad=grad,
        samples=samples(reals(-6, 6), ulps=ulps),
    )


def _half(s: Any, x: Any) -> Any:
    """(x + 1) / 2."""
    c = s.const(0.5, s.dtype(x))
    return s.add(s.mul(x, c), c)


def _tanh_gate(s: Any, x: Any) -> Any:
    cube = s.mul(s.mul(s.mul(x, x), x), s.const(_CUBE, s.dtype(x)))
    return _half(s, s.tanh(s.mul(s.add(x, cube), s.const(_ROOT, s.dtype(x)))))


def _tanh_slope(x: Any) -> tuple[Any, Any]:
    t = tanh((x * x * x * _CUBE + x) * _ROOT)
    gate = (t + 1) * 0.5
    return gate, gate + x * (1 - t * t) * (x * x * (3 * _CUBE) + 1) * (0.5 * _ROOT)


def _silu_slope(x: Any) -> tuple[Any, Any]:
    s = sigmoid(x)
    return s, s * (x * (1 - s) + 1)


def _gelu_slope(x: Any) -> tuple[Any, Any]:
    gate = (erf(x * math.sqrt(0.5)) + 1) * 0.5
    return gate, gate + x * exp(x * x * -0.5) * (0.5 * _ROOT)


_ERF = np.vectorize(math.erf, otypes=[np.float64])

silu = _gated(
    "silu",
    gate=lambda s, x: s.sigmoid(x),
    reference=lambda x: sigmoid.reference(x),
    slope=_silu_slope,
    reach=1000,
    ulps=64,  # of subnormal results, a hundred times a subnormal gate
)
gelu = _gated(
    "gelu",
    gate=lambda s, x: _half(s, s.erf(s.mul(x, s.const(math.sqrt(0.5), s.dtype(x))))),
    reference=lambda x: (1 + _ERF(x * math.sqrt(0.5))) / 2,
    slope=_gelu_slope,
    reach=40,
    ulps=1024,  # of small results, whose gate 1 + erf cancels
)
gelu_tanh = _gated(
    "gelu_tanh",
    gate=_tanh_gate,
    reference=lambda x: (1 + np.tanh(_ROOT * (x + _CUBE * x**3))) / 2,
    slope=_tanh_slope,
    reach=12,
    ulps=1024,
)
