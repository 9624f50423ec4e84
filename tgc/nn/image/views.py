"""Parts and mirror images of [batch, height, width, channels]."""

from __future__ import annotations

from tgc.numpy.base import Array, ArrayLike, as_array, refuse
from tgc.numpy.manipulation import flip

__all__ = ["center_crop", "crop", "flip_left_right", "flip_up_down"]


def crop(x: ArrayLike, top: int, left: int, height: int, width: int) -> Array:
    """The rectangle of `height` x `width` pixels whose first is (top, left).

    Raises:
        ShapeError: it does not lie in the image.
    """
    x = as_array(x)
    if x.ndim != 4 or min(top, left, height, width) < 0 or top + height > x.shape[1] or left + width > x.shape[2]:
        raise refuse(
            "crop", [x], f"no rectangle of {height} x {width} at ({top}, {left}) in [batch, height, width, ...]"
        )
    return x[:, top : top + height, left : left + width]


def center_crop(x: ArrayLike, height: int, width: int) -> Array:
    """The middle rectangle of `height` x `width` pixels, one nearer to the first where two are.

    Raises:
        ShapeError: the image is smaller.
    """
    x = as_array(x)
    if x.ndim != 4 or height > x.shape[1] or width > x.shape[2]:
        raise refuse("center_crop", [x], f"no rectangle of {height} x {width} in the image")
    return crop(x, (x.shape[1] - height) // 2, (x.shape[2] - width) // 2, height, width)


def flip_left_right(x: ArrayLike) -> Array:
    """Columns in reverse order."""
    return flip(x, 2)


def flip_up_down(x: ArrayLike) -> Array:
    """Rows in reverse order."""
    return flip(x, 1)
