"""Keras's `math`, `linalg` and `image` on tgc: eager and traced, in both data formats, against their definitions."""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from gradients import check_gradients
from traced import both, close

pytest.importorskip("tgc.keras", exc_type=ImportError)

import keras

import tgc
import tgc.numpy as tnp
from tgc.errors import ConcretizationError
from tgc.frontends.keras.ops import image, linalg
from tgc.frontends.keras.ops import math as kmath

RNG = np.random.default_rng(0)
BACKENDS = Path(keras.__file__).parent / "src" / "backend"


def real(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape)


def names(module: str) -> set[str]:
    """The public functions of a module in Keras's own backends."""
    trees = [ast.parse((BACKENDS / b / f"{module}.py").read_text(encoding="utf-8")) for b in ("numpy", "jax")]
    return {n.name for t in trees for n in t.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")}


@pytest.mark.parametrize(("module", "ours"), [("math", kmath), ("linalg", linalg), ("image", image)])
def test_every_name_is_there(module: str, ours: Any) -> None:
    assert len(names(module)) > 10
    assert {name for name in names(module) if not callable(getattr(ours, name, None))} == set()


# ---------------------------------------------------------------------------------------------------------------- math


@pytest.mark.parametrize(
    ("function", "fold", "start"),
    [
        (kmath.segment_sum, np.add, 0), (kmath.segment_prod, np.multiply, 1),
        (kmath.segment_max, np.maximum, -math.inf), (kmath.segment_min, np.minimum, math.inf),
    ],
)  # fmt: skip
def test_segments(function: Callable[..., Any], fold: np.ufunc, start: float) -> None:
    data, ids = real(7, 2), np.array([0, 2, -1, 2, 0, 5, 0])
    want = np.full((4, 2), float(start))
    fold.at(want, [0, 2, 2, 0, 0], data[[0, 1, 3, 4, 6]])  # one of no segment, one beyond the last
    np.testing.assert_array_equal(both(lambda x, i: function(x, i, 4), data, ids)[0], want)
    assert function(data, ids).shape == (6, 2)
    with pytest.raises(ConcretizationError, match=f"{function.__name__}.*pass num_segments"):
        tgc.jit(function)(data, ids)
    whole = function(np.int32([3, 4]), np.int32([1, 1]))
    assert (whole.dtype, int(whole[1])) == (np.int32, int(fold(3, 4)))


def test_largest() -> None:
    x = real(3, 6)
    values, places = both(lambda x: kmath.top_k(x, 2), x)
    np.testing.assert_array_equal(values, -np.sort(-x)[:, :2])
    assert places.dtype == np.int32
    np.testing.assert_array_equal(np.take_along_axis(x, places, 1), values)
    predictions = np.array([[0.1, np.nan, 0.5], [0.3, 0.2, 0.5], [0.3, 0.3, 0.1]])
    (found,) = both(lambda t, p: kmath.in_top_k(t, p, 1), np.array([1, 2, 1]), predictions)
    np.testing.assert_array_equal(found, [False, True, True])


def test_functions_of_numbers() -> None:
    x = real(3, 4)
    close(both(lambda x: kmath.logsumexp(x, axis=[0, 1], keepdims=True), x)[0], np.log(np.exp(x).sum(keepdims=True)))
    close(both(kmath.cdist, x, real(2, 4) * 0)[0], np.repeat(np.sqrt((x * x).sum(1)), 2).reshape(3, 2))
    close(both(kmath.rsqrt, x * x)[0], 1 / abs(x))
    assert kmath.erfinv(np.int32([0])).dtype == np.float32
    with pytest.raises(ValueError, match="rows of the same length"):
        kmath.cdist(x, x[:, 1:])


def test_fourier() -> None:
    z = real(3, 4, 6) + 1j * real(3, 4, 6)
    for name in ("fft", "fft2", "ifft2"):
        parts = both(lambda a, b, name=name: getattr(kmath, name)((a, b)), z.real.copy(), z.imag.copy())
        close(parts[0] + 1j * parts[1], getattr(np.fft, name)(z))
    halves = both(lambda x: kmath.rfft(x, 5), z.real.copy())
    close(halves[0] + 1j * halves[1], np.fft.rfft(z.real, 5))
    close(both(lambda a, b: kmath.irfft((a, b), 5), *halves)[0], np.fft.irfft(np.fft.rfft(z.real, 5), 5))
    assert [p.dtype for p in kmath.fft((np.float16([1, 2]), np.float32([1, 2])))] == [np.float32] * 2
    whole = np.ones(z.shape, int)
    for bad, why in ((z.real, "tuple of two"), ((z.real, z.imag[0]), "same shape"), ((z.real, whole), "float")):
        with pytest.raises(ValueError, match=why):
            kmath.fft(bad)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize(("length", "stride", "fft_length"), [(32, 8, 32), (8, 3, 16), (4, 4, 7)])
@pytest.mark.parametrize("window", ["hann", "hamming", "own"])
def test_short_time_fourier(window: Any, length: int, stride: int, fft_length: int, center: bool) -> None:
    own = {"own": np.linspace(1, 2, length)}
    x, kind = real(2, 100), own.get(window, window)
    parts = both(lambda x: kmath.stft(x, length, stride, fft_length, kind, center), x)
    a = {"hann": 0.5, "hamming": 0.54}.get(window)
    taps = own["own"] if a is None else a - (1 - a) * np.cos(2 * np.pi * np.arange(length) / length)
    half, left = fft_length // 2 * center, (fft_length - length) // 2
    wide = np.pad(x, ((0, 0), (half, half)), "reflect")
    third = np.zeros((2, fft_length))
    third[:, left : left + length] = wide[:, 3 * stride + left :][:, :length] * taps
    close((parts[0] + 1j * parts[1])[:, 3], np.fft.rfft(third))
    (back,) = both(lambda a, b: kmath.istft((a, b), length, stride, fft_length, 50, kind, center), *parts)
    known = slice(fft_length, None)  # where windows overlap as many times as anywhere
    if window != "hann" or stride < length:
        close(back[:, known], x[:, :50][:, known], 1e-9)


def test_short_time_fourier_without_a_window() -> None:
    x = real(24)
    parts = kmath.stft(x, 8, 8, 8, None, center=False)
    close(kmath.istft(parts, 8, 8, 8, window=None, center=False), x)
    close(kmath.extract_sequences(x, 5, 3), np.lib.stride_tricks.sliding_window_view(x, 5)[::3])


# -------------------------------------------------------------------------------------------------------------- linalg


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (2, 3, 5)])
def test_lu_factor(shape: tuple[int, ...]) -> None:
    x = real(*shape)
    packed, exchanges = both(linalg.lu_factor, x)
    assert exchanges.dtype == np.int32
    rows, columns = shape[-2:]
    least = min(rows, columns)
    for a, lu, pivots in zip(*(v.reshape(-1, *v.shape[len(shape) - 2 :]) for v in (x, packed, exchanges)), strict=True):
        order = np.arange(rows)
        for i, p in enumerate(pivots):
            order[[i, p]] = order[[p, i]]
        low = np.tril(lu[:, :least], -1) + np.eye(rows, least)
        close(low @ np.triu(lu[:least]), a[order])


