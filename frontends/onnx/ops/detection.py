"""Regions of images, boxes, and files of images."""

from __future__ import annotations

import io
import itertools
import math
from typing import Any

import numpy as np

from tgc import numpy as tnp
from tgc.control import fori_loop
from tgc.frontends.onnx.errors import InvalidModelError, UnsupportedOperatorError
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Array, Tensor
from tgc.numpy.base import accumulator
from tgc.types import I64

Axis = tuple[Tensor, Tensor]  # for each region: where it begins, and how long one of its bins is


def _corners(place: Tensor, n: int) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """The two elements around places, each with its weight; and whether places are no further than 1 outside."""
    inside = tnp.logical_and(place >= -1, place <= n)
    place = tnp.clip(place, 0, n - 1)
    low = tnp.minimum(tnp.floor(place), max(n - 2, 0))
    share = place - low
    high = tnp.minimum(low + 1, n - 1)
    return [(tnp.astype(low, I64), 1 - share), (tnp.astype(high, I64), share)], inside


def _roi_align(
    x: Tensor, rois: Tensor, batch: Tensor, *, mode: str, size: tuple[int, int], ratio: int, scale: float, legacy: bool
) -> Tensor:
    """Regions [count, channels, *size]: the mean or the maximum of samples in each bin.

    Samples are taken one after the other, as there are as many as the largest region needs; in each bin of a smaller
    one the rest does not count.
    """
    work = accumulator(x.dtype)
    _, channels, *spatial = x.shape
    flat = tnp.reshape(tnp.transpose(tnp.astype(x, work), (0, 2, 3, 1)), (-1, channels))
    rois = tnp.astype(rois, work) * scale - (0 if legacy else 0.5)
    first = tnp.reshape(tnp.astype(batch, I64), (-1, 1, 1)) * (spatial[0] * spatial[1])
    axes: list[Axis] = []
    counts = []  # samples of each region along the axis
    for a, bins in enumerate(size):
        start, end = rois[:, 1 - a], rois[:, 3 - a]
        length = tnp.maximum(end - start, 1) if legacy else end - start
        axes.append((start, length / bins))
        counts.append(tnp.full_like(start, ratio) if ratio > 0 else tnp.ceil(length / bins))

    def along(a: int, k: Tensor) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """Sample k of each bin along an axis, [count, bins]."""
        start, bin_length = (v[:, None] for v in axes[a])
        count = counts[a][:, None]
        share = (tnp.astype(k, work) + 0.5) / tnp.maximum(count, 1)
        place = start + (tnp.arange(size[a], dtype=work) + share) * bin_length
        corners, inside = _corners(place, spatial[a])
        return corners, tnp.logical_and(inside, k < count) if mode == "avg" else tnp.where(k < count, inside, False)

    def sample(total: Tensor, i: Tensor, j: Tensor) -> Tensor:
        (rows, rows_in), (columns, columns_in) = along(0, i), along(1, j)
        inside = tnp.logical_and(rows_in[:, :, None], columns_in[:, None, :])[..., None]
        parts = []
        for (y, wy), (x, wx) in itertools.product(rows, columns):
            pixels = tnp.take(flat, first + y[:, :, None] * spatial[1] + x[:, None, :], 0)
            parts.append(pixels * (wy[:, :, None] * wx[:, None, :])[..., None])
        if mode == "avg":
            return total + tnp.where(inside, sum(parts[1:], parts[0]), 0)
        counted = tnp.logical_and((i < counts[0])[:, None, None, None], (j < counts[1])[:, None, None, None])
        best = parts[0]
        for part in parts[1:]:
            best = tnp.maximum(best, part)
        return tnp.where(counted, tnp.maximum(total, tnp.where(inside, best, 0)), total)

    def most(count: Tensor) -> Any:
        return ratio if ratio > 0 else tnp.astype(tnp.max(tnp.append(count, 0)), I64)

    empty = tnp.full((rois.shape[0], *size, channels), 0 if mode == "avg" else -math.inf, work)
    total = fori_loop(
        0, most(counts[0]), lambda i, t: fori_loop(0, most(counts[1]), lambda j, s: sample(s, i, j), t), empty
    )
    taken = (counts[0] * counts[1])[:, None, None, None]
    y = total / tnp.maximum(taken, 1) if mode == "avg" else tnp.where(taken > 0, total, 0)
    return tnp.astype(tnp.moveaxis(y, -1, 1), x.dtype)


