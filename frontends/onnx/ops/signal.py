"""Fourier transforms, windows, and the mel scale. Complex numbers are pairs of floats along the last axis."""

from __future__ import annotations

import numpy as np

from tgc import numpy as tnp
from tgc.frontends.onnx.errors import InvalidModelError
from tgc.frontends.onnx.formats import dtype_of
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Array, Tensor
from tgc.types import F32, F64


def _transformed(x: Tensor, n: int | None, axis: int, inverse: bool, onesided: bool) -> Tensor:
    """The transform along an axis of `x` [..., 1] of real, or [..., 2] of complex numbers; `onesided`: its first half.

    The inverse from one half is real.
    """
    if not -x.ndim <= axis < x.ndim or axis % x.ndim == x.ndim - 1:
        raise InvalidModelError(f"axis {axis} is none of a signal of shape {tuple(x.shape)}")
    wide = x if x.dtype == F64 else tnp.astype(x, F32)
    axis %= x.ndim
    real = x.shape[-1] == 1
    signal = wide[..., 0] if real else wide[..., 0] + 1j * wide[..., 1]
    if inverse and onesided:
        return tnp.astype(tnp.fft.irfft(signal, n, axis), x.dtype)[..., None]
    if real and onesided:
        y = tnp.fft.rfft(signal, n, axis)
    else:
        y = (tnp.fft.ifft if inverse else tnp.fft.fft)(signal, n, axis)
        if onesided:
            y = y[(*[slice(None)] * axis, slice(y.shape[axis] // 2 + 1))]
    return tnp.astype(tnp.stack([tnp.real(y), tnp.imag(y)], -1), x.dtype)


def _number(x: Array | None) -> int | None:
    """A scalar operand, which may also be an array of one element."""
    return None if x is None else int(np.reshape(x, ()).item())


@converts("DFT", since=20, static=["dft_length", "axis"])
def dft(
    x: Tensor,
    dft_length: Array | None = None,
    axis: Array | None = None,
    /,
    *,
    inverse: int = 0,
    onesided: int = 0,
) -> Tensor:
    """ONNX DFT along `axis` (-2 unless given), cut to `dft_length` elements or continued with zeros."""
    at = _number(axis)
    return _transformed(x, _number(dft_length), -2 if at is None else at, bool(inverse), bool(onesided))


@converts("DFT", since=17, static=["dft_length"])
def dft_17(
    x: Tensor, dft_length: Array | None = None, /, *, axis: int = 1, inverse: int = 0, onesided: int = 0
) -> Tensor:
    """ONNX DFT up to version 19, with the axis as an attribute."""
    return _transformed(x, _number(dft_length), axis, bool(inverse), bool(onesided))


@converts("STFT", since=17, static=["frame_step", "frame_length"])
def stft(
    x: Tensor,
    frame_step: Array,
    window: Tensor | None = None,
    frame_length: Array | None = None,
    /,
    *,
    onesided: int = 1,
) -> Tensor:
    """ONNX STFT: [batch, time, 1 or 2] to [batch, frames, frequencies, 2]."""
    step, length = _number(frame_step), _number(frame_length)
    if length is None:
        length = x.shape[1] if window is None else window.shape[0]
    if not step or step < 1 or not 1 <= length <= x.shape[1]:
        raise InvalidModelError(f"frames of {length} elements every {step} do not fit a signal of {x.shape[1]}")
    places = np.arange((x.shape[1] - length) // step + 1)[:, None] * step + np.arange(length)
    frames = tnp.take(x, places, 1)  # [batch, frames, length, 1 or 2]
    if window is not None:
        frames = frames * tnp.reshape(window, (-1, 1))
    return _transformed(frames, length, 2, inverse=False, onesided=bool(onesided))


# weights of the cosines of 0, 1 and 2 periods
WINDOWS = {"HannWindow": (0.5, -0.5), "HammingWindow": (25 / 46, -21 / 46), "BlackmanWindow": (0.42, -0.5, 0.08)}


def _window(name: str, weights: tuple[float, ...]) -> None:
    @converts(name, since=17, static=["size"])
    def window(size: Array, /, *, periodic: int = 1, output_datatype: int = 1) -> Array:
        count = _number(size) or 0
        angles = 2 * np.pi * np.arange(count) / max(count if periodic else count - 1, 1)
        made = np.sum([w * np.cos(k * angles) for k, w in enumerate(weights)], axis=0)
        return np.asarray(made, dtype_of(output_datatype))

    window.__doc__ = f"ONNX {name}: `periodic` over its size, or symmetric."


for _name, _weights in WINDOWS.items():
    _window(_name, _weights)


@converts(
    "MelWeightMatrix",
    since=17,
    static=["num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz"],
)
def mel_weight_matrix(
    num_mel_bins: Array,
    dft_length: Array,
    sample_rate: Array,
    lower_edge_hertz: Array,
    upper_edge_hertz: Array,
    /,
    *,
    output_datatype: int = 1,
) -> Array:
    """ONNX MelWeightMatrix: [frequencies, mel bins], triangles whose corners are equally spaced on the mel scale."""
    bins, length = _number(num_mel_bins) or 0, _number(dft_length) or 0
    edges = (float(np.reshape(v, ()).item()) for v in (lower_edge_hertz, upper_edge_hertz))
    low, high = (2595 * np.log10(1 + edge / 700) for edge in edges)
    mels = low + np.arange(bins + 2) * ((high - low) / (bins + 2))
    corners = np.floor((length + 1) * 700 * (10 ** (mels / 2595) - 1) / float(_number(sample_rate) or 1)).astype(int)
    left, center, right = corners[:-2], corners[1:-1], corners[2:]
    at = np.arange(length // 2 + 1)[:, None]
    rising = np.where(at <= center, (at - left) / np.maximum(center - left, 1), np.inf)
    falling = (right - at) / np.maximum(right - center, 1)
    falling = np.where((at < center) | ((at == center) & (right == center)), np.inf, falling)
    rising = np.where((at == center) & (left == center), 1, rising)
    return np.asarray(np.clip(np.minimum(rising, falling), 0, 1), dtype_of(output_datatype))
