"""Rejection without a loop: a fixed number of proposals for each element, of which the first accepted one counts.

So a draw is a pure function of the key and the element, is fused like any other expression, and costs the same for all
elements. Where all proposals are rejected the element becomes a typical value; how often that is, each method says.
"""

from __future__ import annotations

import math

from tgc.numpy.base import Array, spread
from tgc.numpy.elementwise import log
from tgc.ops import creation
from tgc.ops.arithmetic import add, divide, equal, less, multiply, subtract, where
from tgc.ops.reduce import reduce_min, reduce_sum
from tgc.types import I32

# Lanczos' approximation of log(k!) with g = 7 (Press et al., Numerical Recipes, section 6.1); relative error 2e-15.
_G = 7.0
_LANCZOS = (
    0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
    12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
)  # fmt: skip


def log_factorial(k: Array) -> Array:
    """log(k!) of float64 numbers that are not negative."""
    series = add(divide(_LANCZOS[1], add(k, 1)), _LANCZOS[0])
    for i, c in enumerate(_LANCZOS[2:], 2):
        series = add(series, divide(c, add(k, i)))
    t = add(k, _G + 0.5)
    return add(subtract(multiply(add(k, 0.5), log(t)), t), log(multiply(series, math.sqrt(2 * math.pi))))


def first_accepted(accepted: Array, proposals: Array, otherwise: Array) -> Array:
    """The first of the `proposals` along the last axis that is `accepted`, or `otherwise`, which lacks that axis."""
    axes, n = (proposals.ndim - 1,), proposals.shape[-1]
    place = creation.iota(shape=proposals.shape, dtype=I32, axis=axes[0])
    first = reduce_min(where(accepted, place, creation.fill((), I32, n)), axes=axes, chunks=0)
    chosen = equal(place, spread(first, axes, proposals.shape))
    picked = reduce_sum(where(chosen, proposals, 0), axes=axes, chunks=0)
    return where(less(first, creation.fill((), I32, n)), picked, otherwise)
