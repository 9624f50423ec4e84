"""The part of NumPy's `fft` that is real: sample frequencies, and shifts of the zero frequency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tgc.numpy.base import Array, ArrayLike, Axes, as_array, axes_of
from tgc.numpy.manipulation import roll

__all__ = ["fftfreq", "fftshift", "ifftshift", "rfftfreq"]


def fftfreq(n: int, d: float = 1.0) -> Array:
    """f64[n]: the frequencies of a transform of n samples at distance `d`, in cycles per unit; negative ones last."""
    return np.fft.fftfreq(n, d)


def rfftfreq(n: int, d: float = 1.0) -> Array:
    """f64[n // 2 + 1]: the frequencies of the transform of n real samples at distance `d`, in cycles per unit."""
    return np.fft.rfftfreq(n, d)


def _shift(function: str, x: ArrayLike, axes: Axes, back: bool) -> Array:
    x = as_array(x)
    at = axes_of(function, x, axes)
    return roll(x, [-(x.shape[a] // 2) if back else x.shape[a] // 2 for a in at], at)


def fftshift(x: ArrayLike, axes: int | Sequence[int] | None = None) -> Array:
    """`x` with the zero frequency moved from the front to the middle of axes (None: all)."""
    return _shift("fftshift", x, axes, back=False)


def ifftshift(x: ArrayLike, axes: int | Sequence[int] | None = None) -> Array:
    """The inverse of `fftshift`."""
    return _shift("ifftshift", x, axes, back=True)
