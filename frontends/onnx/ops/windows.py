"""How ONNX says where the windows of convolutions and pools lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tgc.frontends.onnx.errors import InvalidModelError
from tgc.nn.base import same_padding
from tgc.ops.window import window_shape

Pairs = tuple[tuple[int, int], ...]


class Windows(NamedTuple):
    """Windows over spatial axes: an entry for each axis, padding as (low, high)."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: Pairs

    @property
    def reach(self) -> tuple[int, ...]:
        """How many elements each window spans."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.size, self.dilation, strict=True))

    def grid(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """How many windows there are along each axis."""
        return window_shape(sizes, self.size, self.stride, self.padding, self.dilation)


def pairs(rank: int, pads: Sequence[int] | None) -> Pairs:
    """ONNX's padding, all low ends first, as (low, high) for each of `rank` axes.

    Raises:
        InvalidModelError: there are not two numbers an axis.
    """
    flat = (0,) * (2 * rank) if pads is None else tuple(pads)
    if len(flat) != 2 * rank:
        raise InvalidModelError(f"pads {flat} are not two numbers for each of {rank} spatial axes")
    return tuple(zip(flat[:rank], flat[rank:], strict=True))


def windows(
    sizes: Sequence[int],
    kernel: Sequence[int],
    *,
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    auto_pad: str = "NOTSET",
) -> Windows:
    """Windows of `kernel` over axes of `sizes`, from ONNX's attributes.

    Raises:
        InvalidModelError: an attribute has not one entry an axis, or there is no such `auto_pad`.
    """
    rank = len(sizes)
    ones = (1,) * rank
    made = Windows(tuple(kernel), tuple(strides or ones), tuple(dilations or ones), ((0, 0),) * rank)
    for name, value in (("kernel_shape", made.size), ("strides", made.stride), ("dilations", made.dilation)):
        if len(value) != rank or min(value) < 1:
            raise InvalidModelError(f"{name} {value} is not a positive number for each of {rank} spatial axes")
    match auto_pad:
        case "NOTSET":
            padding = pairs(rank, pads)
        case "VALID":
            padding = made.padding
        case "SAME_UPPER" | "SAME_LOWER":
            known = [int(n) for n in sizes]  # padding is numbers: open sizes are pinned to what they are
            padding = same_padding(known, made.reach, made.stride)
            padding = padding if auto_pad == "SAME_UPPER" else tuple((high, low) for low, high in padding)
        case _:
            raise InvalidModelError(f"auto_pad is NOTSET, VALID, SAME_UPPER or SAME_LOWER, not {auto_pad}")
    return made._replace(padding=padding)
