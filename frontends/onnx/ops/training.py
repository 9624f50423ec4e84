"""Steps of optimizers. Operands are the tensors to be optimized, then their gradients, then each kind of state."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tgc import numpy as tnp
from tgc.frontends.onnx.errors import InvalidModelError
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Tensor

_DOMAIN = "ai.onnx.preview.training"


def _each(
    name: str, states: int, operands: tuple[Tensor, ...], step: Callable[..., tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """`step` of each tensor, its gradient and its states: all new tensors, then all new states of each kind."""
    kinds = states + 2
    if not operands or len(operands) % kinds:
        raise InvalidModelError(f"{name} has {len(operands)} operands behind R and T, which are not {kinds} a tensor")
    n = len(operands) // kinds
    made: Iterator[tuple[Tensor, ...]] = (step(*operands[i::n]) for i in range(n))
    return tuple(x for kind in zip(*made, strict=True) for x in kind)


@converts("Adagrad", domain=_DOMAIN)
def adagrad(
    rate: Tensor,
    count: Tensor,
    /,
    *operands: Tensor,
    decay_factor: float = 0.0,
    epsilon: float = 1e-6,
    norm_coefficient: float = 0.0,
) -> tuple[Tensor, ...]:
    """ONNX Adagrad (Duchi et al., 2011)."""

    def step(x: Tensor, g: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        r = rate / (1 + tnp.astype(count, x.dtype) * decay_factor)
        g = norm_coefficient * x + g
        h = h + g * g
        return x - r * g / (tnp.sqrt(h) + epsilon), h

    return _each("Adagrad", 1, operands, step)


@converts("Adam", domain=_DOMAIN)
def adam(
    rate: Tensor,
    count: Tensor,
    /,
    *operands: Tensor,
    alpha: float = 0.9,
    beta: float = 0.999,
    epsilon: float = 1e-6,
    norm_coefficient: float = 0.0,
    norm_coefficient_post: float = 0.0,
) -> tuple[Tensor, ...]:
    """ONNX Adam (Kingma and Ba, 2015); at count 0 the moments are not corrected for their start at zero."""

    def step(x: Tensor, g: Tensor, v: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        g = norm_coefficient * x + g
        v = alpha * v + (1 - alpha) * g
        h = beta * h + (1 - beta) * g * g
        t = tnp.astype(tnp.maximum(count, 1), x.dtype)
        corrected = rate * tnp.sqrt(1 - tnp.power(beta, t)) / (1 - tnp.power(alpha, t))
        r = tnp.where(tnp.greater(count, 0), corrected, rate)
        return (1 - norm_coefficient_post) * (x - r * v / (tnp.sqrt(h) + epsilon)), v, h

    return _each("Adam", 2, operands, step)


@converts("Momentum", domain=_DOMAIN)
def momentum(
    rate: Tensor, count: Tensor, /, *operands: Tensor, alpha: float, beta: float, mode: str, norm_coefficient: float
) -> tuple[Tensor, ...]:
    """ONNX Momentum, "standard" or "nesterov"; at count 0 `beta` is 1."""

    def step(x: Tensor, g: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        g = norm_coefficient * x + g
        v = alpha * v + tnp.where(tnp.greater(count, 0), beta, 1.0) * g
        v = tnp.astype(v, x.dtype)
        return x - rate * (g + alpha * v if mode == "nesterov" else v), v

    return _each("Momentum", 1, operands, step)
