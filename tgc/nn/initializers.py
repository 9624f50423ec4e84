"""Initial values of parameters: functions of (key, shape, dtype), shapes as in `tgc.nn`: [..., in, out].

The fan in of a kernel is its size along `in_axis`, the fan out that along `out_axis`, each times the sizes of all
other axes (those of a convolution's window).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tgc import random
from tgc.errors import AttributeSpecError, ShapeError
from tgc.numpy import creation
from tgc.numpy.base import Array, DTypeLike
from tgc.numpy.manipulation import reshape
from tgc.numpy.matrices import eye
from tgc.numpy.padding import pad
from tgc.types import F32

__all__ = [
    "Initializer", "constant", "delta_orthogonal", "glorot_normal", "glorot_uniform", "he_normal", "he_uniform",
    "identity", "lecun_normal", "lecun_uniform", "normal", "ones", "orthogonal", "truncated_normal", "uniform",
    "variance_scaling", "zeros",
]  # fmt: skip

Initializer = Callable[..., Array]

_TRUNCATED = 0.87962566103423978  # standard deviation of the standard normal distribution cut to [-2, 2]


def zeros(key: Array, shape: Sequence[int], dtype: DTypeLike = F32) -> Array:
    """Zeros; `key` is not used."""
    return creation.zeros(shape, dtype)


def ones(key: Array, shape: Sequence[int], dtype: DTypeLike = F32) -> Array:
    """Ones; `key` is not used."""
    return creation.ones(shape, dtype)


def constant(key: Array, shape: Sequence[int], dtype: DTypeLike = F32, *, value: float) -> Array:
    """One number everywhere; `key` is not used."""
    return creation.full(shape, value, dtype)


def identity(key: Array, shape: Sequence[int], dtype: DTypeLike = F32, *, gain: float = 1.0) -> Array:
    """`gain` times the identity [in, out], cut or filled with zeros if it is not square; `key` is not used.

    Of a convolution's kernel [*kernel, in, out] the middle of the window is the identity (Dirac's delta), all else 0.

    Raises:
        ShapeError: `shape` has fewer than two axes.
    """
    if len(shape) < 2:
        raise ShapeError(f"an identity needs an input and an output axis, not shape {tuple(shape)}")
    return _centered(eye(shape[-2], shape[-1], dtype=dtype) * gain, shape[:-2])


def orthogonal(key: Array, shape: Sequence[int], dtype: DTypeLike = F32, *, gain: float = 1.0) -> Array:
    """`gain` times a uniform matrix of orthonormal columns, or rows if these are fewer (Saxe et al., 2014).

    Its rows are all axes of `shape` but the last, joined.

    Raises:
        ShapeError: `shape` has fewer than two axes.
    """
    if len(shape) < 2:
        raise ShapeError(f"orthogonal needs an input and an output axis, not shape {tuple(shape)}")
    return reshape(random.orthogonal(key, math.prod(shape[:-1]), (), dtype, shape[-1]) * gain, tuple(shape))


def delta_orthogonal(key: Array, shape: Sequence[int], dtype: DTypeLike = F32, *, gain: float = 1.0) -> Array:
    """A convolution's kernel [*kernel, in, out], orthogonal in the middle of the window, else 0 (Xiao et al., 2018).

    Raises:
        ShapeError: `shape` has fewer than three axes, or more inputs than outputs.
    """
    if len(shape) < 3 or shape[-2] > shape[-1]:
        raise ShapeError(
            f"delta_orthogonal needs [*kernel, in, out] with no more inputs than outputs, not {tuple(shape)}"
        )
    return _centered(orthogonal(key, shape[-2:], dtype, gain=gain), shape[:-2])


def _centered(square: Array, window: Sequence[int]) -> Array:
    """[*window, in, out] with a matrix in the middle of the window and zeros around it."""
    around = [((n - 1) // 2, n - 1 - (n - 1) // 2) for n in window]
    return pad(reshape(square, (*(1,) * len(window), *square.shape)), [*around, (0, 0), (0, 0)])


def normal(key: Array, shape: Sequence[int], dtype: DTypeLike = F32, *, stddev: float = 0.01) -> Array:
    """Normal with mean 0."""
    return random.normal(key, shape, dtype) * stddev


def truncated_normal(key: Array, shape: Sequence[int], dtype: DTypeLike = F32, *, stddev: float = 0.01) -> Array:
    """Normal with mean 0, cut at two `stddev`, which makes the standard deviation 0.88 * stddev."""
    return random.truncated_normal(key, shape, dtype) * stddev


def uniform(key: Array, shape: Sequence[int], dtype: DTypeLike = F32, *, limit: float = 0.01) -> Array:
    """Uniform in [-limit, limit)."""
    return random.uniform(key, shape, dtype, -limit, limit)


def variance_scaling(
    key: Array,
    shape: Sequence[int],
    dtype: DTypeLike = F32,
    *,
    scale: float,
    mode: str,
    distribution: str,
    in_axis: int = -2,
    out_axis: int = -1,
) -> Array:
    """Mean 0 and variance scale / fan, with the fan of `mode`: "fan_in", "fan_out" or "fan_avg".

    `distribution` is "uniform", "normal" or "truncated_normal" (cut at two standard deviations of the normal that has
    the given variance once cut).

    Raises:
        ShapeError: `shape` has fewer than two axes.
        AttributeSpecError: another mode or distribution.
    """
    if len(shape) < 2:
        raise ShapeError(f"an initializer that scales variance needs an input and an output axis, not shape {shape}")
    window = math.prod(shape) / max(shape[in_axis] * shape[out_axis], 1)
    fan_in, fan_out = shape[in_axis] * window, shape[out_axis] * window
    fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
    if mode not in fans:
        raise AttributeSpecError(f"variance_scaling: mode is one of {', '.join(fans)}, not {mode!r}")
    deviation = math.sqrt(scale / max(fans[mode], 1))
    match distribution:
        case "uniform":
            return uniform(key, shape, dtype, limit=math.sqrt(3) * deviation)
        case "normal":
            return normal(key, shape, dtype, stddev=deviation)
        case "truncated_normal":
            return truncated_normal(key, shape, dtype, stddev=deviation / _TRUNCATED)
    raise AttributeSpecError(
        f"variance_scaling: distribution is uniform, normal or truncated_normal, not {distribution!r}"
    )


def _scaled(name: str, source: str, scale: float, mode: str, distribution: str) -> Initializer:
    def initializer(
        key: Array, shape: Sequence[int], dtype: DTypeLike = F32, *, in_axis: int = -2, out_axis: int = -1
    ) -> Array:
        return variance_scaling(
            key, shape, dtype, scale=scale, mode=mode, distribution=distribution, in_axis=in_axis, out_axis=out_axis
        )

    initializer.__name__ = initializer.__qualname__ = name
    initializer.__doc__ = f"{distribution.capitalize().replace('_', ' ')} with variance {scale} / {mode} ({source})."
    return initializer


_GLOROT, _HE, _LECUN = "Glorot and Bengio, 2010", "He et al., 2015", "LeCun et al., 1998"
glorot_uniform = _scaled("glorot_uniform", _GLOROT, 1.0, "fan_avg", "uniform")
glorot_normal = _scaled("glorot_normal", _GLOROT, 1.0, "fan_avg", "truncated_normal")
he_uniform = _scaled("he_uniform", _HE, 2.0, "fan_in", "uniform")
he_normal = _scaled("he_normal", _HE, 2.0, "fan_in", "truncated_normal")
lecun_uniform = _scaled("lecun_uniform", _LECUN, 1.0, "fan_in", "uniform")
lecun_normal = _scaled("lecun_normal", _LECUN, 1.0, "fan_in", "truncated_normal")
