"""NumPy's `fft`: discrete Fourier transforms, their frequencies, and shifts of the zero frequency.

Results are single precision for float16, bfloat16, float32 and complex64, double for all other dtypes. The mode `norm`
says which way is scaled: "backward" (None) the inverse by 1/n, "forward" the forward one by 1/n, "ortho" both by
1/sqrt(n). Every transform has a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tgc.errors import AttributeSpecError, DTypeError
from tgc.numpy.base import (
    Array,
    ArrayLike,
    Axes,
    DTypeLike,
    as_array,
    axes_of,
    axis_of,
    check_device,
    describe,
    refuse,
    replace,
    static,
)
from tgc.numpy.manipulation import moveaxis, roll
from tgc.ops import arithmetic, elementwise, movement
from tgc.ops import fft as ops
from tgc.types import F64, as_dtype, complex_dtype, is_complex, is_float, real_dtype

__all__ = [
    "fft", "fft2", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifft2", "ifftn", "ifftshift", "ihfft", "irfft",
    "irfft2", "irfftn", "rfft", "rfft2", "rfftfreq", "rfftn",
]  # fmt: skip

_OTHER_WAY = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


def _mode(function: str, norm: str | None) -> str:
    if norm is not None and norm not in _OTHER_WAY:
        raise AttributeSpecError(f"{function}: norm is backward, ortho or forward, not {norm!r}")
    return norm or "backward"


def _complex(x: Array) -> Array:
    return arithmetic.as_tensor(x, complex_dtype(x.dtype))


def _real(function: str, x: Array) -> Array:
    if is_complex(x.dtype):
        raise DTypeError(f"{function}({describe(x)}) takes real numbers; take their real part first")
    return arithmetic.as_tensor(x, real_dtype(complex_dtype(x.dtype)))


def _resized(function: str, x: Array, axis: int, n: int) -> Array:
    """The first n elements along an axis, zeros in place of those missing."""
    size = x.shape[axis]
    if n < 1:
        raise refuse(function, [x], f"a transform needs at least one element along axis {axis}, not {n}")
    if n < size:
        return movement.slice_(x, start=[0] * x.ndim, stop=replace(x.shape, axis, n), step=[1] * x.ndim)
    none = [0] * x.ndim
    return movement.pad(x, low=none, high=replace(none, axis, n - size), interior=none, value=0) if n > size else x


def _length(function: str, n: int | None, default: int) -> int:
    if n is None:
        return default
    (n,) = static(function, n)
    if isinstance(n, bool) or not isinstance(n, int):
        raise AttributeSpecError(f"{function}: the number of elements is an int, not {n!r}")
    return n


def _transform(function: str, kind: str, a: Array, n: int | None, axis: int, norm: str | None) -> Array:
    """One of the ops along one axis: "fft", "ifft", "rfft" or "irfft"."""
    mode = _mode(function, norm)
    axis = axis_of(function, a, axis)
    x = _real(function, a) if kind == "rfft" else _complex(a)
    n = _length(function, n, 2 * (x.shape[axis] - 1) if kind == "irfft" else x.shape[axis])
    if n < 1:
        raise refuse(function, [a], f"a transform needs at least one element along axis {axis}, not {n}")
    x = moveaxis(_resized(function, x, axis, n // 2 + 1 if kind == "irfft" else n), axis, -1)
    if kind == "rfft":
        y = ops.rfft(x)
    else:
        y = ops.irfft(x, n=n) if kind == "irfft" else ops.fft(x, inverse=kind == "ifft")
    scaled = "backward" if kind in ("ifft", "irfft") else "forward"
    y = y if mode not in (scaled, "ortho") else arithmetic.multiply(y, 1 / (n if mode == scaled else math.sqrt(n)))
    return moveaxis(y, -1, axis)


def _one(name: str, doc: str) -> Callable[..., Array]:
    def function(a: ArrayLike, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
        return _transform(name, name, as_array(a), n, axis, norm)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


fft = _one("fft", "The transform along an axis, cut to `n` elements or continued with zeros.")
ifft = _one("ifft", "The inverse of `fft`.")
rfft = _one("rfft", "The first n // 2 + 1 elements of the transform of real numbers; the others are their conjugates.")
irfft = _one("irfft", "The inverse of `rfft`: `n` real numbers, by default 2 (m - 1) from m elements.")


def hfft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
    """The real transform of `n` elements (2 (m - 1) of m given): the second half are conjugates of the first."""
    return _transform(
        "hfft", "irfft", elementwise.conj(_complex(as_array(a))), n, axis, _OTHER_WAY[_mode("hfft", norm)]
    )


def ihfft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
    """The inverse of `hfft`: n // 2 + 1 elements."""
    return elementwise.conj(_transform("ihfft", "rfft", as_array(a), n, axis, _OTHER_WAY[_mode("ihfft", norm)]))


