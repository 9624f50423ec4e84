"""Losses of classifiers: cross-entropy, focal loss, divergences. From logits unless said otherwise.

All take `weights`, which broadcast to the losses, and `reduction`: "mean" (divided by the sum of the weights), "sum" or
"none". Half precision is computed in float32 and rounded once.
"""

from __future__ import annotations

import math

from tgc.errors import DTypeError
from tgc.nn.activations import softplus
from tgc.nn.base import full_precision, loss, reduced, target
from tgc.nn.layers import is_label
from tgc.nn.softmaxes import shifted
from tgc.numpy.base import Array, ArrayLike, along, as_array, axis_of, describe, refuse, replace, spread
from tgc.numpy.dtypes import finfo
from tgc.numpy.elementwise import clip, exp, expm1, log, log1p, logical_or, maximum, power, where
from tgc.numpy.indexing import as_indices
from tgc.ops.arithmetic import as_tensor, broadcast_to, greater_equal, less, multiply, not_equal
from tgc.ops.reduce import reduce_sum
from tgc.types import INTS, is_float

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "binary_focal", "cross_entropy", "focal",
    "jensen_shannon", "kl_divergence",
]  # fmt: skip


@full_precision
def cross_entropy(
    logits: Array,
    labels: ArrayLike,
    *,
    axis: int = -1,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    class_weights: ArrayLike | None = None,
    from_logits: bool = True,
    epsilon: float = 1e-7,
    weights: ArrayLike | None = None,
    reduction: str = "mean",
) -> Array:
    """-sum(labels * log_softmax(logits)) along the classes, `axis`.

    Args:
        labels: integers of the shape of `logits` without `axis`, or probabilities of the shape of `logits`.
        label_smoothing: the share of a label that is divided evenly among all classes.
        ignore_index: an integer label whose loss is 0 and which a mean does not count.
        class_weights: [classes], the weight of each class, multiplied into the label's loss; a mean of integer labels
            is divided by the sum of their weights, as PyTorch has it.
        from_logits: else `logits` are probabilities, below `epsilon` counted as that.

    The loss of a label that is no class is NaN.

    Raises:
        ShapeError, DTypeError: labels or weights do not fit the logits.
    """
    name = "cross_entropy"
    labels, at = as_array(labels), axis_of(name, logits, axis)
    classes = logits.shape[at]
    sparse = labels.dtype in INTS
    labels = as_indices(name, labels) if sparse else labels
    if labels.shape != (replace(logits.shape, at) if sparse else logits.shape):
        raise refuse(name, [logits, labels], f"labels do not fit logits with {classes} classes along {axis}")
    if not sparse and not is_float(labels.dtype):
        raise DTypeError(f"cross_entropy: labels must be integers or probabilities, got {describe(labels)}")
    share = None
    if class_weights is not None:
        share = as_tensor(as_array(class_weights), logits.dtype)
        if share.shape != (classes,):
            raise refuse(name, [logits, share], f"class_weights must have the shape {(classes,)}")
        share = along(share, [at], logits.shape)

    def summed(x: Array) -> Array:
        return reduce_sum(x, axes=(at,), chunks=0)

    # The loss is sum(p * (log_sum - s)): without class weights log_sum is constant along the classes.
    s = shifted(logits, (at,)) if from_logits else log(maximum(logits, epsilon))
    log_sum = log(summed(exp(s))) if from_logits else None
    if not sparse or share is not None:
        p = as_tensor(is_label(labels, classes, at) if sparse else labels, logits.dtype)
        p = p * (1 - label_smoothing) + label_smoothing / classes if label_smoothing else p
        p = p if share is None else p * share
        losses = summed(multiply(p, -s if log_sum is None else spread(log_sum, (at,), s.shape) - s))
    else:
        losses = -summed(where(is_label(labels, classes, at), s, 0))
        if label_smoothing:
            losses = losses * (1 - label_smoothing) - summed(s) / classes * label_smoothing
        losses = losses if log_sum is None else log_sum + losses
    if not sparse:
        return reduced(name, losses, reduction, weights)
    if share is not None and reduction == "mean":
        own = summed(where(is_label(labels, classes, at), share, 0))
        losses = losses / where(own > 0, own, 1)
        weights = own if weights is None else own * as_tensor(weights, own.dtype)
    losses = where(logical_or(less(labels, 0), greater_equal(labels, classes)), math.nan, losses)
    if ignore_index is not None:
        counted = not_equal(labels, ignore_index)
        losses = where(counted, losses, 0)
        if reduction == "mean" or weights is not None:
            weights = where(counted, 1 if weights is None else as_tensor(weights, losses.dtype), 0)
    return reduced(name, losses, reduction, weights)


def _smooth(labels: ArrayLike, logits: Array, label_smoothing: float) -> Array:
    y = broadcast_to(as_tensor(as_array(labels), logits.dtype), logits.shape)
    return y * (1 - label_smoothing) + 0.5 * label_smoothing if label_smoothing else y


