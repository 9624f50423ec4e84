"""NumPy's array methods on tracers, from the functions of this package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tgc.numpy import elementwise, indexing, manipulation, matrices, products, reductions, updates
from tgc.trace import Tracer

METHODS: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(reductions, name)
        for name in ("sum", "prod", "mean", "var", "std", "max", "min", "any", "all", "argmax", "argmin")
    },
    "clip": elementwise.clip,
    "diagonal": matrices.diagonal,
    "dot": products.dot,
    "flatten": manipulation.ravel,
    "ravel": manipulation.ravel,
    "repeat": manipulation.repeat,
    "round": elementwise.round,
    "squeeze": manipulation.squeeze,
    "swapaxes": manipulation.swapaxes,
    "take": indexing.take,
}


def install() -> None:
    """Give tracers the methods."""
    for name, function in METHODS.items():
        setattr(Tracer, name, function)
    Tracer.at = property(updates.at)  # type: ignore[attr-defined]