@converts("RoiAlign", since=16)
def roi_align(
    x: Tensor,
    rois: Tensor,
    batch_indices: Tensor,
    /,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Tensor:
    """ONNX RoiAlign (He et al., 2017): regions (x1, y1, x2, y2) of images as [regions, channels, height, width].

    With a `sampling_ratio` of 0, whose number of samples depends on the regions, there is no gradient.
    """
    if mode not in ("avg", "max") or coordinate_transformation_mode not in ("half_pixel", "output_half_pixel"):
        raise InvalidModelError(f"there is no mode {mode} with {coordinate_transformation_mode}")
    return _roi_align(
        x,
        rois,
        batch_indices,
        mode=mode,
        size=(output_height, output_width),
        ratio=sampling_ratio,
        scale=spatial_scale,
        legacy=coordinate_transformation_mode == "output_half_pixel",
    )


@converts("RoiAlign", since=10)
def roi_align_10(x: Tensor, rois: Tensor, batch_indices: Tensor, /, **attrs: Any) -> Tensor:
    """ONNX RoiAlign up to version 15, whose places are not moved by half a pixel."""
    return roi_align(x, rois, batch_indices, coordinate_transformation_mode="output_half_pixel", **attrs)


@converts("MaxRoiPool")
def max_roi_pool(x: Tensor, rois: Tensor, /, *, pooled_shape: tuple[int, int], spatial_scale: float = 1.0) -> Tensor:
    """ONNX MaxRoiPool (Girshick, 2015): maxima of the bins of regions (image, x1, y1, x2, y2); 0 of none."""
    pixels = tnp.floor(rois[:, 1:] * spatial_scale + 0.5)
    y = tnp.take(x, tnp.astype(rois[:, 0], I64), 0)  # [regions, channels, height, width]
    seen = None
    for a, bins in ((3, pooled_shape[1]), (2, pooled_shape[0])):
        start, end = pixels[:, 3 - a][:, None], pixels[:, 5 - a][:, None]
        length = tnp.maximum(end - start + 1, 1) / bins
        places = tnp.arange(bins)
        low, high = tnp.floor(places * length) + start, tnp.ceil((places + 1) * length) + start
        at = tnp.arange(x.shape[a])
        within = tnp.logical_and(at >= low[..., None], at < high[..., None])  # [regions, bins, size]
        mask = within[:, None, None] if a == 3 else within[:, None, :, :, None]
        rows = y[..., None, :] if a == 3 else y[:, :, None]
        y = tnp.max(tnp.where(mask, rows, -math.inf), axis=4 if a == 3 else 3)
        some = tnp.any(within, axis=-1)
        seen = some[:, None, None] if seen is None else tnp.logical_and(seen, some[:, None, :, None])
    return tnp.where(seen, y, 0)


@converts("NonMaxSuppression", since=10, host=True)
def non_max_suppression(
    boxes: Array,
    scores: Array,
    max_output_boxes_per_class: Array | None = None,
    iou_threshold: Array | None = None,
    score_threshold: Array | None = None,
    /,
    *,
    center_point_box: int = 0,
) -> Array:
    """ONNX NonMaxSuppression: int64[selected, 3] of image, class and box, the best of each class first.

    Boxes are two opposite corners (y, x), or with `center_point_box` the center and the sizes (x, y).
    """
    most, overlap, least = (
        default if v is None or not v.size else v.ravel()[0].item()
        for v, default in (
            (max_output_boxes_per_class, 0), (iou_threshold, 0.0), (score_threshold, -math.inf)
        )
    )  # fmt: skip
    if center_point_box:
        center, half = boxes[..., :2], boxes[..., 2:] / 2
        low, high = center - half, center + half
    else:
        low, high = (f(boxes[..., :2], boxes[..., 2:]) for f in (np.minimum, np.maximum))
    area = (high - low).prod(-1)
    chosen = []
    for image, kind in np.ndindex(scores.shape[:2]):
        order = np.argsort(-scores[image, kind], kind="stable")
        left = order[scores[image, kind][order] > least]
        count = 0
        while left.size and count < most:
            best, left = left[0], left[1:]
            chosen.append((image, kind, best))
            count += 1
            sides = np.minimum(high[image, best], high[image, left]) - np.maximum(low[image, best], low[image, left])
            shared = np.maximum(sides, 0).prod(-1)
            union = area[image, best] + area[image, left] - shared
            left = left[shared <= overlap * union]
    return np.array(chosen, np.int64).reshape(-1, 3)


@converts("ImageDecoder", since=20, host=True)
def image_decoder(encoded_stream: Array, /, *, pixel_format: str = "RGB") -> Array:
    """ONNX ImageDecoder: the pixels uint8[height, width, channels] of an image file, read by Pillow."""
    try:
        from PIL import Image
    except ImportError as error:
        raise UnsupportedOperatorError("ImageDecoder reads images by Pillow, which is not installed") from error
    modes = {"RGB": "RGB", "BGR": "RGB", "Grayscale": "L"}
    if pixel_format not in modes:
        raise InvalidModelError(f"pixel_format is {', '.join(modes)}, not {pixel_format}")
    with Image.open(io.BytesIO(encoded_stream.tobytes())) as image:
        pixels = np.asarray(image.convert(modes[pixel_format]))
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    return pixels[..., ::-1].copy() if pixel_format == "BGR" else pixels
