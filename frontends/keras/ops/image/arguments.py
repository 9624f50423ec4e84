"""What the image ops share: reading of their arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tgc import numpy as tnp
from tgc.frontends.keras.ops.nn.formats import format_of
from tgc.frontends.keras.ops.tensors import Tensor, cast, convert_to_tensor
from tgc.nn.base import channels_last
from tgc.types import is_float


def check_rank(images: Tensor) -> None:
    """Refuse what is neither an image nor a batch of images.

    Raises:
        ValueError: it has neither three axes nor four.
    """
    if len(images.shape) not in (3, 4):
        raise ValueError(
            "Invalid images rank: expected rank 3 (single image) or rank 4 (batch of images). Received input with "
            f"shape: images.shape={images.shape}"
        )


def batch_of(function: str, images: Any, data_format: str | None) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """`images` as [batch, height, width, channels], and what brings a result back into their form."""
    images = convert_to_tensor(images)
    check_rank(images)
    one = len(images.shape) == 3
    x, back = channels_last(function, images[None] if one else images, format_of(data_format))
    return x, (lambda y: back(y)[0]) if one else back


def check_choice(argument: str, value: Any, choices: Iterable[Any]) -> None:
    """Refuse a value that is not among the choices for an argument.

    Raises:
        ValueError: it is not.
    """
    if value not in choices:
        raise ValueError(
            f"Invalid value for argument `{argument}`. Expected of one {set(choices)}. Received: {argument}={value}"
        )


def in_floats(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`function` of `x` in x's dtype; of integers it is computed in floats, rounded and brought into their range."""
    if is_float(x.dtype):
        return function(x)
    y = function(cast(x, np.result_type(x.dtype, np.float32)))
    if x.dtype == bool:
        return y > 0.5
    limits = tnp.iinfo(x.dtype)
    return cast(tnp.clip(tnp.rint(y), limits.min, limits.max), x.dtype)