# ------------------------------------------------------------------------------------------------------- several axes


def _axes(function: str, a: Array, s: Sequence[int] | None, axes: Sequence[int] | None) -> list[tuple[int | None, int]]:
    """(n, axis) of each transform, in the order of `axes`; n is None for all elements, as -1 is in `s`."""
    if axes is None:
        count = a.ndim if s is None else len(s)
        if count > a.ndim:
            raise refuse(function, [a], f"s has {count} sizes for {a.ndim} axes")
        axes = range(a.ndim - count, a.ndim)
    places = [axis_of(function, a, axis) for axis in axes]  # an axis may be named twice
    counts = [None] * len(places) if s is None else [None if n == -1 else n for n in s]
    if len(counts) != len(places):
        raise refuse(function, [a], f"s has {len(counts)} sizes for {len(places)} axes")
    return [*zip(counts, places, strict=True)]


def fftn(
    a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str | None = None
) -> Array:
    """The transform along several axes (None: the last len(s), or all), cut or continued to sizes `s` (-1: as is)."""
    return _over("fftn", "fft", a, s, axes, norm)


def ifftn(
    a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str | None = None
) -> Array:
    """The inverse of `fftn`."""
    return _over("ifftn", "ifft", a, s, axes, norm)


def rfftn(
    a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str | None = None
) -> Array:
    """`rfft` along the last of several axes, then `fft` along the others."""
    return _over("rfftn", "rfft", a, s, axes, norm)


def irfftn(
    a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str | None = None
) -> Array:
    """The inverse of `rfftn`: `ifft` along all axes but the last, then `irfft`."""
    return _over("irfftn", "irfft", a, s, axes, norm)


def _over(
    function: str, kind: str, a: ArrayLike, s: Sequence[int] | None, axes: Sequence[int] | None, norm: str | None
) -> Array:
    """`kind` along the last of several axes, and the complex transform that way along the others."""
    _mode(function, norm)
    x = as_array(a)
    pairs = _axes(function, x, s, axes)
    if kind in ("rfft", "irfft") and not pairs:
        raise refuse(function, [x], "there is no axis to transform along")
    if kind == "rfft":
        _real(function, x)
    if not pairs:
        return _complex(x)
    way = "ifft" if kind in ("ifft", "irfft") else "fft"
    order = [*zip([way] * (len(pairs) - 1) + [kind], pairs, strict=True)]
    for k, (n, axis) in order if kind == "irfft" else reversed(order):
        x = _transform(function, k, x, n, axis, norm)
    return x


def _two(name: str, over: Callable[..., Array]) -> Callable[..., Array]:
    def function(
        a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1), norm: str | None = None
    ) -> Array:
        return over(a, s, axes, norm)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`{over.__name__}` along two axes."
    return function


fft2, ifft2, rfft2, irfft2 = (_two(f"{f.__name__[:-1]}2", f) for f in (fftn, ifftn, rfftn, irfftn))


# ----------------------------------------------------------------------------------------------- frequencies and shifts


def _frequencies(function: str, n: int, d: float, dtype: DTypeLike, device: Any) -> Array:
    check_device(function, device)
    to = as_dtype(F64 if dtype is None else dtype)
    if not is_float(to):
        raise DTypeError(f"{function}: frequencies are real floating-point numbers, not {to}")
    return np.asarray(getattr(np.fft, function)(*static(function, n, d))).astype(to, copy=False)


def fftfreq(n: int, d: float = 1.0, *, dtype: DTypeLike = None, device: Any = None) -> Array:
    """[n]: the frequencies of a transform of n samples at distance `d`, in cycles per unit; negative ones last."""
    return _frequencies("fftfreq", n, d, dtype, device)


def rfftfreq(n: int, d: float = 1.0, *, dtype: DTypeLike = None, device: Any = None) -> Array:
    """[n // 2 + 1]: the frequencies of the transform of n real samples at distance `d`, in cycles per unit."""
    return _frequencies("rfftfreq", n, d, dtype, device)


def _shift(function: str, x: ArrayLike, axes: Axes, back: bool) -> Array:
    x = as_array(x)
    at = axes_of(function, x, axes)
    return roll(x, [-(x.shape[a] // 2) if back else x.shape[a] // 2 for a in at], at)


def fftshift(x: ArrayLike, axes: int | Sequence[int] | None = None) -> Array:
    """`x` with the zero frequency moved from the front to the middle of axes (None: all)."""
    return _shift("fftshift", x, axes, back=False)


def ifftshift(x: ArrayLike, axes: int | Sequence[int] | None = None) -> Array:
    """The inverse of `fftshift`."""
    return _shift("ifftshift", x, axes, back=True)
