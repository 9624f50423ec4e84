"""Activation functions. Integers are computed as floatx, but for the functions that keep to whole numbers."""

from __future__ import annotations

from tgc import nn
from tgc.frontends.keras.ops.promotion import converted, floating
from tgc.frontends.keras.ops.tensors import Tensor

__all__ = [
    "celu", "elu", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu",
    "log_sigmoid", "log_softmax", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softmax", "softplus",
    "softsign", "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus", "tanh", "tanh_shrink", "threshold",
]  # fmt: skip

celu = floating(nn.celu)
elu = floating(nn.elu)
glu = floating(nn.glu)
hard_shrink = floating(nn.hard_shrink)
hard_sigmoid = floating(nn.hard_sigmoid)
hard_silu = floating(nn.hard_silu)
hard_tanh = floating(nn.hard_tanh, parameters="x")
log_sigmoid = floating(nn.log_sigmoid)
log_softmax = floating(nn.log_softmax)
relu = converted(nn.relu)
relu6 = converted(nn.relu6)
selu = floating(nn.selu)
sigmoid = floating(nn.sigmoid)
silu = floating(nn.silu)
soft_shrink = floating(nn.soft_shrink)
softmax = floating(nn.softmax)
softplus = floating(nn.softplus)
softsign = floating(nn.softsign)
sparse_plus = floating(nn.sparse_plus)
sparse_sigmoid = floating(nn.sparse_sigmoid)
sparsemax = floating(nn.sparsemax)
squareplus = floating(nn.squareplus)
tanh = floating(nn.tanh)
tanh_shrink = floating(nn.tanh_shrink)


@floating
def gelu(x: Tensor, approximate: bool = True) -> Tensor:
    """x times the normal distribution function of x, or nearly so, by tanh."""
    return nn.gelu(x, approximate)


@floating
def leaky_relu(x: Tensor, negative_slope: float = 0.2) -> Tensor:
    """x above zero, else negative_slope * x."""
    return nn.leaky_relu(x, negative_slope)


@floating
def threshold(x: Tensor, threshold: float, default_value: float) -> Tensor:
    """x above `threshold`, else `default_value`."""
    return nn.threshold(x, threshold, default_value)
