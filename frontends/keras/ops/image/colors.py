"""Colours."""

from __future__ import annotations

from collections.abc import Callable

from keras.src import backend

from tgc import numpy as tnp
from tgc.frontends.keras.ops.image.arguments import check_rank
from tgc.frontends.keras.ops.promotion import result_type
from tgc.frontends.keras.ops.tensors import Tensor, cast, convert_to_tensor
from tgc.nn import image
from tgc.types import is_float

__all__ = ["hsv_to_rgb", "rgb_to_grayscale", "rgb_to_hsv"]

_LUMA = (0.2989, 0.5870, 0.1140)  # Keras's digits, which are TensorFlow's


def _axis(images: Tensor, data_format: str | None) -> int:
    """The axis of the channels."""
    check_rank(images)
    return -1 if backend.standardize_data_format(data_format) == "channels_last" else -3


def rgb_to_grayscale(images: Tensor, data_format: str | None = None) -> Tensor:
    """Luma as the only channel; images with one channel stay what they are."""
    images = convert_to_tensor(images)
    axis = _axis(images, data_format)
    if images.shape[axis] not in (1, 3):
        raise ValueError(
            "Invalid channel size: expected 3 (RGB) or 1 (Grayscale). Received input with shape: "
            f"images.shape={images.shape}"
        )
    if images.shape[axis] == 1:
        return images
    x = tnp.moveaxis(cast(images, result_type(images, float)), axis, -1)
    luma = tnp.sum(x * tnp.asarray(_LUMA, dtype=x.dtype), -1, keepdims=True)
    return cast(tnp.moveaxis(luma, -1, axis), images.dtype)


def _converted(function: Callable[..., Tensor], images: Tensor, data_format: str | None) -> Tensor:
    images = convert_to_tensor(images)
    axis = _axis(images, data_format)
    if not is_float(images.dtype):
        raise ValueError(f"Invalid images dtype: expected float dtype. Received: images.dtype={images.dtype}")
    return function(images, axis=axis)


def rgb_to_hsv(images: Tensor, data_format: str | None = None) -> Tensor:
    """Hue, saturation and value, all in [0, 1], of colours in [0, 1]."""
    return _converted(image.rgb_to_hsv, images, data_format)


def hsv_to_rgb(images: Tensor, data_format: str | None = None) -> Tensor:
    """The inverse of `rgb_to_hsv`."""
    return _converted(image.hsv_to_rgb, images, data_format)