def test_solutions() -> None:
    a, b = real(2, 3, 3) + 3 * np.eye(3), real(2, 3)
    close(both(linalg.solve, a, b)[0], np.linalg.solve(a, b[..., None])[..., 0])
    close(both(lambda a, b: linalg.solve_triangular(a, b, lower=True), a, b)[0], linalg.solve(np.tril(a), b))
    square = a @ a.swapaxes(1, 2)
    for upper in (False, True):
        inverse = both(lambda a, upper=upper: linalg.cholesky_inverse(linalg.cholesky(a, upper), upper), square)[0]
        close(inverse, np.linalg.inv(square), 1e-9)
    close(linalg.lstsq(a[0], b[0]), linalg.solve(a[0], b[0]), 1e-9)
    assert linalg.matrix_rank(np.ones((2, 3, 3))).tolist() == [1, 1]
    for dtype in (np.float16, ml_dtypes.bfloat16):
        assert linalg.inv(a.astype(dtype)).dtype == dtype
        assert [v.dtype for v in linalg.qr(a.astype(dtype))] == [dtype] * 2
    assert linalg.det(np.int32([[2, 0], [0, 3]])) == np.float32(6)
    for ord, shape in (("fro", 3), ("nuc", 3), (3, (3, 3)), (0, (3, 3))):
        with pytest.raises(ValueError, match="there is no norm"):
            linalg.norm(np.ones(shape), ord)


