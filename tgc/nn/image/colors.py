"""Colours: images with three channels, red, green, blue in [0, 1], along the last axis unless `axis` is given."""

from __future__ import annotations

from tgc.nn.base import full_precision
from tgc.numpy.base import Array, axis_of, refuse
from tgc.numpy.elementwise import clip, equal, floor, logical_or, maximum, minimum, remainder, where
from tgc.numpy.manipulation import moveaxis, stack
from tgc.numpy.reductions import mean

__all__ = [
    "adjust_brightness", "adjust_contrast", "adjust_hue", "adjust_saturation", "hsv_to_rgb", "rgb_to_grayscale",
    "rgb_to_hsv",
]  # fmt: skip


def _channels(function: str, x: Array, axis: int) -> tuple[Array, Array, Array, int]:
    at = axis_of(function, x, axis)
    if x.shape[at] != 3:
        raise refuse(function, [x], f"axis {axis} must have three channels")
    last = moveaxis(x, at, -1)
    return last[..., 0], last[..., 1], last[..., 2], at


@full_precision
def rgb_to_grayscale(x: Array, *, axis: int = -1) -> Array:
    """The luma of ITU-R BT.601, 0.299 r + 0.587 g + 0.114 b: one channel.

    Raises:
        ShapeError: `axis` has not three channels.
    """
    r, g, b, at = _channels("rgb_to_grayscale", x, axis)
    return stack([r * 0.299 + g * 0.587 + b * 0.114], at)


@full_precision
def rgb_to_hsv(x: Array, *, axis: int = -1) -> Array:
    """Hue in [0, 1), saturation and value in [0, 1] (Smith, 1978); hue and saturation of grey, or black, are 0.

    Raises:
        ShapeError: `axis` has not three channels.
    """
    r, g, b, at = _channels("rgb_to_hsv", x, axis)
    value, low = maximum(maximum(r, g), b), minimum(minimum(r, g), b)
    chroma = value - low
    grey = equal(chroma, 0)
    safe = where(grey, 1, chroma)
    sector = where(equal(value, r), (g - b) / safe, where(equal(value, g), (b - r) / safe + 2, (r - g) / safe + 4))
    turns = where(grey, 0, sector) / 6
    hue = turns - floor(turns)
    none = logical_or(grey, equal(value, 0))
    return stack([hue, where(none, 0, chroma / where(none, 1, value)), value], at)


@full_precision
def hsv_to_rgb(x: Array, *, axis: int = -1) -> Array:
    """The inverse of `rgb_to_hsv`; hues repeat every 1.

    Raises:
        ShapeError: `axis` has not three channels.
    """
    h, s, v, at = _channels("hsv_to_rgb", x, axis)

    def channel(offset: int) -> Array:
        k = remainder(h * 6 + offset, 6)
        return v - v * s * clip(minimum(k, 4 - k), 0, 1)

    return stack([channel(n) for n in (5, 3, 1)], at)


@full_precision
def adjust_brightness(x: Array, delta: float) -> Array:
    """x + delta."""
    return x + delta


@full_precision
def adjust_contrast(x: Array, factor: float) -> Array:
    """Distances from the mean of each channel of each image [batch, height, width, channels] times `factor`."""
    middle = mean(x, (-3, -2), keepdims=True)
    return (x - middle) * factor + middle


@full_precision
def adjust_saturation(x: Array, factor: float, *, axis: int = -1) -> Array:
    """Saturation times `factor`, limited to [0, 1]."""
    h, s, v, at = _channels("adjust_saturation", rgb_to_hsv(x, axis=axis), axis)
    return hsv_to_rgb(stack([h, clip(s * factor, 0, 1), v], at), axis=at)


@full_precision
def adjust_hue(x: Array, delta: float, *, axis: int = -1) -> Array:
    """Hue moved on by `delta` turns."""
    h, s, v, at = _channels("adjust_hue", rgb_to_hsv(x, axis=axis), axis)
    return hsv_to_rgb(stack([h + delta, s, v], at), axis=at)
