"""Activations of the form x * gate(x), with gradients in closed form.

As products they would multiply infinities by zero, and guards against that cost more than the functions: in the value
x is limited from below, where the gate is 0 to rounding; the slope is the gate where this is 0 or 1 to rounding.

Gates are ops, so that a kernel with both an activation and its slope evaluates the gate once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tgc.ops.creation import full_like
from tgc.ops.elementwise import absolute, elementwise, exp, lt, select, sigmoid
from tgc.ops.kinds import Elementwise
from tgc.ops.samples import reals, samples
from tgc.types import BF16, F16, F32

_CUBE, _ROOT = 0.044715, math.sqrt(2 / math.pi)


def _widened(reference: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """A reference that computes half precision in float32 and returns the dtype that it is given."""

    def widened(x: np.ndarray) -> np.ndarray:
        return reference(x.astype(F32) if x.dtype in (F16, BF16) else x).astype(x.dtype)

    return widened


def _within(x: Any, reach: float, inner: Any, outer: Any) -> Any:
    """`inner` where |x| < reach, `outer` beyond."""
    return select(lt(absolute(x), full_like(x, reach)), inner, outer)


def _gated(
    name: str, gate: Elementwise, density: Callable[[Any, Any], Any], reach: float, ulps: float = 8
) -> Elementwise:
    """x * gate(x): 0 below -`reach`, x above it. `density` makes the derivative of the gate of x and of the gate."""

    @_widened
    def limited(x: np.ndarray) -> np.ndarray:
        return np.asarray(np.maximum(x, -reach) * gate.reference(x))

    def grad(g: Any, x: Any, *, out: Any) -> tuple[Any]:
        value = gate(x)
        return (g * _within(x, reach, value + x * density(x, value), value),)

    return elementwise(
        name,
        arity=1,
        reference=limited,
        scalar=lambda s, x: s.mul(s.maximum(x, s.const(-reach, s.dtype(x))), gate.scalar(s, x)),
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


def _sigmoid_density(x: Any, gate: Any) -> Any:
    return gate * (1 - gate)


def _normal_density(x: Any, gate: Any) -> Any:
    return exp(x * x * -0.5) * (0.5 * _ROOT)


def _tanh_density(x: Any, gate: Any) -> Any:
    return gate * (1 - gate) * (x * x * (3 * _CUBE) + 1) * (2 * _ROOT)


_ERF = np.vectorize(math.erf, otypes=[np.float64])

gelu_gate = elementwise(
    "gelu_gate",  # the distribution function of the normal distribution
    arity=1,
    reference=_widened(lambda x: (1 + _ERF(x * math.sqrt(0.5))) / 2),
    scalar=lambda s, x: _half(s, s.erf(s.mul(x, s.const(math.sqrt(0.5), s.dtype(x))))),
    grad=lambda g, x, *, out: (g * _normal_density(x, out),),
    samples=samples(reals(-6, 6), ulps=1024),  # of small results, where 1 + erf cancels
)
gelu_tanh_gate = elementwise(
    "gelu_tanh_gate",
    arity=1,
    reference=_widened(lambda x: (1 + np.tanh(_ROOT * (x + _CUBE * x**3))) / 2),
    scalar=_tanh_gate,
    grad=lambda g, x, *, out: (g * _within(x, 12, _tanh_density(x, out), full_like(x, 0)),),
    samples=samples(reals(-6, 6), ulps=1024),
)

silu = _gated("silu", sigmoid, _sigmoid_density, 1000, ulps=64)  # of subnormal results: a hundred subnormal gates
gelu = _gated("gelu", gelu_gate, _normal_density, 40, ulps=1024)
gelu_tanh = _gated("gelu_tanh", gelu_tanh_gate, _tanh_density, 12, ulps=1024)
