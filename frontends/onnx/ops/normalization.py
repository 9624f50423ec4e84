"""Normalization. Channels are axis 1."""

from __future__ import annotations

from typing import Any

from tgc import nn
from tgc import numpy as tnp
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Tensor
from tgc.numpy.base import accumulator


@converts("BatchNormalization", since=14)
def batch_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    /,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    outputs: int = 1,
) -> Any:
    """ONNX BatchNormalization; in training the running statistics are outputs too."""
    training = bool(training_mode)
    made = nn.batch_norm(x, mean, var, scale, bias, training=training, momentum=momentum, epsilon=epsilon, axis=1)
    return made[:outputs] if outputs > 1 else made[0]


@converts("BatchNormalization", since=6)
def batch_normalization_6(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    /,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    spatial: int = 1,
    is_test: int = 0,
    outputs: int = 1,
) -> Any:
    """ONNX BatchNormalization up to version 13, which trains if it has more than one output.

    The fourth and fifth are those of the batch, saved for the gradient. Without `spatial` (up to version 8) each
    feature of a sample has statistics of its own; `is_test` (version 6) only says what the outputs say too.
    """
    shape = x.shape
    if not spatial:
        x = tnp.reshape(x, (shape[0], -1))
        scale, bias, mean, var = (tnp.ravel(v) for v in (scale, bias, mean, var))
    made = nn.batch_norm(x, mean, var, scale, bias, training=outputs > 1, momentum=momentum, epsilon=epsilon, axis=1)
    y = tnp.reshape(made[0], shape)
    if outputs == 1:
        return y
    others = (0, *range(2, x.ndim))
    return (y, *made[1:], tnp.mean(x, axis=others), tnp.var(x, axis=others))[:outputs]


@converts("GroupNormalization", since=21)
def group_normalization(
    x: Tensor, scale: Tensor, bias: Tensor, /, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    """ONNX GroupNormalization, with parameters for each channel; in float32 or better, whatever `stash_type`."""
    return nn.group_norm(x, num_groups, scale, bias, axis=1, epsilon=epsilon)


@converts("GroupNormalization", since=18)
def group_normalization_18(
    x: Tensor, scale: Tensor, bias: Tensor, /, *, num_groups: int, epsilon: float = 1e-5
) -> Tensor:
    """ONNX GroupNormalization up to version 20, with parameters for each group."""
    scale, bias = (tnp.repeat(v, x.shape[1] // num_groups) for v in (scale, bias))
    return nn.group_norm(x, num_groups, scale, bias, axis=1, epsilon=epsilon)


@converts("InstanceNormalization", since=6)
def instance_normalization(x: Tensor, scale: Tensor, bias: Tensor, /, *, epsilon: float = 1e-5) -> Tensor:
    """ONNX InstanceNormalization."""
    return nn.instance_norm(x, scale, bias, axis=1, epsilon=epsilon)


@converts("LayerNormalization", since=17)
def layer_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    /,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    outputs: int = 1,
) -> Any:
    """ONNX LayerNormalization over the axes from `axis` on, in float32 or better, whatever `stash_type` says.

    The second and third output are the mean and the inverse standard deviation, in that dtype.
    """
    axes = tuple(range(axis % x.ndim, x.ndim))
    shape = tuple(x.shape[a] for a in axes)
    scale, bias = (None if v is None else tnp.broadcast_to(v, shape) for v in (scale, bias))
    y = nn.layer_norm(x, scale, bias, axis=axes, epsilon=epsilon)
    if outputs == 1:
        return y
    wide = tnp.astype(x, accumulator(x.dtype))
    mean = tnp.mean(wide, axis=axes, keepdims=True)
    return (y, mean, 1 / tnp.sqrt(tnp.var(wide, axis=axes, keepdims=True) + epsilon))[:outputs]


@converts("RMSNormalization", since=23)
def rms_normalization(
    x: Tensor, scale: Tensor, /, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    """ONNX RMSNormalization over the axes from `axis` on, in float32 or better, whatever `stash_type` says."""
    axes = tuple(range(axis % x.ndim, x.ndim))
    return nn.rms_norm(x, tnp.broadcast_to(scale, tuple(x.shape[a] for a in axes)), axis=axes, epsilon=epsilon)


@converts("LpNormalization")
def lp_normalization(x: Tensor, /, *, axis: int = -1, p: int = 2) -> Tensor:
    """ONNX LpNormalization: 0 where the norm is."""
    norm = tnp.linalg.vector_norm(x, axis=axis, keepdims=True, ord=p)
    none = tnp.equal(norm, 0)
    return tnp.where(none, 0, x / tnp.where(none, 1, norm))


@converts("MeanVarianceNormalization", since=9)
def mean_variance_normalization(x: Tensor, /, *, axes: tuple[int, ...] = (0, 2, 3)) -> Tensor:
    """ONNX MeanVarianceNormalization."""
    distance = x - tnp.mean(x, axis=axes, keepdims=True)
    return distance / (tnp.sqrt(tnp.mean(distance * distance, axis=axes, keepdims=True)) + 1e-9)


@converts("LRN")
def lrn(x: Tensor, /, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Tensor:
    """ONNX LRN (Krizhevsky et al., 2012): sums of squares over `size` channels around each."""
    squares = tnp.reshape(x * x, (*x.shape[:2], -1))
    around = ((size - 1) // 2, size // 2)
    total = tnp.reshape(nn.sum_pool(squares, size, stride=1, padding=[around]), x.shape)
    return x / (bias + (alpha / size) * total) ** beta
