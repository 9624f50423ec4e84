"""Losses with margins, and distances between vectors.

All losses take `weights`, which broadcast to them, and `reduction`: "mean" (divided by the sum of the weights), "sum"
or "none". Half precision is computed in float32 and rounded once.
"""

from __future__ import annotations

import math

from tgc.nn.base import full_precision, loss, target
from tgc.nn.lengths import l2_normalize
from tgc.numpy.base import Array, ArrayLike, as_array, axis_of
from tgc.numpy.elementwise import absolute, equal, maximum, power, sqrt, where
from tgc.numpy.reductions import max, sum
from tgc.ops.arithmetic import as_tensor

__all__ = [
    "categorical_hinge", "contrastive", "cosine_distance", "cosine_similarity", "hinge", "margin_ranking",
    "pairwise_distance", "squared_hinge", "triplet_margin",
]  # fmt: skip


def _shortfall(function: str, predictions: Array, labels: ArrayLike, margin: float) -> Array:
    """What predictions lack of `margin` on the side of the labels, the positive ones and the others."""
    side = where(target(function, predictions, labels) > 0, 1.0, -1.0)
    return maximum(margin - as_tensor(side, predictions.dtype) * predictions, 0)


@loss
def hinge(predictions: Array, labels: ArrayLike, *, margin: float = 1.0) -> Array:
    """max(margin - y * predictions, 0), y being 1 for labels above zero and else -1: labels are 0, 1 or -1, 1."""
    return _shortfall("hinge", predictions, labels, margin)


@loss
def squared_hinge(predictions: Array, labels: ArrayLike, *, margin: float = 1.0) -> Array:
    """The square of `hinge`."""
    short = _shortfall("squared_hinge", predictions, labels, margin)
    return short * short


@loss
def categorical_hinge(predictions: Array, labels: ArrayLike, *, axis: int = -1) -> Array:
    """max(1 + the largest prediction of another class - that of the label, 0) along `axis`, for labels one-hot."""
    y = target("categorical_hinge", predictions, labels)
    at = axis_of("categorical_hinge", predictions, axis)
    return maximum(max(where(y > 0, -math.inf, predictions), at) - sum(y * predictions, at) + 1, 0)


@full_precision
def pairwise_distance(x: Array, y: ArrayLike, *, p: float = 2.0, axis: int = -1) -> Array:
    """sum(|x - y| ** p) ** (1 / p) along `axis`; its gradient where x equals y is 0."""
    d = absolute(x - target("pairwise_distance", x, y))
    total = sum(d * d if p == 2 else power(d, as_tensor(p, d.dtype)), axis)
    none = equal(total, 0)
    safe = where(none, 1, total)
    return where(none, 0, sqrt(safe) if p == 2 else power(safe, as_tensor(1 / p, d.dtype)))


@full_precision
def cosine_similarity(x: Array, y: ArrayLike, *, axis: int = -1, epsilon: float = 1e-12) -> Array:
    """The cosine of the angle between vectors along `axis`; 0 for a vector of zeros."""
    y = target("cosine_similarity", x, y)
    return sum(l2_normalize(x, axis=axis, epsilon=epsilon) * l2_normalize(y, axis=axis, epsilon=epsilon), axis)


@loss
def cosine_distance(predictions: Array, targets: ArrayLike, *, axis: int = -1) -> Array:
    """1 - cosine_similarity(predictions, targets)."""
    return 1 - cosine_similarity(predictions, targets, axis=axis)


@loss
def contrastive(distances: Array, similar: ArrayLike, *, margin: float = 1.0) -> Array:
    """d ** 2 for pairs that are `similar` (1), max(margin - d, 0) ** 2 for others (0) (Hadsell et al., 2006)."""
    y = target("contrastive", distances, similar)
    short = maximum(margin - distances, 0)
    return y * distances * distances + (1 - y) * short * short


@loss
def triplet_margin(
    anchors: Array, positives: ArrayLike, negatives: ArrayLike, *, margin: float = 1.0, p: float = 2.0, axis: int = -1
) -> Array:
    """max(|anchor - positive| - |anchor - negative| + margin, 0), `p`-norms along `axis` (Schroff et al., 2015)."""
    near, far = (pairwise_distance(anchors, y, p=p, axis=axis) for y in (positives, negatives))
    return maximum(near - far + margin, 0)


@loss
def margin_ranking(first: Array, second: ArrayLike, labels: ArrayLike, *, margin: float = 0.0) -> Array:
    """max(margin - y * (first - second), 0), y being 1 where `labels` are above zero: first should be the larger."""
    difference = first - target("margin_ranking", first, second)
    return _shortfall("margin_ranking", difference, as_array(labels), margin)