def test_jvp() -> None:
    out, tangent, aux = linalg.jvp(lambda x: (keras.ops.sin(x), x), [0.1], [0.2], has_aux=True)
    np.testing.assert_allclose([out, tangent, aux], [math.sin(0.1), 0.2 * math.cos(0.1), 0.1], rtol=1e-6)


# --------------------------------------------------------------------------------------------------------------- image

POINTS = np.array([[0.0, 0], [6, 0], [0, 5], [6, 5]])
MOVED = POINTS + np.array([[0.5, 0.2], [-0.4, 0.7], [0.3, -0.3], [0.1, 0.2]])
TURN = np.array([0.9, -0.3, 0.4, 0.2, 1.1, -0.6, 0.01, -0.02])
SPATIAL: dict[str, Callable[..., Any]] = {  # of images [batch, 6, 7, 3]
    "rgb_to_grayscale": image.rgb_to_grayscale,
    "rgb_to_hsv": lambda x, **f: image.rgb_to_hsv(tnp.clip(x, 0.1, 0.9), **f),
    "hsv_to_rgb": lambda x, **f: image.hsv_to_rgb(tnp.clip(x, 0.1, 0.9), **f),
    **{
        f"resize_{kind}": lambda x, kind=kind, **f: image.resize(x, (4, 9), kind, antialias=True, **f)
        for kind in ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5")
    },
    "resize_cropped": lambda x, **f: image.resize(x, (5, 2), crop_to_aspect_ratio=True, **f),
    "resize_padded": lambda x, **f: image.resize(x, (9, 3), pad_to_aspect_ratio=True, fill_value=2.0, **f),
    **{
        f"affine_{mode}": lambda x, mode=mode, **f: image.affine_transform(x, TURN, "bilinear", mode, 0.5, **f)
        for mode in ("constant", "nearest", "wrap", "mirror", "reflect")
    },
    "affine_nearest_pixel": lambda x, **f: image.affine_transform(x, TURN, "nearest", **f),
    "perspective": lambda x, **f: image.perspective_transform(x, POINTS, MOVED, **f),
    "gaussian_blur": lambda x, **f: image.gaussian_blur(x, (3, 4), (0.7, 1.2), **f),
    "elastic": lambda x, **f: image.elastic_transform(x, 3.0, 0.8, seed=3, **f),
}


@pytest.mark.parametrize("name", SPATIAL)
def test_formats_and_single_images(name: str) -> None:
    function, x = SPATIAL[name], real(2, 6, 7, 3)
    (last,) = both(function, x)
    (first,) = both(lambda x: function(x, data_format="channels_first"), np.moveaxis(x, -1, 1).copy())
    close(np.moveaxis(first, 1, -1), last)
    close(function(x[:1]), function(x[0])[None])
    if name not in ("affine_nearest_pixel", "resize_nearest"):
        check_gradients(function, x, rtol=1e-5)
    assert function(x.astype(np.float32)).dtype == np.float32
    assert function(x.astype(ml_dtypes.bfloat16)).dtype == ml_dtypes.bfloat16
    with pytest.raises(ValueError, match="Invalid images rank"):
        function(x[0, 0])


