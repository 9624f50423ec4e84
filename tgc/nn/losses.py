"""Losses, from logits where there are any. `reduction` is "mean" (of all losses), "sum" or "none".

Half precision is computed in float32 and rounded once.
"""

from __future__ import annotations

import math

from tgc.errors import DTypeError
from tgc.nn.activations import softplus
from tgc.nn.base import full_precision, reduced
from tgc.nn.layers import is_label
from tgc.nn.softmaxes import shifted
from tgc.numpy.base import Array, ArrayLike, as_array, as_real, axis_of, describe, refuse, replace, spread
from tgc.numpy.elementwise import absolute, divide, exp, log, logical_or, maximum, minimum, where
from tgc.numpy.indexing import as_indices
from tgc.numpy.reductions import count_nonzero
from tgc.ops.arithmetic import as_tensor, broadcast_to, greater_equal, less, not_equal
from tgc.ops.reduce import reduce_sum
from tgc.types import INTS, is_float

__all__ = [
    "binary_cross_entropy_with_logits", "cross_entropy", "huber", "kl_divergence", "mean_absolute_error",
    "mean_squared_error",
]  # fmt: skip


@full_precision
def cross_entropy(
    logits: Array,
    labels: ArrayLike,
    *,
    axis: int = -1,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Array:
    """-sum(labels * log_softmax(logits)) along the classes, `axis`.

    Args:
        labels: integers of the shape of `logits` without `axis`, or probabilities of the shape of `logits`.
        label_smoothing: the share of a label that is divided evenly among all classes.
        ignore_index: an integer label whose loss is 0 and which a mean does not count.

    The loss of a label that is no class is NaN.

    Raises:
        ShapeError, DTypeError: labels do not fit the logits.
    """
    labels, at = as_array(labels), axis_of("cross_entropy", logits, axis)
    classes = logits.shape[at]
    sparse = labels.dtype in INTS
    labels = as_indices("cross_entropy", labels) if sparse else labels
    if labels.shape != (replace(logits.shape, at) if sparse else logits.shape):
        raise refuse("cross_entropy", [logits, labels], f"labels do not fit logits with {classes} classes along {axis}")
    if not sparse and not is_float(labels.dtype):
        raise DTypeError(f"cross_entropy: labels must be integers or probabilities, got {describe(labels)}")
    s = shifted(logits, (at,))
    log_sum = log(reduce_sum(exp(s), axes=(at,), chunks=0))
    if not sparse:
        p = as_tensor(labels, logits.dtype)
        p = p * (1 - label_smoothing) + label_smoothing / classes if label_smoothing else p
        losses = reduce_sum(p * (spread(log_sum, (at,), s.shape) - s), axes=(at,), chunks=0)
        return reduced("cross_entropy", losses, reduction)
    picked = reduce_sum(where(is_label(labels, classes, at), s, 0), axes=(at,), chunks=0)
    if label_smoothing:
        average = reduce_sum(s, axes=(at,), chunks=0) / classes
        picked = picked * (1 - label_smoothing) + average * label_smoothing
    unknown = logical_or(less(labels, 0), greater_equal(labels, classes))
    losses = where(unknown, math.nan, log_sum - picked)
    if ignore_index is None:
        return reduced("cross_entropy", losses, reduction)
    counted = not_equal(labels, ignore_index)
    losses = where(counted, losses, 0)
    if reduction != "mean":
        return reduced("cross_entropy", losses, reduction)
    return divide(reduced("cross_entropy", losses, "sum"), as_tensor(maximum(count_nonzero(counted), 1), losses.dtype))


@full_precision
def binary_cross_entropy_with_logits(
    logits: Array, labels: ArrayLike, *, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Array:
    """-labels * log(sigmoid(logits)) - (1 - labels) * log(1 - sigmoid(logits)), for labels in [0, 1] that broadcast."""
    y = broadcast_to(as_tensor(as_array(labels), logits.dtype), logits.shape)
    y = y * (1 - label_smoothing) + 0.5 * label_smoothing if label_smoothing else y
    return reduced("binary_cross_entropy_with_logits", softplus(logits) - logits * y, reduction)


def _distance(function: str, predictions: Array, targets: ArrayLike) -> Array:
    targets = as_array(targets)
    if targets.shape != predictions.shape:
        raise refuse(function, [predictions, targets], "shapes differ")
    return predictions - as_tensor(targets, predictions.dtype)


@full_precision
def mean_squared_error(predictions: Array, targets: ArrayLike, *, reduction: str = "mean") -> Array:
    """(predictions - targets) ** 2, of operands of one shape."""
    d = _distance("mean_squared_error", predictions, targets)
    return reduced("mean_squared_error", d * d, reduction)


@full_precision
def mean_absolute_error(predictions: Array, targets: ArrayLike, *, reduction: str = "mean") -> Array:
    """|predictions - targets|, of operands of one shape. Its gradient at 0 is 0."""
    d = _distance("mean_absolute_error", predictions, targets)
    return reduced("mean_absolute_error", absolute(d), reduction)


@full_precision
def huber(predictions: Array, targets: ArrayLike, delta: float = 1.0, *, reduction: str = "mean") -> Array:
    """d * d / 2 for distances |d| up to `delta`, linear beyond: delta * (|d| - delta / 2) (Huber, 1964)."""
    d = absolute(_distance("huber", predictions, targets))
    near = minimum(d, delta)
    return reduced("huber", near * (d - near * 0.5), reduction)


@full_precision
def kl_divergence(log_predictions: Array, targets: ArrayLike, *, axis: int = -1, reduction: str = "mean") -> Array:
    """sum(targets * (log(targets) - log_predictions)) along `axis`, for probabilities `targets`; 0 * log(0) is 0."""
    p = as_real(targets)
    if p.shape != log_predictions.shape:
        raise refuse("kl_divergence", [log_predictions, p], "shapes differ")
    p = as_tensor(p, log_predictions.dtype)
    positive = p > 0
    terms = where(positive, p * (log(where(positive, p, 1)) - log_predictions), 0)
    losses = reduce_sum(terms, axes=(axis_of("kl_divergence", terms, axis),), chunks=0)
    return reduced("kl_divergence", losses, reduction)
