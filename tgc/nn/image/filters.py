"""Blur."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tgc.errors import AttributeSpecError
from tgc.nn.base import channels_last, full_precision
from tgc.nn.convolution import depthwise_conv
from tgc.numpy.base import Array, along, as_array
from tgc.numpy.creation import arange
from tgc.numpy.elementwise import exp
from tgc.numpy.padding import pad
from tgc.numpy.reductions import sum
from tgc.ops.arithmetic import as_tensor
from tgc.trace import Tracer

__all__ = ["gaussian_blur"]


@full_precision
def gaussian_blur(
    x: Array,
    sigma: Any,
    size: int | Sequence[int] | None = None,
    *,
    mode: str = "reflect",
    data_format: str = "NHWC",
) -> Array:
    """Each channel convolved with a normalized Gaussian of standard deviation `sigma` pixels, one for each axis or all.

    Args:
        sigma: a number or a sequence of them; they may be traced if there is a `size`.
        size: numbers of taps, one for each axis or all; 2 * ceil(3 * sigma) + 1 unless given. The middle of an even
            number lies between two pixels, half a pixel behind the result's.
        mode: how the image goes on around itself, as in `tgc.numpy.pad`.

    Raises:
        AttributeSpecError: sigma is not positive, as far as that is known, or there is not one for each axis.
    """
    x, back = channels_last("gaussian_blur", x, data_format)
    rank = x.ndim - 2
    widths = list(sigma) if isinstance(sigma, Sequence) else [sigma] * rank
    known = [float(s) for s in widths if not isinstance(s, Tracer)]
    if size is None and len(known) < len(widths):
        raise AttributeSpecError("gaussian_blur: of a traced sigma the size of the kernel must be given")
    counts = [2 * math.ceil(3 * s) + 1 for s in known] if size is None else size
    taps = [counts] * rank if isinstance(counts, int) else list(counts)
    if len(widths) != rank or len(taps) != rank or min(known, default=1) <= 0 or min(taps) < 1:
        raise AttributeSpecError(
            f"gaussian_blur: needs {rank} positive deviations and positive sizes, got {sigma}, {size}"
        )
    for a, (s, k) in enumerate(zip(widths, taps, strict=True)):
        places = (arange(k, dtype=x.dtype) - (k - 1) / 2) / as_tensor(as_array(s), x.dtype)
        weights = exp(places * places * -0.5)
        shape = [k if b == a else 1 for b in range(rank)]
        kernel = along(weights / sum(weights), [a], (*shape, x.shape[-1], 1))
        around = [((k - 1) // 2, k // 2) if b == a + 1 else (0, 0) for b in range(x.ndim)]
        x = depthwise_conv(pad(x, around, mode), kernel)
    return back(x)
