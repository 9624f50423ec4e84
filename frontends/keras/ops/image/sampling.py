"""Images, and tensors of any rank, read at places that are computed."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras.src.random.seed_generator import draw_seed

import tgc
from tgc import nn
from tgc import numpy as tnp
from tgc.frontends.keras.ops import linalg
from tgc.frontends.keras.ops.image.arguments import batch_of, check_choice, in_floats
from tgc.frontends.keras.ops.promotion import floating
from tgc.frontends.keras.ops.tensors import Tensor, cast, convert_to_tensor
from tgc.trace import Tracer

__all__ = [
    "affine_transform", "compute_homography_matrix", "elastic_transform", "map_coordinates", "perspective_transform",
]  # fmt: skip

_ORDERS = {"nearest": 0, "bilinear": 1}
_PADDINGS = {
    "constant": "zeros",
    "nearest": "border",
    "wrap": "wrap",
    "mirror": "reflection_centers",
    "reflect": "reflection",
}


def _sampled(x: Tensor, places: Tensor, order: int, fill_mode: str, fill_value: float) -> Tensor:
    """`tgc.nn.image.sample` by Keras's names; of two pixels at the same distance the one farther from zero counts."""
    if order == 0:
        places = tnp.sign(places) * tnp.floor(tnp.absolute(places) + 0.5)
    method = ("nearest", "linear")[order]

    def read(x: Tensor) -> Tensor:
        return nn.image.sample(x, places, method, padding=_PADDINGS[fill_mode], fill=fill_value)

    return in_floats(read, x)


def map_coordinates(
    inputs: Tensor, coordinates: Any, order: int, fill_mode: str = "constant", fill_value: float = 0.0
) -> Tensor:
    """Elements of `inputs` at `coordinates` [rank of inputs, ...]: the nearest (order 0), or between them (1)."""
    inputs, coordinates = convert_to_tensor(inputs), convert_to_tensor(coordinates)
    if coordinates.shape[0] != len(inputs.shape):
        raise ValueError(
            "First dim of `coordinates` must be the same as the rank of `inputs`. "
            f"Received inputs with shape: {inputs.shape} and coordinate leading dim of {coordinates.shape[0]}"
        )
    if len(coordinates.shape) < 2:
        raise ValueError(
            f"Invalid coordinates rank: expected at least rank 2. Received input with shape: {coordinates.shape}"
        )
    check_choice("fill_mode", fill_mode, _PADDINGS)
    check_choice("order", order, (0, 1))
    places = tnp.moveaxis(coordinates, 0, -1)
    return _sampled(inputs[None, ..., None], places[None], order, fill_mode, fill_value)[0, ..., 0]


def _grid(height: int, width: int, dtype: Any) -> tuple[Tensor, Tensor]:
    """Rows [height, 1] and columns [1, width] of pixels."""
    return tnp.arange(height, dtype=dtype)[:, None], tnp.arange(width, dtype=dtype)[None]


def _projected(x: Tensor, transforms: Tensor, interpolation: str, fill_mode: str, fill_value: float) -> Tensor:
    """Images whose pixel (x, y) comes from ((a0 x + a1 y + a2) / k, (a3 x + a4 y + a5) / k), k = a6 x + a7 y + 1.

    Transforms are [batch or 1, 8].
    """
    batch, height, width, _ = x.shape
    dtype = np.result_type(np.float32, *(np.float64 for t in (x, transforms) if t.dtype == np.float64))
    rows, columns = _grid(height, width, dtype)
    a = [cast(transforms[:, i], dtype)[:, None, None] for i in range(8)]
    k = a[6] * columns + a[7] * rows + 1
    across, down = ((a[i] * columns + a[i + 1] * rows + a[i + 2]) / k for i in (0, 3))
    places = tnp.broadcast_to(tnp.stack([down, across], -1), (batch, height, width, 2))
    return _sampled(x, places, _ORDERS[interpolation], fill_mode, fill_value)