def read(x: np.ndarray, row: float, column: float) -> Any:
    """A pixel of [height, width, channels] between its neighbours, zeros around."""
    total = np.zeros(x.shape[-1])
    for r in (math.floor(row), math.floor(row) + 1):
        for c in (math.floor(column), math.floor(column) + 1):
            if 0 <= r < x.shape[0] and 0 <= c < x.shape[1]:
                total += x[r, c] * (1 - abs(row - r)) * (1 - abs(column - c))
    return total


def test_transforms() -> None:
    x, a = real(2, 6, 7, 3), np.stack([TURN, np.roll(TURN, 1)])
    (got,) = both(image.affine_transform, x, a)
    for b, i, j in np.ndindex(got.shape[:3]):
        k = a[b, 6] * j + a[b, 7] * i + 1
        across, down = ((a[b, n] * j + a[b, n + 1] * i + a[b, n + 2]) / k for n in (0, 3))
        close(got[b, i, j], read(x[b], down, across), 1e-9)
    (matrix,) = both(image.compute_homography_matrix, POINTS[None], MOVED[None])
    for (u, v), (s, t) in zip(MOVED, POINTS, strict=True):
        found = matrix[0] @ np.array([[u, v, 1, 0, 0, 0, -s * u, -s * v], [0, 0, 0, u, v, 1, -t * u, -t * v]]).T
        close(found, [s, t], 1e-9)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize(
    ("mode", "around"),
    [("constant", "constant"), ("nearest", "edge"), ("wrap", "wrap"), ("mirror", "reflect"), ("reflect", "symmetric")],
)
def test_map_coordinates(mode: str, around: str, order: int) -> None:
    x, places = real(4, 5), RNG.uniform(-3, 6, (2, 3, 8))
    (got,) = both(lambda x, c: image.map_coordinates(x, c, order, mode), x, places)
    wide = np.pad(x, 5, around)[..., None]
    at = np.rint(places + 5) if order == 0 else places + 5
    close(got, np.array([read(wide, *p)[0] for p in at.reshape(2, -1).T]).reshape(3, 8))
    whole = image.map_coordinates(np.arange(20, dtype=np.uint8).reshape(4, 5), places, order, mode)
    assert whole.dtype == np.uint8
    line = image.map_coordinates(np.float32([1, 2, 4]), np.array([[0.5, 1.25]]), 1)
    close(line, np.float32([1.5, 2.5]))


def test_integers_are_rounded_into_their_range() -> None:
    x = np.uint8([0, 1, 254, 255]).reshape(1, 2, 2, 1)
    got = image.resize(x, (4, 4), "bicubic")
    assert got.dtype == np.uint8
    assert (got[0, 0, 0, 0], got[0, -1, -1, 0]) == (0, 255)
    assert image.resize(x, (1, 1))[0, 0, 0, 0] == 128
    assert image.gaussian_blur(x, (1, 1)).tolist() == x.tolist()


def test_blur_and_edges() -> None:
    x = real(1, 5, 6, 2)
    ramp = np.arange(5.0)[:, None, None] * 3 + np.arange(6.0)[:, None] + np.zeros(2)
    (edges,) = both(image.sobel_edges, ramp[None])
    assert edges.shape == (1, 5, 6, 2, 2)
    np.testing.assert_array_equal(edges[0, 1:-1, 1:-1], np.broadcast_to([24.0, 8.0], (3, 4, 2, 2)))
    first = image.sobel_edges(np.moveaxis(x, -1, 1), data_format="channels_first")
    close(first, np.moveaxis(image.sobel_edges(x), 3, 1))
    (blurred,) = both(lambda x, s: image.gaussian_blur(x, (3, 5), s), x, np.array([0.6, 1.4]))
    close(blurred, image.gaussian_blur(x, (3, 5), (0.6, 1.4)))


