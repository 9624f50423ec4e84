"""Keras's data formats as those of `tgc.nn`."""

from __future__ import annotations

from collections.abc import Callable

from keras.src import backend

from tgc.frontends.keras.ops.tensors import Tensor
from tgc.nn.base import channels_last

_FORMATS = {"channels_last": "NHWC", "channels_first": "NCHW"}


def format_of(data_format: str | None) -> str:
    """ "NHWC" or "NCHW"; Keras's default for None."""
    return _FORMATS[backend.standardize_data_format(data_format)]


def last(function: str, x: Tensor, data_format: str | None) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """`x` with its channels last, and what brings a result back into its format: kernels of Keras are HWIO in both."""
    return channels_last(function, x, format_of(data_format))
