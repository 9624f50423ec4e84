"""Images resized, and sampled at places of a grid. Operands of the latter are [batch, channels, *spatial]."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tgc import nn
from tgc import numpy as tnp
from tgc.frontends.onnx.errors import InvalidModelError
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Array, Tensor
from tgc.numpy.base import accumulator, along
from tgc.types import F32, I64, is_inexact

# ---------------------------------------------------------------------------------------------------------- resizing


def _corners(y: Array, n: int, m: int, scale: float, roi: tuple[float, float]) -> Array:
    return y * ((n - 1) / (n * scale - 1) if n * scale != 1 else 0.0)


def _crop(y: Array, n: int, m: int, scale: float, roi: tuple[float, float]) -> Array:
    start, end = roi
    if n * scale == 1:
        return y * 0 + (start + end) * (n - 1) / 2
    return start * (n - 1) + y * (end - start) * (n - 1) / (n * scale - 1)


# coordinate_transformation_mode -> places in the operand of places 0 .. m - 1 of the result, for an axis of n elements
PLACES: dict[str, Callable[..., Array]] = {
    "half_pixel": lambda y, n, m, scale, roi: (y + 0.5) / scale - 0.5,
    "pytorch_half_pixel": lambda y, n, m, scale, roi: (y + 0.5) / scale - 0.5 if n * scale != 1 else y * 0 - 0.5,
    "half_pixel_symmetric": lambda y, n, m, scale, roi: n / 2 * (1 - m / (n * scale)) + (y + 0.5) / scale - 0.5,
    "tf_half_pixel_for_nn": lambda y, n, m, scale, roi: (y + 0.5) / scale,
    "align_corners": _corners,
    "asymmetric": lambda y, n, m, scale, roi: y / scale,
    "tf_crop_and_resize": _crop,
}
NEAREST: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _cubic(x: Any, a: float, np: Any = np) -> Any:
    """Keys's kernel (1981) at distances x, by the functions of NumPy, or of tgc.numpy on tracers."""
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    return np.where(x < 1, near, np.where(x < 2, ((x - 5) * x + 8) * x * a - 4 * a, 0))


def _taps(
    places: Array, n: int, mode: str, stretch: float, cubic_coeff_a: float, exclude_outside: bool
) -> tuple[Array, Array]:
    """Elements around each of the places, and their weights: [places, taps].

    What lies outside of the axis is its last element, or does not count if `exclude_outside`. The kernel is `stretch`
    times as wide, which is above 1 where an axis shrinks and is to be antialiased.
    """
    radius = (1 if mode == "linear" else 2) * stretch
    around = np.floor(places)[:, None] + np.arange(math.floor(-radius) + 1, math.ceil(radius) + 1)
    distance = np.abs(around - places[:, None]) / stretch
    weights = np.maximum(1 - distance, 0) if mode == "linear" else _cubic(distance, cubic_coeff_a)
    if exclude_outside:
        weights = np.where((around >= 0) & (around < n), weights, 0)
    total = weights.sum(1, keepdims=True)
    return np.clip(around, 0, n - 1).astype(np.int64), weights / np.where(total == 0, 1, total)


def _weighted(x: Tensor, axis: int, places: Array, weights: Array) -> Tensor:
    used = weights.any(0)
    places, weights = places[:, used], weights[:, used]
    parts = tnp.take(x, places, axis)
    return tnp.sum(parts * along(weights.astype(x.dtype), [axis, axis + 1], parts.shape), axis + 1)


