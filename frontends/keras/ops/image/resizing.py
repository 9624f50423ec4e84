"""Resizing, and what it is made of."""

from __future__ import annotations

from collections.abc import Sequence

from tgc import numpy as tnp
from tgc.frontends.keras.ops.image.arguments import batch_of, check_choice, in_floats
from tgc.frontends.keras.ops.tensors import Tensor, convert_to_tensor
from tgc.nn import image

__all__ = ["resize", "scale_and_translate"]

_INTERPOLATIONS = ("bilinear", "nearest", "lanczos3", "lanczos5", "bicubic")
_METHODS = {
    **dict.fromkeys(("linear", "bilinear", "trilinear"), "linear"),
    **dict.fromkeys(("cubic", "bicubic", "tricubic"), "cubic"),
    "lanczos3": "lanczos3",
    "lanczos5": "lanczos5",
}


def _cropped(x: Tensor, size: Sequence[int]) -> Tensor:
    """The largest part in the middle of the images that has the aspect ratio of `size`."""
    height, width = x.shape[1:3]
    high = max(min(height, int(width * size[0] / size[1])), 1)
    wide = max(min(width, int(height * size[1] / size[0])), 1)
    top, left = int((height - high) / 2), int((width - wide) / 2)
    return x[:, top : top + high, left : left + wide]


def _padded(x: Tensor, size: Sequence[int], fill: float) -> Tensor:
    """The images with a border on two sides that gives them the aspect ratio of `size`."""
    height, width = x.shape[1:3]
    top = int((max(height, int(width * size[0] / size[1])) - height) / 2)
    left = int((max(width, int(height * size[1] / size[0])) - width) / 2)
    sides = [(0, 0), (top, top), (0, 0) if top else (left, left), (0, 0)]
    return tnp.pad(x, sides, constant_values=fill)


def resize(
    images: Tensor,
    size: Sequence[int],
    interpolation: str = "bilinear",
    antialias: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    data_format: str | None = None,
) -> Tensor:
    """Images of another `size` (height, width), in their dtype."""
    check_choice("interpolation", interpolation, _INTERPOLATIONS)
    check_choice("fill_mode", fill_mode, ("constant",))
    if pad_to_aspect_ratio and crop_to_aspect_ratio:
        raise ValueError("Only one of `pad_to_aspect_ratio` & `crop_to_aspect_ratio` can be `True`.")
    if len(size) != 2:
        raise ValueError(f"Argument `size` must be a tuple of two elements (height, width). Received: size={size}")
    x, back = batch_of("resize", images, data_format)
    if crop_to_aspect_ratio:
        x = _cropped(x, size)
    elif pad_to_aspect_ratio:
        x = _padded(x, size, fill_value)
    shape = (x.shape[0], *size, x.shape[-1])
    if interpolation == "nearest" or x.shape[1:3] == tuple(size):
        return back(image.resize(x, shape, "nearest"))
    return back(in_floats(lambda x: image.resize(x, shape, interpolation, antialias=antialias), x))


def scale_and_translate(
    images: Tensor,
    output_shape: Sequence[int],
    scale: Tensor,
    translation: Tensor,
    spatial_dims: Sequence[int],
    method: str,
    antialias: bool = True,
) -> Tensor:
    """Images [any axes] scaled and moved along `spatial_dims`: place p of an axis goes to scale * p + translation."""
    check_choice("method", method, _METHODS)
    x, scale, translation = (convert_to_tensor(v) for v in (images, scale, translation))
    axes = [a % x.ndim for a in spatial_dims]
    scales, moves = ([v[k] for k in range(len(axes))] for v in (scale, translation))

    def moved(x: Tensor) -> Tensor:
        return image.scale_and_translate(x, output_shape, axes, scales, moves, _METHODS[method], antialias=antialias)

    return in_floats(moved, x)
