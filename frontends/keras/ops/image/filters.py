"""Blur, and edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tgc import nn
from tgc import numpy as tnp
from tgc.frontends.keras.ops.image.arguments import batch_of, in_floats
from tgc.frontends.keras.ops.tensors import Tensor

__all__ = ["gaussian_blur", "sobel_edges"]

_ACROSS = np.outer([1, 2, 1], [-1, 0, 1])
_SOBEL = np.stack([_ACROSS.T, _ACROSS], -1)  # [row, column, (dy, dx)]


def gaussian_blur(
    images: Tensor,
    kernel_size: Sequence[int] = (3, 3),
    sigma: Any = (1.0, 1.0),
    data_format: str | None = None,
) -> Tensor:
    """Images blurred by (columns, rows) of a kernel and of deviations, with zeros around them."""
    x, back = batch_of("gaussian_blur", images, data_format)
    columns, rows = (int(k) for k in kernel_size)
    across, down = sigma[0], sigma[1]
    return back(in_floats(lambda x: nn.image.gaussian_blur(x, (down, across), (rows, columns), mode="constant"), x))


def sobel_edges(images: Tensor, data_format: str | None = None) -> Tensor:
    """The images' slopes (down, across) in one more axis, by Sobel's filters, with zeros around the images."""
    x, _ = batch_of("sobel_edges", images, data_format)
    kernel = np.repeat(_SOBEL[:, :, None], x.shape[-1], 2)

    def slopes(x: Tensor) -> Tensor:
        return nn.depthwise_conv(x, kernel.astype(x.dtype), padding="same")

    edges = tnp.reshape(in_floats(slopes, x), (*x.shape, 2))
    return edges if data_format != "channels_first" else tnp.moveaxis(edges, 3, 1)
