"""Keras's `math`: segments, the largest elements, Fourier transforms of pairs of real tensors, special functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from keras.src.backend.common import standardize_dtype

from tgc import nn
from tgc import numpy as tnp
from tgc.frontends.keras.ops.linalg import single
from tgc.frontends.keras.ops.promotion import floating, reduction
from tgc.frontends.keras.ops.tensors import Tensor, cast, convert_to_tensor
from tgc.numpy import linalg
from tgc.numpy.base import concrete
from tgc.ops.elementwise import complex_
from tgc.ops.elementwise import rsqrt as _rsqrt
from tgc.types import BF16, F16, F32, is_float

erf = floating(tnp.erf)
erfc = floating(tnp.erfc)
erfinv = floating(tnp.erfinv)
rsqrt = floating(_rsqrt)
logsumexp = floating(reduction(nn.logsumexp))
logdet = single(lambda x: linalg.slogdet(x)[1])


def _cdist(x: Tensor, y: Tensor) -> Tensor:
    """The distance of each row of `x` [..., m, k] from each row of `y` [..., n, k]: [..., m, n]."""
    if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-1]:
        raise ValueError(f"`cdist` takes tensors of rows of the same length, not of shapes {x.shape} and {y.shape}")
    difference = x[..., :, None, :] - y[..., None, :, :]
    return tnp.sqrt(tnp.sum(difference * difference, -1))


cdist = floating(_cdist, 2)


# ---------------------------------------------------------------------------------------------------------- segments


def _lowest(dtype: Any) -> Any:
    return -math.inf if is_float(dtype) else tnp.iinfo(dtype).min


def _highest(dtype: Any) -> Any:
    return math.inf if is_float(dtype) else tnp.iinfo(dtype).max


def _segments(name: str, method: str, neutral: Callable[[Any], Any]) -> Callable[..., Tensor]:
    """A reduction of the rows of each segment; rows whose segment does not exist are left out."""

    def reduced(data: Tensor, segment_ids: Tensor, num_segments: int | None = None, sorted: bool = False) -> Tensor:
        data, ids = convert_to_tensor(data), convert_to_tensor(segment_ids)
        if num_segments is None:
            (known,) = concrete(name, ids, instead="pass num_segments")
            num_segments = int(known.max()) + 1
        places = tnp.where(tnp.logical_and(ids >= 0, ids < num_segments), ids, num_segments)
        start = tnp.full((num_segments + 1, *data.shape[1:]), neutral(data.dtype), data.dtype)
        updated: Tensor = getattr(tnp.at(start)[places], method)(data)
        return updated[:num_segments]

    reduced.__name__ = reduced.__qualname__ = name
    return reduced


segment_sum = _segments("segment_sum", "add", lambda dtype: 0)
segment_prod = _segments("segment_prod", "multiply", lambda dtype: 1)
segment_max = _segments("segment_max", "max", _lowest)
segment_min = _segments("segment_min", "min", _highest)


# --------------------------------------------------------------------------------------------------- largest elements


def top_k(x: Tensor, k: int, sorted: bool = True) -> tuple[Tensor, Tensor]:
    """The `k` largest elements along the last axis, in order in any case, and their places (int32)."""
    values, places = tnp.top_k(convert_to_tensor(x), k)
    return values, cast(places, "int32")


def in_top_k(targets: Tensor, predictions: Tensor, k: int) -> Tensor:
    """bool[batch]: whether fewer than `k` of the predictions [batch, classes] exceed the target's; not if it is NaN."""
    targets, predictions = convert_to_tensor(targets), convert_to_tensor(predictions)
    own = tnp.take_along_axis(predictions, targets[..., None], -1)
    own = tnp.where(tnp.isnan(own), -math.inf, own)
    return tnp.count_nonzero(predictions > own, -1) < k


# -------------------------------------------------------------------------------------------------- Fourier transforms


def _complex(x: Any) -> Tensor:
    """A complex tensor from a pair of real ones."""
    if not isinstance(x, tuple | list) or len(x) != 2:
        raise ValueError(f"Input `x` should be a tuple of two tensors - real and imaginary. Received: x={x}")
    real, imag = map(convert_to_tensor, x)
    if real.shape != imag.shape:
        raise ValueError(
            "Input `x` should be a tuple of two tensors - real and imaginary. Both the real and imaginary parts should "
            f"have the same shape. Received: x[0].shape = {real.shape}, x[1].shape = {imag.shape}"
        )
    if not is_float(real.dtype) or not is_float(imag.dtype):
        raise ValueError(f"At least one tensor in input `x` is not of type float. Received: x={x}.")
    wide = np.result_type(F32, *(p.dtype for p in (real, imag) if p.dtype not in (F16, BF16)))
    return complex_(cast(real, wide), cast(imag, wide))


_get_complex_tensor_from_tuple = _complex  # by this name Keras's `polar` asks for it


def _parts(z: Tensor) -> tuple[Tensor, Tensor]:
    return tnp.real(z), tnp.imag(z)


def fft(x: Any) -> tuple[Tensor, Tensor]:
    """The transform along the last axis, of a pair and as a pair."""
    return _parts(tnp.fft.fft(_complex(x)))