def affine_transform(
    images: Tensor,
    transform: Tensor,
    interpolation: str = "bilinear",
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    data_format: str | None = None,
) -> Tensor:
    """Images moved by `transform` [8], or one an image: from places of the result to those of the images."""
    check_choice("interpolation", interpolation, _ORDERS)
    check_choice("fill_mode", fill_mode, _PADDINGS)
    x, back = batch_of("affine_transform", images, data_format)
    transform = convert_to_tensor(transform)
    if len(transform.shape) not in (1, 2):
        raise ValueError(
            "Invalid transform rank: expected rank 1 (single transform) or rank 2 (batch of transforms). "
            f"Received input with shape: transform.shape={transform.shape}"
        )
    each = transform[None] if len(transform.shape) == 1 else transform
    return back(_projected(x, each, interpolation, fill_mode, fill_value))


def perspective_transform(
    images: Tensor,
    start_points: Tensor,
    end_points: Tensor,
    interpolation: str = "bilinear",
    fill_value: float = 0.0,
    data_format: str | None = None,
) -> Tensor:
    """Images moved such that the four `start_points` [4, 2] (x, y), or four an image, come to the `end_points`."""
    check_choice("interpolation", interpolation, _ORDERS)
    x, back = batch_of("perspective_transform", images, data_format)
    points = [convert_to_tensor(p) for p in (start_points, end_points)]
    for name, p in zip(("start_points", "end_points"), points, strict=True):
        if len(p.shape) not in (2, 3) or tuple(p.shape[-2:]) != (4, 2):
            raise ValueError(
                f"Invalid {name} shape: expected (4,2) for a single image or (N,4,2) for a batch. "
                f"Received shape: {p.shape}"
            )
    first, last = points
    if first.shape != last.shape:
        raise ValueError(
            "start_points and end_points must have the same shape. Received "
            f"start_points.shape={first.shape}, end_points.shape={last.shape}"
        )
    first, last = (p[None] if len(p.shape) == 2 else p for p in points)
    return back(_projected(x, compute_homography_matrix(first, last), interpolation, "constant", fill_value))


def _homography(start_points: Tensor, end_points: Tensor) -> Tensor:
    """[batch, 8]: the projections that take the second four points (x, y) of each image to the first."""
    (x, y), (u, v) = ((p[..., 0], p[..., 1]) for p in (start_points, end_points))
    one, none = tnp.ones_like(u), tnp.zeros_like(u)
    rows = [
        tnp.stack([u, v, one, none, none, none, -x * u, -x * v], -1),
        tnp.stack([none, none, none, u, v, one, -y * u, -y * v], -1),
    ]
    return linalg.solve(tnp.concatenate(rows, 1), tnp.concatenate([x, y], -1))


compute_homography_matrix = floating(_homography, 2)


def elastic_transform(
    images: Tensor,
    alpha: Any = 20.0,
    sigma: Any = 5.0,
    interpolation: str = "bilinear",
    fill_mode: str = "reflect",
    fill_value: float = 0.0,
    seed: Any = None,
    data_format: str | None = None,
) -> Tensor:
    """Images whose pixels are moved at random, neighbours alike: by normal numbers, blurred, times sigma and alpha.

    Simard, Steinkraus & Platt, 2003. The kernel of the blur has 6 sigma pixels, or those of the image where sigma is
    traced.
    """
    check_choice("interpolation", interpolation, _ORDERS)
    check_choice("fill_mode", fill_mode, _PADDINGS)
    x, back = batch_of("elastic_transform", images, data_format)
    batch, height, width, _ = x.shape
    dtype = np.float64 if x.dtype == np.float64 else np.float32
    alpha, sigma = (cast(v, dtype) for v in (alpha, sigma))
    taps = (min(height, width) if isinstance(sigma, Tracer) else int(6 * sigma)) | 1
    key = cast(draw_seed(seed), "uint32")
    noise = tgc.random.normal(key, (batch, height, width, 2), dtype) * sigma
    moves = nn.image.gaussian_blur(noise, (sigma, sigma), (taps, taps), mode="constant") * alpha
    rows, columns = _grid(height, width, dtype)
    places = tnp.stack([moves[..., 0] + rows, moves[..., 1] + columns], -1)
    return back(_sampled(x, places, _ORDERS[interpolation], fill_mode, fill_value))
