"""Resizing along any axes.

By weights that are known while tracing: a few taps for each place of the result. Else by a matrix of weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tgc import numpy as tnp
from tgc.errors import AttributeSpecError
from tgc.nn.base import full_precision
from tgc.numpy.base import Array, ArrayLike, along, as_array, refuse, sizes
from tgc.numpy.indexing import take
from tgc.numpy.reductions import sum
from tgc.ops.arithmetic import as_tensor
from tgc.trace import Tracer

__all__ = ["resize", "scale_and_translate"]

Kernel = Callable[[Any, Any], Any]  # distances -> weights, by the functions of NumPy, or of tgc.numpy on tracers


def _triangle(x: Any, np: Any) -> Any:
    return np.maximum(0, 1 - x)


def _cubic(x: Any, np: Any) -> Any:
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos(radius: int) -> Kernel:
    return lambda x, np: np.where(x < radius, np.sinc(x) * np.sinc(x / radius), 0)


# method -> radius, weight at a distance
KERNELS: dict[str, tuple[int, Kernel]] = {
    "linear": (1, _triangle),
    "cubic": (2, _cubic),
    "lanczos3": (3, _lanczos(3)),
    "lanczos5": (5, _lanczos(5)),
}
_NAMES = {"bilinear": "linear", "trilinear": "linear", "triangle": "linear", "bicubic": "cubic"}
METHODS = ("nearest", "area", *KERNELS, *_NAMES)

Taps = tuple[np.ndarray, np.ndarray]


def _clipped(places: np.ndarray, weights: np.ndarray, n: int) -> Taps:
    """Taps whose weights are zero outside of the axis, and whose places lie within."""
    return np.clip(places, 0, max(n - 1, 0)), np.where((places >= 0) & (places < n), weights, 0)


def _kernel_taps(n: int, centers: np.ndarray, step: float, method: str, antialias: bool) -> Taps:
    """Taps of a kernel around each of the `centers`, stretched by `step` if this is above one and to be antialiased.

    Weights sum to one; a center outside of the image has none.
    """
    radius, kernel = KERNELS[method]
    stretch = max(step, 1) if antialias else 1
    first = np.ceil(centers - radius * stretch).astype(np.int64)
    places = first[:, None] + np.arange(int(np.ceil(2 * radius * stretch)) + 1)
    places, weights = _clipped(places, kernel(np.abs(centers[:, None] - places) / stretch, np), n)
    total = weights.sum(1, keepdims=True)
    seen = ((centers >= -0.5) & (centers <= n - 0.5))[:, None] & (np.abs(total) > 1e-12)
    return places, np.where(seen, weights / np.where(seen, total, 1), 0)


def _weights(n: int, centers: Array, step: Array, method: str, antialias: bool) -> Array:
    """[results, n]: what `_kernel_taps` finds, of numbers that are traced."""
    _, kernel = KERNELS[method]
    stretch = tnp.maximum(step, 1) if antialias else 1
    weights = kernel(tnp.absolute(centers[:, None] - tnp.arange(n, dtype=centers.dtype)) / stretch, tnp)
    total = sum(weights, 1, keepdims=True)
    inside = tnp.logical_and(centers >= -0.5, centers <= n - 0.5)[:, None]
    seen = tnp.logical_and(inside, tnp.absolute(total) > 1e-12)
    return tnp.where(seen, weights / tnp.where(seen, total, 1), 0)


def _area_taps(n: int, wanted: int) -> Taps:
    """The elements that each of `wanted` equal parts of the axis overlaps, weighted by their share of the part."""
    edges = np.arange(wanted + 1) * n / wanted
    first = np.floor(edges[:-1]).astype(np.int64)
    places = first[:, None] + np.arange(int(np.ceil(n / wanted)) + 1)
    overlap = np.minimum(edges[1:, None], places + 1) - np.maximum(edges[:-1, None], places)
    places, weights = _clipped(places, np.maximum(overlap, 0), n)
    return places, weights / weights.sum(1, keepdims=True)


def _apply(x: Array, axis: int, taps: Taps) -> Array:
    """Sums of the elements at the taps' places, weighted."""
    places, weights = taps
    used = weights.any(0)
    places, weights = places[:, used], weights[:, used]
    parts = take(x, places, axis)
    return sum(parts * along(weights.astype(x.dtype), [axis, axis + 1], parts.shape), axis + 1)


