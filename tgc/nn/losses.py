"""Losses of predicted numbers against targets of the same shape.

All take `weights`, which broadcast to the losses, and `reduction`: "mean" (divided by the sum of the weights), "sum" or
"none". Half precision is computed in float32 and rounded once. All raise ShapeError if shapes differ.
"""

from __future__ import annotations

import math

from tgc.nn.base import loss, target
from tgc.numpy.base import Array, ArrayLike
from tgc.numpy.elementwise import absolute, exp, log, log1p, maximum, minimum, where
from tgc.numpy.reductions import sum

__all__ = [
    "dice", "gaussian_nll", "huber", "log_cosh", "mean_absolute_error", "mean_absolute_percentage_error",
    "mean_squared_error", "mean_squared_logarithmic_error", "poisson_nll", "quantile", "smooth_l1", "tversky",
]  # fmt: skip


@loss
def mean_squared_error(predictions: Array, targets: ArrayLike) -> Array:
    """(predictions - targets) ** 2."""
    d = predictions - target("mean_squared_error", predictions, targets)
    return d * d


@loss
def mean_absolute_error(predictions: Array, targets: ArrayLike) -> Array:
    """|predictions - targets|. Its gradient at 0 is 0."""
    return absolute(predictions - target("mean_absolute_error", predictions, targets))


@loss
def mean_absolute_percentage_error(predictions: Array, targets: ArrayLike, *, epsilon: float = 1e-7) -> Array:
    """100 * |predictions - targets| / |targets|, with a denominator of at least `epsilon`."""
    y = target("mean_absolute_percentage_error", predictions, targets)
    return absolute(predictions - y) / maximum(absolute(y), epsilon) * 100


@loss
def mean_squared_logarithmic_error(predictions: Array, targets: ArrayLike) -> Array:
    """(log(1 + predictions) - log(1 + targets)) ** 2, negative numbers counted as zero."""
    y = target("mean_squared_logarithmic_error", predictions, targets)
    d = log1p(maximum(predictions, 0)) - log1p(maximum(y, 0))
    return d * d


@loss
def huber(predictions: Array, targets: ArrayLike, delta: float = 1.0) -> Array:
    """d * d / 2 for distances |d| up to `delta`, linear beyond: delta * (|d| - delta / 2) (Huber, 1964)."""
    d = absolute(predictions - target("huber", predictions, targets))
    near = minimum(d, delta)
    return near * (d - near * 0.5)


@loss
def smooth_l1(predictions: Array, targets: ArrayLike, beta: float = 1.0) -> Array:
    """d * d / (2 * beta) for distances |d| up to `beta`, |d| - beta / 2 beyond: `huber` divided by its delta."""
    d = absolute(predictions - target("smooth_l1", predictions, targets))
    near = minimum(d, beta)
    return near * (d - near * 0.5) / beta


@loss
def log_cosh(predictions: Array, targets: ArrayLike) -> Array:
    """log(cosh(predictions - targets)), without overflow on the way."""
    d = absolute(predictions - target("log_cosh", predictions, targets))
    return d + log1p(exp(d * -2)) - math.log(2)


@loss
def quantile(predictions: Array, targets: ArrayLike, q: float = 0.5) -> Array:
    """max(q * d, (q - 1) * d) for d = targets - predictions: least at the quantile `q` (Koenker and Bassett, 1978)."""
    d = target("quantile", predictions, targets) - predictions
    return maximum(d * q, d * (q - 1))


@loss
def poisson_nll(
    predictions: Array, targets: ArrayLike, *, log_input: bool = False, full: bool = False, epsilon: float = 1e-7
) -> Array:
    """predictions - targets * log(predictions): the negative log-likelihood of Poisson rates, up to a constant.

    Args:
        log_input: predictions are logarithms of rates; else `epsilon` is added to those in the logarithm.
        full: add Stirling's approximation of log(targets!), for targets above one.
    """
    y = target("poisson_nll", predictions, targets)
    losses = exp(predictions) - y * predictions if log_input else predictions - y * log(predictions + epsilon)
    if not full:
        return losses
    many = where(y > 1, y, 1)
    return losses + where(y > 1, many * log(many) - many + log(many * (2 * math.pi)) * 0.5, 0)


@loss
def gaussian_nll(
    predictions: Array, targets: ArrayLike, variances: ArrayLike, *, full: bool = False, epsilon: float = 1e-6
) -> Array:
    """(log(v) + d * d / v) / 2 for distances d and `variances` v of the shape of the predictions, `epsilon` at least.

    `full` adds the constant log(2 * pi) / 2.
    """
    d = predictions - target("gaussian_nll", predictions, targets)
    v = maximum(target("gaussian_nll", predictions, variances), epsilon)
    return (log(v) + d * d / v) * 0.5 + (0.5 * math.log(2 * math.pi) if full else 0)


@loss
def tversky(
    predictions: Array,
    targets: ArrayLike,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    axis: int | tuple[int, ...] | None = None,
    smooth: float = 1e-7,
) -> Array:
    """1 - (tp + smooth) / (tp + alpha * fp + beta * fn + smooth) of probabilities (Salehi et al., 2017).

    Hits, false positives and false negatives are summed along `axis`, or over all elements; targets are 0 to 1.
    """
    y = target("tversky", predictions, targets)
    hits = sum(predictions * y, axis)
    false, missed = sum(predictions * (1 - y), axis), sum((1 - predictions) * y, axis)
    return 1 - (hits + smooth) / (hits + false * alpha + missed * beta + smooth)


@loss
def dice(
    predictions: Array, targets: ArrayLike, *, axis: int | tuple[int, ...] | None = None, smooth: float = 1e-7
) -> Array:
    """1 - (2 * sum(p * y) + smooth) / (sum(p) + sum(y) + smooth) along `axis`, or over all elements."""
    y = target("dice", predictions, targets)
    return 1 - (sum(predictions * y, axis) * 2 + smooth) / (sum(predictions, axis) + sum(y, axis) + smooth)