def _resized(
    x: Tensor,
    shape: Sequence[int],
    scales: Sequence[float],
    roi: Sequence[tuple[float, float]],
    *,
    mode: str,
    coordinates: str,
    nearest_mode: str = "floor",
    cubic_coeff_a: float = -0.75,
    exclude_outside: bool = False,
    antialias: bool = False,
    extrapolation_value: float = 0.0,
) -> Tensor:
    """`x` in a shape of the same rank, each axis on its own: by a scale and a part of the axis."""
    if mode not in ("nearest", "linear", "cubic") or coordinates not in PLACES or nearest_mode not in NEAREST:
        raise InvalidModelError(f"there is no mode {mode} with {coordinates} and {nearest_mode}")
    dtype = x.dtype
    work = accumulator(dtype) if is_inexact(dtype) else F32
    x = x if mode == "nearest" else tnp.astype(x, work)
    for axis, (n, m, scale) in enumerate(zip(x.shape, shape, scales, strict=True)):
        if n == m and scale == 1 and coordinates != "tf_crop_and_resize":
            continue
        n, m = int(n), int(m)
        places = PLACES[coordinates](np.arange(m, dtype=np.float64), n, m, scale, roi[axis])
        if mode == "nearest":
            x = tnp.take(x, np.clip(NEAREST[nearest_mode](places), 0, n - 1).astype(np.int64), axis)
        else:
            stretch = max(1 / scale, 1) if antialias else 1
            x = _weighted(x, axis, *_taps(places, n, mode, stretch, cubic_coeff_a, exclude_outside))
        outside = (places < 0) | (places > n - 1)
        if coordinates == "tf_crop_and_resize" and outside.any():
            x = tnp.where(along(outside, [axis], x.shape), extrapolation_value, x)
    return tnp.astype(x, dtype)


@converts("Resize", since=11, static=["roi", "scales", "sizes"])
def resize(
    x: Tensor,
    roi: Array | None = None,
    scales: Array | None = None,
    sizes: Array | None = None,
    /,
    *,
    mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
    axes: tuple[int, ...] | None = None,
    keep_aspect_ratio_policy: str = "stretch",
    antialias: int = 0,
    exclude_outside: int = 0,
    **attrs: float,
) -> Tensor:
    """ONNX Resize, by scales or to sizes of `axes`. Axes that are resized must have sizes that are known."""
    rank = x.ndim
    at = [a % rank for a in (range(rank) if axes is None else axes)]
    shape, factors, parts = list(x.shape), [1.0] * rank, [(0.0, 1.0)] * rank
    given = scales if scales is not None and scales.size else sizes
    if given is None or len(given) != len(at):
        raise InvalidModelError(f"needs scales or sizes of {len(at)} axes")
    for a, value in zip(at, given.tolist(), strict=True):
        factors[a] = value if given is scales else value / shape[a]
    if given is sizes and keep_aspect_ratio_policy != "stretch":
        pick = {"not_larger": min, "not_smaller": max}[keep_aspect_ratio_policy]
        common = pick(factors[a] for a in at)
        factors = [common if a in at else 1.0 for a in range(rank)]
    if coordinate_transformation_mode == "tf_crop_and_resize":
        if roi is None or roi.size != 2 * len(at):
            raise InvalidModelError("tf_crop_and_resize needs the operand roi")
        for a, start, end in zip(at, roi[: len(at)].tolist(), roi[len(at) :].tolist(), strict=True):
            parts[a] = (start, end)
    for k, a in enumerate(at):
        if given is scales:
            part = (parts[a][1] - parts[a][0]) * factors[a]
            shape[a] = shape[a] if part == 1 else math.floor(shape[a] * part)
        elif keep_aspect_ratio_policy == "stretch":
            shape[a] = given[k].item()
        else:
            shape[a] = math.floor(shape[a] * factors[a] + 0.5)
    return _resized(
        x,
        shape,
        factors,
        parts,
        mode=mode,
        coordinates=coordinate_transformation_mode,
        nearest_mode=nearest_mode,
        antialias=bool(antialias),
        exclude_outside=bool(exclude_outside),
        **attrs,
    )


