"""Sample operands in op definitions: what the generated tests draw values and shapes from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from tgc.types import BOOL, DType, is_complex, is_float

# as text: to name the class would import `numpy.random`
Draw: TypeAlias = "Callable[[np.random.Generator, DType, tuple[int, ...]], np.ndarray]"


@dataclass(frozen=True, slots=True)
class Case:
    """One application in a test: the shape of each operand, and attributes."""

    shapes: tuple[tuple[int, ...], ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Samples:
    """`draws`: one an operand. `cases`: shapes and attributes; an elementwise op without attributes needs none.

    `ulps` bounds the error of float32 results against the reference evaluated in float64.
    `smooth` is False where finite differences cannot judge the gradient; `phases` says that they cannot where a result
    is complex, being determined up to phases.
    """

    draws: tuple[Draw, ...]
    cases: tuple[Case, ...] = ()
    ulps: float = 2.0
    smooth: bool = True
    phases: bool = False


def reals(lo: float = -4.0, hi: float = 4.0) -> Draw:
    """Numbers between lo and hi: uniform floats, or the integers (booleans) among them.

    Complex ones have such real parts, and imaginary ones between -2 and 2.
    """

    def draw(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
        if dtype == BOOL:
            return rng.integers(0, 2, shape).astype(dtype)
        if is_complex(dtype):
            return np.asarray(rng.uniform(lo, hi, shape) + 1j * rng.uniform(-2, 2, shape), dtype)
        if is_float(dtype):
            return rng.uniform(lo, hi, shape).astype(dtype)
        low, high = max(lo, np.iinfo(dtype).min), min(hi, np.iinfo(dtype).max)
        return rng.integers(int(low), int(high) + 1, shape).astype(dtype)

    return draw


def distinct(lo: float = -4.0, hi: float = 4.0) -> Draw:
    """Evenly spaced floats in random order, zero and a 20th of the range around it left out, for ops with kinks there.

    Integers, booleans and complex numbers are drawn as by `reals`.
    """
    gap = (hi - lo) / 20 if lo < 0 < hi else 0.0

    def draw(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
        if not is_float(dtype):
            return reals(lo, hi)(rng, dtype, shape)
        n = math.prod(shape)
        grid = lo + (hi - lo - gap) * (np.arange(n) + 0.5) / max(n, 1)
        grid += np.where(grid > -gap / 2, gap, 0.0)
        return rng.permutation(grid).reshape(shape).astype(dtype)

    return draw


def indices(stop: int, start: int = 0) -> Draw:
    """Integers in start..stop-1 (from 0 if unsigned), in int32 unless an integer dtype is asked for."""

    def draw(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
        kind = dtype if np.issubdtype(dtype, np.integer) else np.dtype(np.int32)
        return rng.integers(max(start, np.iinfo(kind).min), stop, shape, kind)

    return draw


def case(*shapes: tuple[int, ...], **attrs: Any) -> Case:
    """A `Case` in short."""
    return Case(shapes, attrs)


def samples(
    *draws: Draw, cases: tuple[Case, ...] = (), ulps: float = 2.0, smooth: bool = True, phases: bool = False
) -> Samples:
    """`Samples` in short."""
    return Samples(draws, cases, ulps, smooth, phases)