@pytest.mark.parametrize("method", ["linear", "cubic", "lanczos3", "tricubic"])
def test_scale_and_translate(method: str) -> None:
    x, scale, move = real(6, 7, 2), np.array([0.73, 1.31]), np.array([0.4, -1.1])
    f = lambda x, s, t: image.scale_and_translate(x, (5, 8, 2), s, t, (0, 1), method)  # noqa: E731
    assert both(f, x, scale, move)[0].shape == (5, 8, 2)
    close(f(x, np.ones(2), np.zeros(2))[:5, :7], x[:5])


def test_elastic_transform_moves_what_is_near_alike() -> None:
    x = np.tile(np.arange(40.0), (2, 40, 1))[..., None]
    got = image.elastic_transform(x, 20.0, 5.0, seed=1)
    moved = (got - x)[:, 5:-5, 8:-8]
    assert 2 < np.abs(moved).max() < 40
    assert np.abs(np.diff(moved, axis=1)).max() < np.abs(moved).max() / 3
    assert not np.array_equal(got[0], got[1])
    np.testing.assert_array_equal(got, image.elastic_transform(x, 20.0, 5.0, seed=1))
    assert tgc.jit(lambda x, s: image.elastic_transform(x, 20.0, s, seed=1))(x, 5.0).shape == x.shape


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: image.resize(x, (2, 2), "area"), "`interpolation`"),
        (lambda x: image.resize(x, (2, 2, 2)), "tuple of two elements"),
        (lambda x: image.resize(x, (2, 2), crop_to_aspect_ratio=True, pad_to_aspect_ratio=True), "Only one of"),
        (lambda x: image.affine_transform(x, TURN, fill_mode="black"), "`fill_mode`"),
        (lambda x: image.affine_transform(x, real(1, 1, 8)), "Invalid transform rank"),
        (lambda x: image.perspective_transform(x, POINTS[:3], MOVED), "Invalid start_points shape"),
        (lambda x: image.perspective_transform(x, POINTS, MOVED[None]), "same shape"),
        (lambda x: image.map_coordinates(x, real(2, 4), 1), "First dim of `coordinates`"),
        (lambda x: image.map_coordinates(x, real(3, 4), 2), "`order`"),
        (lambda x: image.map_coordinates(x, real(3), 1), "Invalid coordinates rank"),
        (lambda x: image.scale_and_translate(x, (2, 2, 3), np.ones(1), np.ones(1), (0,), "area"), "`method`"),
        (lambda x: image.rgb_to_hsv(np.int32([[[1, 2, 3]]])), "expected float dtype"),
        (lambda x: image.rgb_to_grayscale(x[..., :2]), "Invalid channel size"),
    ],
)
def test_errors(call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(real(4, 4, 3))


def test_preprocessing_layers_know_the_sizes_of_images() -> None:
    """Where sizes have become symbols: 10x12 pixels are cut from large images, small ones are enlarged."""
    crop = keras.layers.CenterCrop(10, 12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is a program for each size
        run = tgc.jit(lambda x: crop(x))
        for height, width in ((25, 30), (6, 7), (11, 13)):
            x = real(2, height, width, 3).astype(np.float32)
            close(np.asarray(run(x)), np.asarray(crop(x)), 1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_layers_leave_arrays_as_they_are(dtype: type[np.generic]) -> None:
    x = RNG.integers(0, 255, (2, 4, 5, 3)).astype(dtype)
    kept = x.copy()
    brighter = keras.layers.RandomBrightness([0.1, 0.2], seed=1)(x)
    np.testing.assert_array_equal(x, kept)
    assert (np.asarray(brighter) >= x).all()
    assert (np.asarray(brighter) > x).any()


def test_equalization_is_traceable() -> None:
    x = RNG.integers(90, 150, (2, 8, 9, 3)).astype(np.float32)
    layer = keras.layers.Equalization()
    got = np.asarray(layer(x))
    assert got.min() == 0
    assert got.max() == 255
    close(np.asarray(tgc.jit(lambda x: layer(x))(x)), got, 1e-6)