@converts("Resize", since=10, static=["scales"])
@converts("Upsample", since=9, static=["scales"])
def upsample(x: Tensor, scales: Array, /, *, mode: str = "nearest") -> Tensor:
    """ONNX Upsample, and Resize in version 10: places are those of the result divided by the scale."""
    factors = scales.tolist()
    shape = [n if s == 1 else math.floor(n * s) for n, s in zip(x.shape, factors, strict=True)]
    mode = {"bilinear": "linear"}.get(mode, mode)
    return _resized(x, shape, factors, [(0.0, 1.0)] * x.ndim, mode=mode, coordinates="asymmetric")


@converts("Upsample", since=7)
def upsample_7(x: Tensor, /, *, scales: tuple[float, ...], mode: str = "nearest") -> Tensor:
    """ONNX Upsample in version 7, with the scales as an attribute."""
    return upsample(x, np.asarray(scales), mode=mode)


# ---------------------------------------------------------------------------------------------------------- sampling


@converts("AffineGrid", since=20, static=["size"])
def affine_grid(theta: Tensor, size: Array, /, *, align_corners: int = 0) -> Tensor:
    """ONNX AffineGrid: places for GridSample, for images of `size` [batch, channels, *spatial]."""
    return nn.image.affine_grid(theta, tuple(size[2:].tolist()), align_corners=bool(align_corners))


@converts("GridSample", since=16)
def grid_sample(
    x: Tensor, grid: Tensor, /, *, mode: str = "linear", padding_mode: str = "zeros", align_corners: int = 0
) -> Tensor:
    """ONNX GridSample: places [batch, *sizes, rank] are in [-1, 1], the last axis first."""
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    if mode == "cubic":
        return _cubic_sampled(x, grid, padding_mode, bool(align_corners))
    return nn.image.grid_sample(
        x, grid, mode, padding=padding_mode, align_corners=bool(align_corners), data_format="NCHW"
    )


def _cubic_sampled(x: Tensor, grid: Tensor, padding: str, align_corners: bool) -> Tensor:
    """Keys's kernel with a = -3/4 over four pixels an axis; those outside of the image are what the padding says."""
    batch, channels, *sizes = x.shape
    work = accumulator(x.dtype)
    unit = tnp.astype(grid, work)
    flat = tnp.reshape(tnp.moveaxis(x, 1, -1), (-1, channels))
    taps = []  # for each axis four pairs of index and weight
    for a, n in enumerate(sizes):
        c = unit[..., -1 - a] + 1
        place = c * ((n - 1) / 2) if align_corners else c * (n / 2) - 0.5
        first = tnp.floor(place) - 1
        around = [first + k for k in range(4)]
        weights = [_cubic(tnp.absolute(place - p), -0.75, tnp) for p in around]
        taps.append([_bounded(p, w, n, padding, align_corners) for p, w in zip(around, weights, strict=True)])
    rows = tnp.reshape(tnp.arange(batch), (-1, *(1,) * len(sizes)))
    total: Any = 0
    for corner in itertools.product(*taps):
        index, weight = rows, None
        for (at, share), n in zip(corner, sizes, strict=True):
            index, weight = index * n + at, share if weight is None else weight * share
        total = total + tnp.astype(tnp.take(flat, index, 0), work) * tnp.expand_dims(weight, -1)
    return tnp.moveaxis(tnp.astype(total, x.dtype), -1, 1)


def _bounded(place: Tensor, weight: Tensor, n: int, padding: str, align_corners: bool) -> tuple[Tensor, Tensor]:
    """The index of a pixel for a whole place, and its weight."""
    match padding:
        case "zeros":
            weight = tnp.where(tnp.logical_and(place >= 0, place <= n - 1), weight, 0)
        case "reflection":  # at the centers of the outer pixels, or at their edges
            low, span = (0.0, n - 1) if align_corners else (-0.5, n)
            if span:
                turn = tnp.remainder(place - low, 2 * span)
                place = span - tnp.absolute(turn - span) + low
        case "border":
            pass
        case _:
            raise InvalidModelError(f"padding_mode is zeros, border or reflection, not {padding}")
    return tnp.astype(tnp.clip(place, 0, n - 1), I64), weight