def fft2(x: Any) -> tuple[Tensor, Tensor]:
    """The transform along the last two axes, of a pair and as a pair."""
    return _parts(tnp.fft.fft2(_complex(x)))


def ifft2(x: Any) -> tuple[Tensor, Tensor]:
    """The inverse of `fft2`."""
    return _parts(tnp.fft.ifft2(_complex(x)))


def rfft(x: Tensor, fft_length: int | None = None) -> tuple[Tensor, Tensor]:
    """The first half of the transform of real numbers, as a pair."""
    return _parts(tnp.fft.rfft(convert_to_tensor(x), fft_length))


def irfft(x: Any, fft_length: int | None = None) -> Tensor:
    """The inverse of `rfft`, of a pair."""
    return tnp.fft.irfft(_complex(x), fft_length)


# ----------------------------------------------------------------------------------------- windows that slide over time

_COSINE = {"hann": 0.5, "hamming": 0.54}  # a of the periodic windows a - (1 - a) cos(2 pi k / n)


def extract_sequences(x: Tensor, sequence_length: int, sequence_stride: int) -> Tensor:
    """[..., sequences, sequence_length]: what a window sees that moves along the last axis."""
    x = convert_to_tensor(x)
    count = 1 + (x.shape[-1] - sequence_length) // sequence_stride
    places = tnp.arange(count)[:, None] * sequence_stride + tnp.arange(sequence_length)
    return tnp.take(x, places, -1)


def _window(window: Any, length: int, fft_length: int, dtype: Any) -> Tensor:
    """[fft_length]: a window in the middle of zeros; ones everywhere for None."""
    if window is None:
        return tnp.ones(fft_length, dtype)
    if isinstance(window, str):
        if window not in _COSINE:
            raise ValueError(
                f'If a string is passed to `window`, it must be one of `"hann"`, `"hamming"`. Received: window={window}'
            )
        a = _COSINE[window]
        window = a - (1 - a) * np.cos(2 * math.pi * np.arange(length) / length)
    taps = convert_to_tensor(window, dtype)
    if taps.shape != (length,):
        raise ValueError(
            f"The shape of `window` must be equal to [sequence_length]. Received: window shape={taps.shape}"
        )
    before = (fft_length - length) // 2
    return tnp.pad(taps, (before, fft_length - length - before))


def stft(
    x: Tensor, sequence_length: int, sequence_stride: int, fft_length: int, window: Any = "hann", center: bool = True
) -> tuple[Tensor, Tensor]:
    """[..., sequences, fft_length // 2 + 1]: `rfft` of each of the windows along the last axis, as a pair."""
    x = convert_to_tensor(x)
    if standardize_dtype(x.dtype) not in ("float32", "float64"):
        raise TypeError(f"Invalid input type. Expected `float32` or `float64`. Received: input type={x.dtype}")
    if fft_length < sequence_length:
        raise ValueError(
            "`fft_length` must equal or larger than `sequence_length`. "
            f"Received: sequence_length={sequence_length}, fft_length={fft_length}"
        )
    taps = _window(window, sequence_length, fft_length, x.dtype)
    if center:
        x = tnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(fft_length // 2,) * 2], "reflect")
    return _parts(tnp.fft.rfft(extract_sequences(x, fft_length, sequence_stride) * taps))


def istft(
    x: Any,
    sequence_length: int,
    sequence_stride: int,
    fft_length: int,
    length: int | None = None,
    window: Any = "hann",
    center: bool = True,
) -> Tensor:
    """The inverse of `stft`: sequences are summed where they overlap, and the squares of the windows divided out."""
    sequences = tnp.fft.irfft(_complex(x), fft_length)
    if sequences.ndim < 2:
        raise ValueError(f"Input `x` must have at least 2 dimensions. Received shape: {sequences.shape}")
    taps = _window(window, sequence_length, fft_length, sequences.dtype)
    if window is None:
        signal = _overlapped(sequences, sequence_stride)
    else:
        weight = _overlapped(tnp.broadcast_to(taps * taps, sequences.shape[-2:]), sequence_stride)
        signal = _overlapped(sequences * taps, sequence_stride) / tnp.where(weight > 1e-10, weight, 1)
    start = fft_length // 2 if center else 0
    end = signal.shape[-1] - start if length is None else start + length
    return signal[..., start:end]


def _overlapped(sequences: Tensor, stride: int) -> Tensor:
    """The sum of `sequences` [..., count, length], each beginning `stride` elements after the one before it."""
    *lead, count, length = sequences.shape
    pieces = -(-length // stride)
    even = [(0, 0)] * len(lead)
    padded = tnp.pad(sequences, [*even, (0, 0), (0, pieces * stride - length)])
    cut = tnp.reshape(padded, (*lead, count, pieces, stride))
    total = sum(tnp.pad(cut[..., k, :], [*even, (k, pieces - 1 - k), (0, 0)]) for k in range(pieces))
    return tnp.reshape(total, (*lead, -1))[..., : length + stride * (count - 1)]
