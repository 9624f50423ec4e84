"""Activation functions. Those without parameters are in the tables of `elementwise`."""

from __future__ import annotations

import math
from collections.abc import Callable

from tgc import nn
from tgc import numpy as tnp
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Tensor


@converts("Elu")
def elu(x: Tensor, /, *, alpha: float = 1.0) -> Tensor:
    """ONNX Elu."""
    return nn.elu(x, alpha)


@converts("Celu", since=12)
def celu(x: Tensor, /, *, alpha: float = 1.0) -> Tensor:
    """ONNX Celu."""
    return nn.celu(x, alpha)


@converts("Selu")
def selu(x: Tensor, /, *, alpha: float = 1.6732632423543772, gamma: float = 1.0507009873554805) -> Tensor:
    """ONNX Selu."""
    return nn.elu(x, alpha) * gamma


@converts("Gelu", since=20)
def gelu(x: Tensor, /, *, approximate: str = "none") -> Tensor:
    """ONNX Gelu: by erf, or nearly so by tanh."""
    return nn.gelu(x, approximate=approximate == "tanh")


@converts("LeakyRelu")
def leaky_relu(x: Tensor, /, *, alpha: float = 0.01) -> Tensor:
    """ONNX LeakyRelu."""
    return nn.leaky_relu(x, alpha)


@converts("PRelu", since=7)
def prelu(x: Tensor, slope: Tensor, /) -> Tensor:
    """ONNX PRelu: the slope is broadcast to x; both may be integers."""
    return tnp.where(tnp.less(x, 0), tnp.multiply(x, slope), x)


@converts("PRelu")
def prelu_1(x: Tensor, slope: Tensor, /) -> Tensor:
    """ONNX PRelu until opset 6: one slope, or one for each channel."""
    return prelu(x, tnp.reshape(slope, (-1, *[1] * max(x.ndim - 2, 0))))


@converts("ThresholdedRelu", since=10)
def thresholded_relu(x: Tensor, /, *, alpha: float = 1.0) -> Tensor:
    """ONNX ThresholdedRelu: x above `alpha`, else 0."""
    return tnp.where(tnp.greater(x, alpha), x, 0)


@converts("HardSigmoid")
def hard_sigmoid(x: Tensor, /, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """ONNX HardSigmoid: alpha * x + beta limited to [0, 1]."""
    return tnp.clip(tnp.add(tnp.multiply(x, alpha), beta), 0, 1)


@converts("Shrink", since=9)
def shrink(x: Tensor, /, *, bias: float = 0.0, lambd: float = 0.5) -> Tensor:
    """ONNX Shrink: x brought towards zero by `bias`, and 0 within `lambd` of it; integers stay integers."""
    outside = tnp.where(tnp.less(x, -lambd), tnp.add(x, bias), tnp.subtract(x, bias))
    return tnp.astype(tnp.where(tnp.less_equal(tnp.abs(x), lambd), 0, outside), x.dtype)


@converts("Swish", since=24)
def swish(x: Tensor, /, *, alpha: float = 1.0) -> Tensor:
    """ONNX Swish: x * sigmoid(alpha * x)."""
    return nn.silu(x) if alpha == 1 else tnp.multiply(x, nn.sigmoid(tnp.multiply(x, alpha)))


@converts("SwiGLU", since=28)
def swiglu(a: Tensor, b: Tensor, /, *, alpha: float = 1.0) -> Tensor:
    """ONNX SwiGLU: Swish of the gate `a`, times `b`."""
    return tnp.multiply(swish(a, alpha=alpha), b)


def _hardmax(x: Tensor, axis: int) -> Tensor:
    """1 at the first of the greatest elements along `axis`, else 0."""
    return nn.one_hot(tnp.argmax(x, axis=axis), x.shape[axis], axis=axis % x.ndim, dtype=x.dtype)


def _enter(name: str, function: Callable[[Tensor, int], Tensor]) -> None:
    @converts(name, since=13)
    def along_axis(x: Tensor, /, *, axis: int = -1) -> Tensor:
        return function(x, axis)

    @converts(name)
    def flattened(x: Tensor, /, *, axis: int = 1) -> Tensor:
        """Until opset 12 the axes from `axis` on count as one."""
        axis %= max(x.ndim, 1)
        rows = tnp.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))
        return tnp.reshape(function(rows, -1), x.shape)


_enter("Softmax", nn.softmax)
_enter("LogSoftmax", nn.log_softmax)
_enter("Hardmax", _hardmax)
