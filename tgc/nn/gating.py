"""Gated linear units: one half of a tensor times a function of the other (Shazeer, "GLU variants", 2020)."""

from __future__ import annotations

from collections.abc import Callable

from tgc.nn.activations import gelu, identity, relu, sigmoid, silu
from tgc.numpy.base import Array, ArrayLike, as_real, axis_of, refuse
from tgc.numpy.manipulation import split

__all__ = ["bilinear_glu", "geglu", "glu", "reglu", "swiglu"]


def _halves(function: str, x: ArrayLike, axis: int) -> tuple[Array, Array]:
    x = as_real(x)
    if x.shape[axis_of(function, x, axis)] % 2:
        raise refuse(function, [x], f"axis {axis} has an odd size")
    first, second = split(x, 2, axis)
    return first, second


def glu(x: ArrayLike, axis: int = -1) -> Array:
    """The first half of `x` along `axis` times the sigmoid of the second (Dauphin et al., 2017).

    Raises:
        ShapeError: the axis has an odd size.
    """
    value, gate = _halves("glu", x, axis)
    return value * sigmoid(gate)


def _gate_first(name: str, function: Callable[[Array], Array], what: str) -> Callable[..., Array]:
    def unit(x: ArrayLike, axis: int = -1) -> Array:
        gate, value = _halves(name, x, axis)
        return function(gate) * value

    unit.__name__ = unit.__qualname__ = name
    unit.__doc__ = f"""{what} first half of `x` along `axis`, times the second: gates come first, unlike in `glu`.

    Raises:
        ShapeError: the axis has an odd size.
    """
    return unit


swiglu = _gate_first("swiglu", silu, "The silu of the")
geglu = _gate_first("geglu", gelu, "The gelu of the")
reglu = _gate_first("reglu", relu, "The relu of the")
bilinear_glu = _gate_first("bilinear_glu", identity, "The")
