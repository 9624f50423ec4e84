"""Losses."""

from __future__ import annotations

from tgc import nn
from tgc import numpy as tnp
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Tensor


@converts("NegativeLogLikelihoodLoss", since=12)
def negative_log_likelihood(
    log_probabilities: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    /,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """ONNX NegativeLogLikelihoodLoss: [N, C, ...] and labels [N, ...]; a mean is weighted as the losses are."""
    x, dtype = log_probabilities, log_probabilities.dtype
    counted = None if ignore_index is None else tnp.not_equal(target, ignore_index)
    label = target if counted is None else tnp.where(counted, target, 0)
    losses = -tnp.squeeze(tnp.take_along_axis(x, tnp.expand_dims(label, 1), 1), 1)
    weights = tnp.ones(label.shape, dtype) if weight is None else tnp.take(weight, label)
    if counted is not None:
        losses, weights = (tnp.where(counted, v, 0) for v in (losses, weights))
    losses = losses if weight is None else losses * weights
    match reduction:
        case "none":
            return losses
        case "sum":
            return tnp.sum(losses)
    return tnp.sum(losses) / tnp.sum(weights)


@converts("SoftmaxCrossEntropyLoss", since=12)
def softmax_cross_entropy(
    scores: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    /,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> tuple[Tensor, Tensor]:
    """ONNX SoftmaxCrossEntropyLoss, and the logarithms of the probabilities."""
    log_probabilities = nn.log_softmax(scores, 1)
    loss = negative_log_likelihood(log_probabilities, labels, weights, ignore_index=ignore_index, reduction=reduction)
    return loss, log_probabilities
