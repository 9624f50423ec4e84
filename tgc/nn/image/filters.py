"""Blur."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tgc.errors import AttributeSpecError
from tgc.nn.base import channels_last, full_precision
from tgc.nn.convolution import depthwise_conv
from tgc.numpy.base import Array
from tgc.numpy.padding import pad

__all__ = ["gaussian_blur"]


@full_precision
def gaussian_blur(
    x: Array,
    sigma: float | Sequence[float],
    size: int | Sequence[int] | None = None,
    *,
    mode: str = "reflect",
    data_format: str = "NHWC",
) -> Array:
    """Each channel convolved with a normalized Gaussian of standard deviation `sigma` pixels, one for each axis or all.

    Args:
        size: odd numbers of taps, one for each axis or all; 2 * ceil(3 * sigma) + 1 unless given.
        mode: how the image goes on around itself, as in `tgc.numpy.pad`.

    Raises:
        AttributeSpecError: sigma is not positive, or a size is even.
    """
    x, back = channels_last("gaussian_blur", x, data_format)
    rank = x.ndim - 2
    widths = [float(s) for s in (sigma if isinstance(sigma, Sequence) else [sigma] * rank)]
    counts = [2 * int(np.ceil(3 * s)) + 1 for s in widths] if size is None else size
    taps = [counts] * rank if isinstance(counts, int) else list(counts)
    if len(widths) != rank or len(taps) != rank or min(widths) <= 0 or any(k < 1 or k % 2 == 0 for k in taps):
        raise AttributeSpecError(f"gaussian_blur: needs {rank} positive deviations and odd sizes, got {sigma}, {size}")
    for a, (s, k) in enumerate(zip(widths, taps, strict=True)):
        weights = np.exp(-0.5 * ((np.arange(k) - k // 2) / s) ** 2)
        shape = [k if b == a else 1 for b in range(rank)]
        kernel = np.broadcast_to((weights / weights.sum()).reshape(*shape, 1, 1), (*shape, x.shape[-1], 1))
        around = [(k // 2, k // 2) if b == a + 1 else (0, 0) for b in range(x.ndim)]
        x = depthwise_conv(pad(x, around, mode), np.ascontiguousarray(kernel, x.dtype))
    return back(x)