@loss
def binary_cross_entropy_with_logits(
    logits: Array, labels: ArrayLike, *, label_smoothing: float = 0.0, positive_weight: ArrayLike | None = None
) -> Array:
    """-labels * log(sigmoid(logits)) - (1 - labels) * log(1 - sigmoid(logits)), for labels in [0, 1] that broadcast.

    The first term is multiplied by `positive_weight`, if given, which broadcasts to the logits.
    """
    y = _smooth(labels, logits, label_smoothing)
    if positive_weight is None:
        return softplus(logits) - logits * y
    more = y * broadcast_to(as_tensor(as_array(positive_weight), logits.dtype), logits.shape)
    return more * softplus(-logits) + (1 - y) * softplus(logits)


@loss
def binary_cross_entropy(
    probabilities: Array, labels: ArrayLike, *, label_smoothing: float = 0.0, epsilon: float = 1e-7
) -> Array:
    """-labels * log(p) - (1 - labels) * log(1 - p), with p limited to [epsilon, 1 - epsilon]; labels broadcast."""
    y = _smooth(labels, probabilities, label_smoothing)
    p = clip(probabilities, epsilon, 1 - epsilon)
    return -(y * log(p) + (1 - y) * log1p(-p))


def _hard(losses: Array, gamma: float) -> Array:
    """(1 - e ** -loss) ** gamma, whose gradient is finite where the loss is 0."""
    return power(maximum(-expm1(-losses), float(finfo(losses.dtype).tiny)), as_tensor(gamma, losses.dtype))


@loss
def binary_focal(logits: Array, labels: ArrayLike, *, alpha: float | None = 0.25, gamma: float = 2.0) -> Array:
    """Binary cross-entropy times (1 - p) ** gamma, p being the probability of the label (Lin et al., 2017).

    Losses of the label 1 are also multiplied by `alpha`, those of 0 by 1 - alpha. Labels are 0 or 1 and broadcast.
    """
    y = _smooth(labels, logits, 0)
    entropy = softplus(logits) - logits * y
    losses = _hard(softplus(where(y > 0.5, -logits, logits)), gamma) * entropy
    return losses if alpha is None else losses * (y * alpha + (1 - y) * (1 - alpha))


@loss
def focal(logits: Array, labels: ArrayLike, *, axis: int = -1, alpha: ArrayLike = 1.0, gamma: float = 2.0) -> Array:
    """sum(alpha * (1 - p) ** gamma * labels * -log(p)) along the classes, `axis`, for p = softmax(logits).

    Args:
        labels: integers of the shape of `logits` without `axis`, or probabilities of the shape of `logits`.
        alpha: a number, or one a class.

    Raises:
        ShapeError: labels or `alpha` do not fit the logits.
    """
    at, labels = axis_of("focal", logits, axis), as_array(labels)
    sparse = labels.dtype in INTS
    if labels.shape != (replace(logits.shape, at) if sparse else logits.shape):
        raise refuse("focal", [logits, labels], f"labels do not fit logits with {logits.shape[at]} classes")
    labels = is_label(as_indices("focal", labels), logits.shape[at], at) if sparse else labels
    s = shifted(logits, (at,))
    entropies = spread(log(reduce_sum(exp(s), axes=(at,), chunks=0)), (at,), s.shape) - s
    share = as_tensor(as_array(alpha), logits.dtype)
    if share.shape not in ((), (logits.shape[at],)):
        raise refuse("focal", [logits, share], f"alpha is a number or has the shape {(logits.shape[at],)}")
    share = along(share, [at][: share.ndim], logits.shape)
    terms = share * _hard(entropies, gamma) * as_tensor(labels, logits.dtype) * entropies
    return reduce_sum(terms, axes=(at,), chunks=0)


def _divergence(log_q: Array, p: Array) -> Array:
    positive = p > 0
    return where(positive, p * (log(where(positive, p, 1)) - log_q), 0)


@loss
def kl_divergence(log_predictions: Array, targets: ArrayLike, *, axis: int = -1, log_targets: bool = False) -> Array:
    """sum(targets * (log(targets) - log_predictions)) along `axis`, for probabilities `targets`; 0 * log(0) is 0.

    With `log_targets` the targets are logarithms of probabilities too.
    """
    p = target("kl_divergence", log_predictions, targets)
    terms = exp(p) * (p - log_predictions) if log_targets else _divergence(log_predictions, p)
    return reduce_sum(terms, axes=(axis_of("kl_divergence", terms, axis),), chunks=0)


@loss
def jensen_shannon(predictions: Array, targets: ArrayLike, *, axis: int = -1) -> Array:
    """The mean divergence of two probability vectors along `axis` from their mean, in nats; symmetric."""
    q = target("jensen_shannon", predictions, targets)
    middle = (predictions + q) * 0.5
    log_middle = log(where(middle > 0, middle, 1))
    terms = (_divergence(log_middle, predictions) + _divergence(log_middle, q)) * 0.5
    return reduce_sum(terms, axes=(axis_of("jensen_shannon", terms, axis),), chunks=0)
