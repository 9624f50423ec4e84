"""The check of gradients that all tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from traced import graph_of

from tgc.autodiff import differentiate
from tgc.interpret import interpret
from tgc.numpy import multiply, sum
from tgc.types import is_float


def gradients(f: Callable[..., Any], *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Gradients of the sum of `f`'s results by its floating-point arguments."""
    return interpret(differentiate(graph_of(lambda *xs: _total(f, xs, None), *arrays)), *arrays)[1:]


def check_gradients(
    f: Callable[..., Any],
    *arrays: np.ndarray,
    rtol: float = 1e-6,
    atol: float = 1e-7,
    step: float = 1e-5,
    seed: int = 0,
) -> None:
    """Compare the gradient of `f` with central differences along a random direction, in float64.

    `f` takes the arrays (floating-point ones in float64) and returns one tensor or several, which count with random
    weights. Other arrays (labels, masks, keys) stay as they are. Where `f` has a kink within `step` of its arguments
    the comparison means nothing.
    """
    rng = np.random.default_rng(seed)
    points = [np.asarray(a, np.float64) if is_float(np.asarray(a).dtype) else np.asarray(a) for a in arrays]
    graph = graph_of(lambda *xs: _total(f, xs, seed), *points)
    value, *grads = interpret(differentiate(graph), *points)
    real = [i for i, p in enumerate(points) if p.dtype == np.float64]
    assert np.isfinite(value)
    assert len(grads) == len(real) > 0
    ways = [rng.standard_normal(points[i].shape) for i in real]

    def at(h: float) -> float:
        moved = list(points)
        for i, way in zip(real, ways, strict=True):
            moved[i] = points[i] + h * way
        return float(interpret(graph, *moved)[0])

    slope = (at(step) - at(-step)) / (2 * step)
    found = float(np.sum([np.sum(g * way) for g, way in zip(grads, ways, strict=True)]))
    np.testing.assert_allclose(found, slope, rtol=rtol, atol=atol)


def _total(f: Callable[..., Any], xs: Any, seed: int | None) -> Any:
    """The sum of all results of `f`, with random weights if there is a seed."""
    out = f(*xs)
    rng = None if seed is None else np.random.default_rng(seed + 1)
    total: Any = 0.0
    for y in out if isinstance(out, list | tuple) else [out]:
        total = sum(y if rng is None else multiply(y, rng.uniform(0.5, 2, y.shape))) + total
    return total
