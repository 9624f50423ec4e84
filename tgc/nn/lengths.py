"""Normalization by lengths: of vectors, of weights, of neighbouring channels."""

from __future__ import annotations

from collections.abc import Callable

from tgc.errors import AttributeSpecError
from tgc.nn.base import full_precision
from tgc.numpy.base import (
    Array,
    ArrayLike,
    Axes,
    accumulator,
    along,
    as_array,
    as_real,
    axes_of,
    axis_of,
    refuse,
    spread,
)
from tgc.numpy.elementwise import maximum
from tgc.numpy.manipulation import moveaxis, reshape
from tgc.numpy.products import matmul
from tgc.ops import arithmetic
from tgc.ops.arithmetic import as_tensor, divide, power
from tgc.ops.elementwise import rsqrt, stop_gradient
from tgc.ops.reduce import reduce_sum
from tgc.ops.window import window_sum

__all__ = ["l2_normalize", "local_response_norm", "spectral_norm", "weight_norm"]


@full_precision
def l2_normalize(x: Array, *, axis: Axes = -1, epsilon: float = 1e-12) -> Array:
    """`x` divided by its Euclidean length along `axis`; a squared length below `epsilon` counts as `epsilon`."""
    axes = axes_of("l2_normalize", x, axis)
    return x * spread(rsqrt(maximum(reduce_sum(x * x, axes=axes, chunks=0), epsilon)), axes, x.shape)


@full_precision
def weight_norm(w: Array, scale: ArrayLike | None = None, *, axis: int = -1, epsilon: float = 1e-12) -> Array:
    """`w` with length `scale` (or 1) along all axes but `axis` (Salimans and Kingma, 2016).

    Args:
        scale: one for each output channel, which lie along `axis`.

    Raises:
        ShapeError: `scale` has another shape.
    """
    at = axis_of("weight_norm", w, axis)
    unit = l2_normalize(w, axis=[a for a in range(w.ndim) if a != at], epsilon=epsilon)
    if scale is None:
        return unit
    scale = as_array(scale)
    if scale.shape != (w.shape[at],):
        raise refuse("weight_norm", [w, scale], f"scale must have the shape {(w.shape[at],)} of axis {axis}")
    return unit * along(as_tensor(scale, w.dtype), [at], w.shape)


def spectral_norm(
    w: ArrayLike, u: ArrayLike, *, axis: int = -1, steps: int = 1, epsilon: float = 1e-12
) -> tuple[Array, Array]:
    """(`w` divided by an estimate of its largest singular value, the next `u`) (Miyato et al., 2018).

    `w`, its axes but `axis` joined, is a matrix [in, out]; `u` [out] estimates its right singular vector, which each
    step of the power method improves. Gradients go through the division and the singular value, not through `u`.

    Raises:
        ShapeError: `u` has another shape.
        AttributeSpecError: `steps` is not positive.
    """
    w, u = as_real(w), as_array(u)
    at = axis_of("spectral_norm", w, axis)
    if u.shape != (w.shape[at],):
        raise refuse("spectral_norm", [w, u], f"u must have the shape {(w.shape[at],)} of axis {axis}")
    if steps < 1:
        raise AttributeSpecError(f"spectral_norm: {steps} steps; there must be one at least")
    matrix = as_tensor(reshape(moveaxis(w, at, -1), (-1, w.shape[at])), accumulator(w.dtype))
    fixed, right = stop_gradient(matrix), stop_gradient(as_tensor(u, matrix.dtype))
    for _ in range(steps):
        left = l2_normalize(matmul(fixed, right), epsilon=epsilon)
        right = l2_normalize(matmul(left, fixed), epsilon=epsilon)
    largest = matmul(left, matmul(matrix, right))
    return as_tensor(as_tensor(w, matrix.dtype) / largest, w.dtype), as_tensor(right, u.dtype)


@full_precision
def local_response_norm(
    x: Array, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0, axis: int = -1
) -> Array:
    """x / (bias + alpha / size * s) ** beta, s being the sum of squares of `size` neighbours along `axis`.

    Of an even number of neighbours the extra one lies in front (Krizhevsky et al., 2012, with alpha as in PyTorch and
    ONNX).

    Raises:
        AttributeSpecError: `size` is not positive.
    """
    if size < 1:
        raise AttributeSpecError(f"local_response_norm: size {size} is not positive")
    at = axis_of("local_response_norm", x, axis)
    entries: Callable[..., tuple[int, ...]] = lambda v: tuple(v if a == at else 1 for a in range(x.ndim))  # noqa: E731
    padding = tuple((size // 2, (size - 1) // 2) if a == at else (0, 0) for a in range(x.ndim))
    squares = window_sum(x * x, window=entries(size), stride=entries(1), padding=padding, dilation=entries(1))
    return divide(x, power(squares * (alpha / size) + bias, arithmetic.as_tensor(beta, x.dtype)))
