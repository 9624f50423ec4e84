"""`tgc.nn.image` and patches against their definitions in NumPy, eager and traced; gradients by finite differences."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gradients import check_gradients
from traced import both, close

from tgc import nn
from tgc.errors import AttributeSpecError, ShapeError
from tgc.nn import image

RNG = np.random.default_rng(1)


def real(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape)


# ------------------------------------------------------------------------------------------------------------ resizing


def cubic(t: float) -> float:
    t = abs(t)
    return 1.5 * t**3 - 2.5 * t**2 + 1 if t < 1 else -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0


def lanczos(radius: int) -> Callable[[float], float]:
    def kernel(t: float) -> float:
        if t == 0 or abs(t) >= radius:
            return float(t == 0)
        return radius * math.sin(math.pi * t) * math.sin(math.pi * t / radius) / (math.pi * t) ** 2

    return kernel


KERNELS: dict[str, Callable[[float], float]] = {
    "linear": lambda t: max(0, 1 - abs(t)),
    "cubic": cubic,
    "lanczos3": lanczos(3),
    "lanczos5": lanczos(5),
}


def matrix(n: int, centers: np.ndarray, step: float, kernel: Callable[[float], float], antialias: bool) -> np.ndarray:
    """[results, n]: every weight by its definition."""
    stretch = max(step, 1) if antialias else 1
    w = np.array([[kernel((c - j) / stretch) for j in range(n)] for c in centers])
    inside = (centers >= -0.5) & (centers <= n - 0.5)
    return np.where(inside[:, None], w / np.where(inside, w.sum(1), 1)[:, None], 0)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("method", KERNELS)
def test_resize(method: str, antialias: bool) -> None:
    x = real(2, 7, 5, 2)
    for h, w in ((3, 11), (7, 4), (14, 1)):
        rows, columns = (
            matrix(n, (np.arange(m) + 0.5) * n / m - 0.5, n / m, KERNELS[method], antialias)
            for n, m in ((7, h), (5, w))
        )
        want = np.einsum("bijc,hi,wj->bhwc", x, rows, columns)
        f = lambda x, h=h, w=w: image.resize(x, (2, h, w, 2), method, antialias=antialias)  # noqa: E731
        close(*both(f, x), want)
        check_gradients(f, x)
    half = image.resize(x.astype(np.float16), (2, 3, 11, 2), method)
    assert half.dtype == np.float16


def test_resize_nearest_and_area() -> None:
    x = real(7, 5)
    (got,) = both(lambda x: image.resize(x, (3, 12), "nearest"), x)
    np.testing.assert_array_equal(got, x[[1, 3, 5]][:, [0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 4, 4]])
    assert image.resize(x.astype(np.uint8), (3, 3), "nearest").dtype == np.uint8
    fine = x.repeat(3, 0).reshape(3, 7, 5).mean(1)  # thirds of an axis of seven
    (got,) = both(lambda x: image.resize(x, (3, 5), "area"), x)
    close(got, fine)
    close(*both(lambda x: image.resize(x, (14, 5), "area"), x), x.repeat(2, 0))
    check_gradients(lambda x: image.resize(x, (3, 2), "area"), x)
    assert image.resize(x, (7, 0)).shape == (7, 0)
    assert image.resize(x, (7, 5)) is x or (image.resize(x, (7, 5)) == x).all()


def test_resize_has_few_taps() -> None:
    """Enlarging reads a handful of pixels for each one, however large the image is."""
    x = np.zeros((4000, 2))
    assert image.resize(x, (8000, 2)).shape == (8000, 2)
    places, _ = image.resizing._kernel_taps(4000, np.arange(8000) / 2.0, 0.5, "cubic", True)
    assert places.shape == (8000, 5)


def test_scale_and_translate() -> None:
    x = real(1, 6, 5)
    weights = matrix(6, (np.arange(8) + 0.5 - 1.5) / 0.75 - 0.5, 1 / 0.75, KERNELS["linear"], True)
    f = lambda x: image.scale_and_translate(x, (1, 8, 5), [1], [0.75], [1.5])  # noqa: E731
    close(*both(f, x), np.einsum("bij,hi->bhj", x, weights))
    assert (f(x)[:, 0] == 0).all()
    check_gradients(f, x)


@pytest.mark.parametrize("method", KERNELS)
def test_scale_and_translate_by_traced_numbers(method: str) -> None:
    x, scale, move = real(1, 6, 5), np.array([0.75, 1.3]), np.array([1.43, -0.41])
    f = lambda x, s, t: image.scale_and_translate(x, (1, 8, 5), [1, 2], list(s), list(t), method)  # noqa: E731
    both(f, x, scale, move)
    check_gradients(f, x, scale, move)


# ------------------------------------------------------------------------------------------------------------ sampling


def pixel(x: np.ndarray, at: tuple[int, ...], padding: str) -> Any:
    """The pixel at integers, wherever they lie."""
    place = []
    for i, n in zip(at, x.shape, strict=False):
        if padding == "zeros" and not 0 <= i < n:
            return 0
        if padding == "border":
            i = min(max(i, 0), n - 1)
        if padding == "wrap":
            i %= n
        place.append(i)
    return x[tuple(place)]


def mirror(c: float, low: float, high: float) -> float:
    while not low <= c <= high:
        c = 2 * low - c if c < low else 2 * high - c
    return c


def interpolate(x: np.ndarray, c: np.ndarray, method: str, padding: str) -> Any:
    """One pixel of x [*spatial, channels] at c."""
    if padding == "border":
        c = np.array([min(max(v, 0), n - 1) for v, n in zip(c, x.shape, strict=False)])
    if padding.startswith("reflection"):
        off = 0 if padding.endswith("centers") else 0.5
        c = np.array([mirror(v, -off, n - 1 + off) for v, n in zip(c, x.shape, strict=False)])
        c, padding = np.array([min(max(v, 0), n - 1) for v, n in zip(c, x.shape, strict=False)]), "border"
    if method == "nearest":
        return pixel(x, tuple(int(v) for v in np.rint(c)), padding)
    total = 0
    for corner in np.ndindex(*(2,) * len(c)):
        at = np.floor(c).astype(int) + corner
        total = total + pixel(x, tuple(at), padding) * np.prod(1 - abs(c - at))
    return total


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection", "reflection_centers", "wrap"])
@pytest.mark.parametrize("method", ["nearest", "linear"])
def test_sample(method: str, padding: str) -> None:
    for spatial in ((6,), (4, 5), (3, 4, 2)):
        x, places = real(2, *spatial, 3), RNG.uniform(-4, 9, (2, 7, len(spatial)))
        f = lambda x, c: image.sample(x, c, method, padding=padding)  # noqa: E731
        (got,) = both(f, x, places)
        for b, i in np.ndindex(2, 7):
            close(got[b, i], interpolate(x[b], places[b, i], method, padding) + np.zeros(3))
        inner = RNG.uniform(0.1, 0.4, places.shape) + RNG.choice([0, 0.5], places.shape)  # the nearest changes at 0.5
        check_gradients(f, x, inner)


@pytest.mark.parametrize("method", ["nearest", "linear"])
def test_sample_filled(method: str) -> None:
    x, places = real(2, 4, 5, 3), RNG.uniform(-4, 9, (2, 7, 2))
    f = lambda x, c: image.sample(x, c, method, fill=2.5)  # noqa: E731
    (got,) = both(f, x, places)
    close(got, image.sample(x - 2.5, places, method) + 2.5)
    check_gradients(f, x, RNG.uniform(-0.9, 0.9, places.shape))


def test_sample_at_the_ends_of_the_world() -> None:
    x = real(1, 4, 4, 1).astype(np.float32)
    places = np.array([[[0, 0], [1e30, 0], [-np.inf, 2], [np.nan, 1], [3, 3]]], np.float32)
    (got,) = both(image.sample, x, places)
    close(got[0, [0, 1, 2, 4], 0], [x[0, 0, 0, 0], 0, 0, x[0, 3, 3, 0]])
    assert np.isnan(got[0, 3, 0])
    (edge,) = both(lambda x, c: image.sample(x, c, padding="border"), x, places)
    close(edge[0, :3, 0], [x[0, 0, 0, 0], x[0, 3, 0, 0], x[0, 0, 2, 0]])


@pytest.mark.parametrize("align", [True, False])
def test_grid_sample_and_affine_grid(align: bool) -> None:
    x = real(2, 4, 5, 3)
    same = np.tile(np.eye(2, 3), (2, 1, 1))
    (grid,) = both(lambda t: image.affine_grid(t, (4, 5), align_corners=align), same)
    close(*both(lambda x, g: image.grid_sample(x, g, align_corners=align), x, grid), x)
    mirrored = same * [[-1], [1]]
    f = lambda x, t: image.grid_sample(  # noqa: E731
        x, image.affine_grid(t, (4, 5), align_corners=align), align_corners=align, padding="border"
    )
    close(*both(f, x, mirrored), x[:, :, ::-1])
    check_gradients(f, x, real(2, 2, 3) * 0.7)
    corners = np.array([[[[-1.0, -1.0], [1.0, 1.0]]]] * 2)
    (ends,) = both(lambda x, g: image.grid_sample(x, g, align_corners=align, padding="border"), x, corners)
    close(ends[:, 0], np.stack([x[:, 0, 0], x[:, -1, -1]], 1))
    first = np.moveaxis(x, -1, 1)
    (got,) = both(lambda x, g: image.grid_sample(x, g, align_corners=align, data_format="NCHW"), first, grid)
    close(got, first)
    for padding in ("zeros", "reflection"):
        assert image.grid_sample(x, corners * 3, padding=padding, align_corners=align).shape == (2, 1, 2, 3)


def test_affine_transform_and_rotation() -> None:
    x = real(2, 5, 5, 1)
    (moved,) = both(lambda x: image.affine_transform(x, np.array([[1.0, 0, 1], [0, 1, -2]])), x)
    want = np.zeros_like(x)
    want[:, :-1, 2:] = x[:, 1:, :-2]
    close(moved, want)
    (turned,) = both(lambda x, a: image.rotate(x, a), x, np.array([math.pi / 2, math.pi]))
    close(turned[0], np.rot90(x[0]), 1e-9)
    close(turned[1], np.rot90(x[1], 2), 1e-9)
    check_gradients(image.rotate, x, np.array([0.3, 0.7]))
    (small,) = both(lambda x: image.affine_transform(x, np.array([[2.0, 0, 0], [0, 2, 0]]), (2, 2)), x)
    close(small, x[:, :4:2, :4:2])
    flat = real(1, 6, 1)
    close(*both(lambda x: image.affine_transform(x, np.array([[-1.0, 5]])), flat), flat[:, ::-1])


# ---------------------------------------------------------------------------------------- colours, blur, views, patches


def test_colors() -> None:
    x = RNG.uniform(0, 1, (4, 5, 3))
    x[0, :3] = [[0, 0, 0], [0.5, 0.5, 0.5], [1, 0, 0]]
    (hsv,) = both(image.rgb_to_hsv, x)
    want = np.array([colorsys.rgb_to_hsv(*p) for p in x.reshape(-1, 3)]).reshape(x.shape)
    close(hsv, want)
    (back,) = both(image.hsv_to_rgb, hsv)
    close(back, x)
    close(*both(lambda x: image.rgb_to_hsv(x, axis=0), np.moveaxis(x, -1, 0)), np.moveaxis(hsv, -1, 0))
    close(*both(image.rgb_to_grayscale, x), x @ np.array([[0.299], [0.587], [0.114]]))
    check_gradients(image.rgb_to_hsv, x[1:])
    check_gradients(image.hsv_to_rgb, hsv[1:])
    close(*both(lambda x: image.adjust_hue(x, 0.25), x), image.hsv_to_rgb(hsv + np.array([0.25, 0, 0])))
    close(*both(lambda x: image.adjust_saturation(x, 0), x), np.repeat(x.max(-1, keepdims=True), 3, -1))
    close(*both(lambda x: image.adjust_contrast(x, 2), x), 2 * x - x.mean((0, 1)))
    close(*both(lambda x: image.adjust_brightness(x, 2), x), x + 2)
    with pytest.raises(ShapeError, match="axis -1 must have three channels"):
        image.rgb_to_hsv(x[..., :2])


def test_gaussian_blur() -> None:
    x = real(2, 6, 7, 2)
    taps = np.exp(-0.5 * (np.arange(-1, 2) / 0.8) ** 2)
    kernel = np.outer(taps, np.exp(-0.5 * (np.arange(-2, 3) / 1.5) ** 2))
    kernel /= kernel.sum()
    padded = np.pad(x, ((0, 0), (1, 1), (2, 2), (0, 0)), "reflect")
    want = sum(kernel[i, j] * padded[:, i : i + 6, j : j + 7] for i in range(3) for j in range(5))
    f = lambda x: image.gaussian_blur(x, (0.8, 1.5), (3, 5))  # noqa: E731
    close(*both(f, x), want)
    check_gradients(f, x)
    close(image.gaussian_blur(np.ones((1, 9, 9, 1)), 1.0), np.ones((1, 9, 9, 1)))
    traced = lambda x, s: image.gaussian_blur(x, list(s), (3, 5))  # noqa: E731
    close(*both(traced, x, np.array([0.8, 1.5])), want)
    check_gradients(traced, x, np.array([0.8, 1.5]))
    even = image.gaussian_blur(np.arange(5.0).reshape(1, 5, 1), 1.0, 2, mode="edge")
    close(even[0, :, 0], [0.5, 1.5, 2.5, 3.5, 4])
    with pytest.raises(AttributeSpecError, match="positive sizes"):
        image.gaussian_blur(x, 1.0, 0)
    with pytest.raises(AttributeSpecError, match="of a traced sigma"):
        both(image.gaussian_blur, x, np.array(1.0))


def test_views() -> None:
    x = real(2, 6, 7, 2)
    close(*both(lambda x: image.crop(x, 1, 2, 3, 4), x), x[:, 1:4, 2:6])
    close(*both(lambda x: image.center_crop(x, 3, 4), x), x[:, 1:4, 1:5])
    close(*both(image.flip_left_right, x), x[:, :, ::-1])
    close(*both(image.flip_up_down, x), x[:, ::-1])
    for call in (lambda: image.crop(x, 4, 0, 3, 3), lambda: image.center_crop(x, 7, 1)):
        with pytest.raises(ShapeError, match="no rectangle of"):
            call()


def test_extract_patches() -> None:
    x = real(2, 6, 7, 3)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    attrs: dict[str, Any] = {"stride": (2, 1), "padding": 1, "dilation": (1, 2)}
    want = np.stack(
        [np.stack([padded[:, i : i + 3, j : j + 3 : 2].reshape(2, -1) for j in range(7)], 1) for i in range(0, 6, 2)],
        1,
    )
    f = lambda x: nn.extract_patches(x, (3, 2), **attrs)  # noqa: E731
    close(*both(f, x), want)
    check_gradients(f, x)
    (first,) = both(lambda x: nn.extract_patches(x, (3, 2), **attrs, data_format="NCHW"), np.moveaxis(x, -1, 1))
    close(first, np.moveaxis(want.reshape(2, 3, 7, 6, 3).swapaxes(-1, -2).reshape(2, 3, 7, 18), -1, 1))
    w = real(3, 2, 3, 4)
    close(f(x) @ w.reshape(18, 4), nn.conv(x, w, **attrs))
    assert nn.extract_patches(real(1, 6, 2), 3).shape == (1, 2, 6)
    with pytest.raises(ShapeError, match="larger than the padded operand"):
        nn.extract_patches(x, 9)


@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
def test_fold_patches_is_the_transpose_of_extract_patches(data_format: str) -> None:
    attrs: dict[str, Any] = {
        "stride": (2, 1),
        "padding": [(1, 2), (0, 1)],
        "dilation": (1, 2),
        "data_format": data_format,
    }
    x = real(*((2, 7, 5, 3) if data_format == "NHWC" else (2, 3, 7, 5)))
    patches = nn.extract_patches(x, (3, 2), **attrs)
    y = real(*patches.shape)
    fold = lambda y: nn.fold_patches(y, (7, 5), (3, 2), **attrs)  # noqa: E731
    (folded,) = both(fold, y)
    assert folded.shape == x.shape
    close((folded * x).sum(), (y * patches).sum())
    check_gradients(fold, y)
    with pytest.raises(ShapeError, match=r"needs a grid of \(4, 5\) patches of \(3, 2\) elements"):
        nn.fold_patches(y, (7, 6), (3, 2), **attrs)


def test_pixels_for_channels() -> None:
    x = real(2, 3, 2, 12)
    deep = x.reshape(2, 3, 2, 2, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 6, 4, 3)
    wide = x.reshape(2, 3, 2, 3, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(2, 6, 4, 3)
    for up, down, want in (
        (nn.depth_to_space, nn.space_to_depth, deep),
        (nn.pixel_shuffle, nn.pixel_unshuffle, wide),
    ):
        close(*both(lambda x: up(x, 2), x), want)  # noqa: B023
        close(*both(lambda x: down(x, 2), want), x)  # noqa: B023
        (first,) = both(lambda x: up(x, 2, data_format="NCHW"), np.moveaxis(x, -1, 1))  # noqa: B023
        close(first, np.moveaxis(want, -1, 1))
        with pytest.raises(ShapeError, match="cannot be cut into blocks of 5 pixels"):
            up(x, 5)
        with pytest.raises(ShapeError, match="cannot be cut into blocks"):
            down(x, 5)
    assert nn.pixel_shuffle(real(1, 4, 6), 3).shape == (1, 12, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: image.resize(real(2, 3), (2,)), ShapeError, r"cannot resize to shape \(2,\)"),
        (lambda: image.resize(real(0, 3), (2, 3)), ShapeError, "cannot resize"),
        (lambda: image.resize(real(2, 3), (2, 2), "box"), AttributeSpecError, "'box' is none of nearest, area, linear"),
        (
            lambda: image.scale_and_translate(real(2, 3), (2, 3), [0], [0.0], [0.0]),
            AttributeSpecError,
            "positive scale",
        ),
        (lambda: image.scale_and_translate(real(2, 3), (2, 4), [0], [1.0], [0.0]), ShapeError, "by changing axes"),
        (lambda: image.sample(real(1, 3, 3, 1), real(1, 4, 3)), ShapeError, "places"),
        (lambda: image.sample(real(1, 3, 3, 1), real(1, 4, 2), "cubic"), AttributeSpecError, "'cubic'"),
        (lambda: image.grid_sample(real(1, 3, 3, 1), real(1, 4, 2)), ShapeError, r"\[batch, \*sizes, rank\]"),
        (lambda: image.affine_grid(real(2, 2), (3, 3)), ShapeError, r"theta must be \[batch, 2, 3\]"),
        (lambda: image.affine_transform(real(1, 3, 3, 1), real(3, 3)), ShapeError, "the matrix must be"),
        (lambda: image.rotate(real(3, 3, 1), 1.0), ShapeError, "one angle"),
    ],
)
def test_errors(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