def _method(function: str, method: str, antialias: bool) -> str:
    if method not in METHODS:
        raise AttributeSpecError(f"{function}: method {method!r} is none of {', '.join(METHODS)}")
    return _NAMES.get(method, method)


def resize(x: Array, shape: Sequence[int], method: str = "linear", *, antialias: bool = True) -> Array:
    """`x` in another shape of the same rank, each axis resized on its own with half-pixel centers, as in JAX.

    Args:
        method: "nearest" (keeps the dtype), "linear" (or "bilinear", "trilinear", "triangle"), "cubic" (or "bicubic";
            Keys's kernel with a = -1/2), "lanczos3", "lanczos5", or "area" (means of what each new pixel covers).
        antialias: stretch the kernels when an axis shrinks, so that every pixel counts.

    Raises:
        ShapeError: the ranks differ, or an empty axis shall grow.
        AttributeSpecError: another method.
    """
    method, new = _method("resize", method, antialias), sizes(shape)
    x = as_array(x)
    if len(new) != x.ndim or any(n == 0 and m > 0 for n, m in zip(x.shape, new, strict=True)):
        raise refuse("resize", [x], f"cannot resize to shape {new}")
    changed = [a for a, (n, m) in enumerate(zip(x.shape, new, strict=True)) if n != m]
    if method == "nearest":
        for a in changed:
            places = (2 * np.arange(new[a]) + 1) * x.shape[a] // (2 * max(new[a], 1))
            x = take(x, places, a)
        return x
    return _weighted(x, new, changed, method, antialias)


@full_precision
def _weighted(x: Array, new: Sequence[int], axes: Sequence[int], method: str, antialias: bool) -> Array:
    for a in axes:
        n, m = x.shape[a], new[a]
        if not m:
            x = take(x, np.zeros(0, np.int64), a)
        elif method == "area":
            x = _apply(x, a, _area_taps(n, m))
        else:
            x = _apply(x, a, _kernel_taps(n, (np.arange(m) + 0.5) * n / m - 0.5, n / m, method, antialias))
    return x


@full_precision
def scale_and_translate(
    x: Array,
    shape: Sequence[int],
    axes: Sequence[int],
    scale: Sequence[ArrayLike],
    translation: Sequence[ArrayLike],
    method: str = "linear",
    *,
    antialias: bool = True,
) -> Array:
    """`x` scaled and moved along `axes`: place p of the image plane goes to scale * p + translation.

    Args:
        shape: that of the result, as x's along all other axes.
        scale, translation: one number for each of `axes`, which may be traced.
        method, antialias: as in `resize`, kernels only. Places that come from outside of the image are 0.

    Raises:
        ShapeError: the shapes do not fit.
        AttributeSpecError: another method, or a scale that is known not to be positive.
    """
    method = _method("scale_and_translate", method, antialias)
    known = [float(s) for s in scale if not isinstance(s, Tracer)]
    if method not in KERNELS or not len(scale) == len(translation) == len(axes) or min(known, default=1) <= 0:
        raise AttributeSpecError(
            f"scale_and_translate: needs a positive scale and a translation for each of axes {tuple(axes)}, and a "
            f"kernel: {', '.join(KERNELS)}"
        )
    new = sizes(shape)
    if len(new) != x.ndim or any(n != m for a, (n, m) in enumerate(zip(x.shape, new, strict=True)) if a not in axes):
        raise refuse("scale_and_translate", [x], f"cannot be {new} by changing axes {tuple(axes)}")
    for a, s, t in zip(axes, scale, translation, strict=True):
        n, m = x.shape[a], new[a]
        if isinstance(s, Tracer) or isinstance(t, Tracer):
            s, t = (as_tensor(as_array(v), x.dtype) for v in (s, t))
            weights = _weights(n, (tnp.arange(m, dtype=x.dtype) + 0.5 - t) / s - 0.5, 1 / s, method, antialias)
            x = tnp.moveaxis(tnp.tensordot(x, weights, ([a], [1])), -1, a)
        else:
            centers = (np.arange(m) + 0.5 - float(t)) / float(s) - 0.5
            x = _apply(x, a, _kernel_taps(n, centers, 1 / float(s), method, antialias))
    return x
