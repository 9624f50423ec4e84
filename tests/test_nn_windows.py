"""Convolution and pooling against their definitions, eager and traced; gradients against finite differences."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gradients import check_gradients, gradients
from traced import both, close

from tgc import nn
from tgc.errors import AttributeSpecError, ShapeError

RNG = np.random.default_rng(1)


def real(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape)


def conv_reference(x: np.ndarray, w: np.ndarray, stride: Any, pairs: Any, dilation: Any, groups: int) -> np.ndarray:
    """Every output element by its definition, channels last."""
    x = np.pad(x, [(0, 0), *pairs, (0, 0)])
    kernel, (c, o) = w.shape[:-2], w.shape[-2:]
    out = [(n - (k - 1) * d - 1) // s + 1 for n, k, s, d in zip(x.shape[1:], kernel, stride, dilation, strict=False)]
    y = np.zeros((len(x), *out, o))
    for at in np.ndindex(*out):
        for k in np.ndindex(*kernel):
            place = tuple(i * s + j * d for i, s, j, d in zip(at, stride, k, dilation, strict=True))
            for f in range(o):
                g = f // (o // groups)
                y[(slice(None), *at, f)] += x[(slice(None), *place)][:, g * c : (g + 1) * c] @ w[k][:, f]
    return y


CONV: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any], Any]] = [
    ((2, 7, 3), (3, 3, 4), {}, [(0, 0)]),
    ((2, 7, 3), (2, 3, 4), {"padding": "same", "stride": 2}, [(0, 1)]),
    ((2, 7, 3), (3, 3, 4), {"padding": "causal", "dilation": 2, "stride": 2}, [(4, 0)]),
    ((2, 6, 5, 4), (3, 2, 4, 3), {"padding": "same"}, [(1, 1), (0, 1)]),
    ((2, 6, 5, 4), (3, 3, 4, 3), {"padding": 1, "stride": (2, 1)}, [(1, 1)] * 2),
    ((1, 6, 7, 4), (2, 3, 2, 6), {"padding": (0, 2), "dilation": 2, "groups": 2}, [(0, 0), (2, 2)]),
    ((1, 6, 7, 4), (3, 3, 1, 8), {"padding": [(2, 0), (0, 1)], "groups": 4}, [(2, 0), (0, 1)]),
    ((1, 3, 4, 5, 2), (2, 2, 3, 2, 3), {"stride": (1, 2, 1), "padding": "same"}, [(0, 1), (0, 0), (1, 1)]),
]


def to_nchw(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, -1, 1)


def to_oihw(w: np.ndarray) -> np.ndarray:
    return np.moveaxis(w, (-1, -2), (0, 1))


@pytest.mark.parametrize(("x", "w", "attrs", "pairs"), CONV)
def test_conv(x: Any, w: Any, attrs: dict[str, Any], pairs: Any) -> None:
    x, w, b, rank = real(*x), real(*w), real(w[-1]), len(x) - 2
    full = [(v,) * rank if isinstance(v, int) else v for v in (attrs.get("stride", 1), attrs.get("dilation", 1))]
    want = conv_reference(x, w, full[0], pairs, full[1], attrs.get("groups", 1)) + b
    close(*both(lambda *xs: nn.conv(*xs, **attrs), x, w, b), want)
    (first,) = both(lambda *xs: nn.conv(*xs, **attrs, data_format="NCHW"), to_nchw(x), to_oihw(w), b)
    close(first, to_nchw(want))
    check_gradients(lambda *xs: nn.conv(*xs, **attrs), x, w, b)


TRANSPOSED: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any], tuple[int, ...]]] = [
    ((2, 5, 3), (3, 4, 3), {}, (7,)),
    ((2, 5, 3), (3, 4, 3), {"stride": 2, "padding": "same"}, (10,)),
    ((2, 5, 3), (3, 4, 3), {"stride": 2, "padding": "causal"}, (9,)),
    ((2, 4, 3, 2), (3, 2, 3, 2), {"stride": 2}, (9, 6)),
    ((2, 4, 3, 2), (2, 2, 3, 2), {"stride": 3}, (12, 9)),
    ((2, 4, 3, 4), (3, 3, 2, 4), {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}, (8, 6)),
    ((2, 4, 3, 2), (3, 2, 3, 2), {"dilation": 2, "padding": [(1, 0), (2, 1)]}, (7, 2)),
]


@pytest.mark.parametrize(("x", "w", "attrs", "sizes"), TRANSPOSED)
def test_conv_transpose(x: Any, w: Any, attrs: dict[str, Any], sizes: tuple[int, ...]) -> None:
    """It is the transpose: <conv_transpose(x), y> == <x, conv(y)> for every y, conv having the same attributes."""
    x, w = real(*x), real(*w)
    b = real(w.shape[-2] * attrs.get("groups", 1))
    (got,) = both(lambda *xs: nn.conv_transpose(*xs, **attrs), x, w)
    assert got.shape == (len(x), *sizes, len(b))
    y = real(*got.shape)
    forward = nn.conv(y, w, **{k: v for k, v in attrs.items() if k != "output_padding"})
    cut = tuple(slice(n) for n in x.shape)  # an output padding may leave room for one more step
    close(np.sum(got * y), np.sum(x * forward[cut]), 1e-10)
    assert forward[cut].shape == x.shape
    close(nn.conv_transpose(x, w, b, **attrs), got + b)
    (first,) = both(lambda *xs: nn.conv_transpose(*xs, **attrs, data_format="NCHW"), to_nchw(x), to_oihw(w))
    close(first, to_nchw(got))
    check_gradients(lambda *xs: nn.conv_transpose(*xs, **attrs), x, w, b)


def pool_reference(
    x: np.ndarray, window: Any, stride: Any, pairs: Any, fold: Callable[[np.ndarray], Any]
) -> np.ndarray:
    """`fold` over the elements of each window that are not padding, channels last."""
    out = [(n + p + q - k) // s + 1 for n, k, s, (p, q) in zip(x.shape[1:], window, stride, pairs, strict=False)]
    y = np.zeros((len(x), *out, x.shape[-1]))
    for n, c, at in itertools.product(range(len(x)), range(x.shape[-1]), np.ndindex(*out)):
        cut = [
            slice(max(i * s - p, 0), i * s - p + k) for i, s, (p, _), k in zip(at, stride, pairs, window, strict=True)
        ]
        y[(n, *at, c)] = fold(x[(n, *cut, c)])
    return y


ODD = [(1, 0), (0, 1), (0, 0)]
POOL: list[tuple[tuple[int, ...], dict[str, Any], tuple[Any, Any, Any]]] = [
    ((2, 6, 4, 3), {"window": 2}, ((2, 2), (2, 2), [(0, 0)] * 2)),
    ((2, 6, 5, 3), {"window": (3, 2), "stride": 1}, ((3, 2), (1, 1), [(0, 0)] * 2)),
    ((1, 6, 5, 2), {"window": 3, "stride": 2, "padding": "same"}, ((3, 3), (2, 2), [(0, 1), (1, 1)])),
    ((2, 7, 2), {"window": 3, "stride": 2, "padding": 1}, ((3,), (2,), [(1, 1)])),
    ((1, 4, 4, 4, 2), {"window": 2, "padding": ODD}, ((2,) * 3, (2,) * 3, ODD)),
]


@pytest.mark.parametrize(("x", "attrs", "full"), POOL)
def test_pooling(x: Any, attrs: dict[str, Any], full: Any) -> None:
    x = real(*x)
    volume = math.prod(full[0])
    for f, more, fold in (
        (nn.max_pool, {}, np.max),
        (nn.avg_pool, {}, np.mean),
        (nn.avg_pool, {"count_include_pad": True}, lambda v: v.sum() / volume),
    ):
        want = pool_reference(x, *full, fold)
        close(*both(lambda x: f(x, **attrs, **more), x), want)  # noqa: B023
        close(*both(lambda x: f(x, **attrs, **more, data_format="NCHW"), to_nchw(x)), to_nchw(want))  # noqa: B023
        check_gradients(lambda x: f(x, **attrs, **more), x)  # noqa: B023


def test_pooling_dtypes() -> None:
    x = np.full((1, 64, 64, 1), 100, np.float16)
    (mean,) = both(lambda x: nn.avg_pool(x, 64), x)
    assert (mean.dtype, mean.item()) == (np.float16, 100)  # a sum in float16 would overflow
    (largest,) = both(lambda x: nn.max_pool(x, 2, padding="same"), np.arange(-9, 0).reshape(1, 3, 3, 1))
    assert largest.ravel().tolist() == [-5, -4, -2, -1]
    assert np.isnan(nn.max_pool(np.array([1, np.nan, 2, 3]).reshape(1, 4, 1), 2)).ravel().tolist() == [True, False]


def test_global_pooling() -> None:
    x = real(2, 3, 4, 5)
    close(*both(nn.global_avg_pool, x), x.mean((1, 2)))
    close(*both(lambda x: nn.global_max_pool(x, keepdims=True, data_format="NCHW"), x), x.max((2, 3), keepdims=True))
    close(*both(lambda x: nn.global_avg_pool(x, data_format="NCHW"), x), x.mean((2, 3)))


def test_depthwise_and_separable_conv() -> None:
    x, w, point, b = real(2, 6, 5, 3), real(3, 2, 3, 2), real(1, 1, 6, 4), real(6)
    attrs: dict[str, Any] = {"stride": (2, 1), "padding": "same", "dilation": (1, 2)}
    want = np.stack([nn.conv(x[..., c : c + 1], w[:, :, c : c + 1], **attrs) for c in range(3)], -2)
    want = want.reshape(*want.shape[:-2], 6)
    close(*both(lambda *xs: nn.depthwise_conv(*xs, **attrs), x, w, b), want + b)
    first = w.transpose(2, 3, 0, 1)
    (got,) = both(lambda *xs: nn.depthwise_conv(*xs, **attrs, data_format="NCHW"), to_nchw(x), first)
    close(got, to_nchw(want))
    (got,) = both(lambda *xs: nn.separable_conv(*xs, **attrs), x, w, point)
    close(got, want @ point[0, 0])
    check_gradients(lambda *xs: nn.separable_conv(*xs, **attrs), x, w, point)
    line = real(2, 7, 3)
    (got,) = both(lambda *xs: nn.depthwise_conv(*xs, padding="causal"), line, w[0])
    assert got.shape == (2, 7, 6)
    with pytest.raises(ShapeError, match=r"depthwise_conv\(f64\[2,7,3\], f64\[2,2,3\]\): .* channels on axis 1"):
        nn.depthwise_conv(line, real(2, 2, 3))


@pytest.mark.parametrize(("n", "attrs", "starts"), [
    (7, {"window": 2}, [0, 2, 4, 6]),
    (7, {"window": 3, "stride": 2}, [0, 2, 4]),
    (6, {"window": 3, "stride": 2}, [0, 2, 4]),
    (5, {"window": 2, "stride": 3, "padding": 1}, [-1, 2]),
    (6, {"window": 2, "stride": 3, "padding": 1}, [-1, 2, 5]),
])  # fmt: skip
def test_ceil_mode(n: int, attrs: dict[str, Any], starts: list[int]) -> None:
    """Windows begin at each of `starts`, whatever they reach beyond the operand and its padding."""
    x, k, pad = real(1, n, 1), attrs["window"], attrs.get("padding", 0)
    parts = [x[0, max(s, 0) : s + k, 0] for s in starts]
    for f, more, want in (
        (nn.max_pool, {}, [p.max() for p in parts]),
        (nn.avg_pool, {}, [p.mean() for p in parts]),
        (
            nn.avg_pool,
            {"count_include_pad": True},
            [p.sum() / (min(s + k, n + pad) - s) for p, s in zip(parts, starts, strict=True)],
        ),
        (nn.sum_pool, {}, [p.sum() for p in parts]),
    ):
        (got,) = both(lambda x: f(x, **attrs, **more, ceil_mode=True), x)  # noqa: B023
        close(got[0, :, 0], want)


def test_large_windows_are_folded_axis_by_axis() -> None:
    x = real(1, 70, 61, 2)
    attrs: dict[str, Any] = {"window": (60, 50), "stride": (5, 10), "dilation": 1, "padding": [(0, 5), (7, 0)]}
    full = (60, 50), (5, 10), attrs["padding"]
    close(*both(lambda x: nn.max_pool(x, **attrs), x), pool_reference(x, *full, np.max))
    close(*both(lambda x: nn.avg_pool(x, **attrs), x), pool_reference(x, *full, np.mean))
    small = real(1, 12, 11, 1)
    check_gradients(lambda x: nn.max_pool(x, (9, 8), stride=1), small)
    first = gradients(lambda x: nn.max_pool(x, (9, 9)), np.ones((1, 9, 9, 1)))[0]
    assert first.ravel().nonzero()[0].tolist() == [0]


def test_dilated_means_and_incomplete_windows() -> None:
    x = real(2, 9, 3)
    close(*both(lambda x: nn.avg_pool(x, 2, stride=1, dilation=2), x), (x[:, :-2] + x[:, 2:]) / 2)
    line = np.array([3.0, 1, 4, 1, 9]).reshape(1, 5, 1)
    (places,) = both(lambda x: nn.max_pool_argmax(x, 2, ceil_mode=True), line)
    assert places.ravel().tolist() == [0, 0, 0]


def test_sum_and_lp_pooling() -> None:
    x = real(2, 5, 4, 3)
    attrs: dict[str, Any] = {"window": (3, 2), "stride": 2, "padding": 1}
    full = (3, 2), (2, 2), [(1, 1)] * 2
    close(*both(lambda x: nn.sum_pool(x, **attrs), x), pool_reference(x, *full, np.sum))
    for p in (1, 2, 3.5):
        want = pool_reference(x, *full, lambda v: (np.abs(v) ** p).sum() ** (1 / p))  # noqa: B023
        close(*both(lambda x: nn.lp_pool(x, p=p, **attrs), x), want)  # noqa: B023
    check_gradients(lambda x: nn.lp_pool(x, p=3, **attrs), x)
    assert (gradients(lambda x: nn.lp_pool(x, **attrs), np.zeros((1, 4, 4, 1)))[0] == 0).all()
    big = np.full((1, 64, 64, 1), 100, np.float16)
    assert both(lambda x: nn.lp_pool(x, 64), big)[0].item() == 6400  # the sum of squares would overflow


def test_unpooling_puts_elements_back() -> None:
    x = RNG.permutation(2 * 7 * 5 * 3).reshape(2, 7, 5, 3).astype(np.float64) + 1
    for data_format in ("NHWC", "NCHW"):
        a = x if data_format == "NHWC" else to_nchw(x)
        attrs: dict[str, Any] = {"stride": (2, 1), "padding": (1, 0), "data_format": data_format}
        y, at = both(
            lambda x: (nn.max_pool(x, (3, 2), **attrs), nn.max_pool_argmax(x, (3, 2), **attrs)),  # noqa: B023
            a,
        )
        (back,) = both(lambda y, at: nn.max_unpool(y, at, (3, 2), (7, 5), **attrs), y, at)  # noqa: B023
        hit = back != 0
        np.testing.assert_array_equal(back[hit] % a[hit], 0)  # once for each window in which it is the largest
        assert set(a[hit]) == set(y.ravel())
    check_gradients(lambda y, at: nn.max_unpool(y, at, (3, 2), (7, 5), **attrs), y, at)


def test_adaptive_pooling() -> None:
    x = real(2, 7, 6, 3)
    for sizes in ((3, 4), (7, 1), (2, 3), (9, 6)):
        want = np.zeros((2, 2, *sizes, 3))
        for i, j in np.ndindex(*sizes):
            cut = x[
                :,
                i * 7 // sizes[0] : -(-(i + 1) * 7 // sizes[0]),
                j * 6 // sizes[1] : -(-(j + 1) * 6 // sizes[1]),
            ]
            want[:, :, i, j] = cut.mean((1, 2)), cut.max((1, 2))
        for f, wanted in zip((nn.adaptive_avg_pool, nn.adaptive_max_pool), want, strict=True):
            (got,) = both(lambda x: f(x, sizes), x)  # noqa: B023
            # A mean of means is the mean of a window: its rows all have the same length.
            close(got, wanted)
            check_gradients(lambda x: f(x, sizes), x)  # noqa: B023
    first = both(lambda x: nn.adaptive_avg_pool(x, 2, data_format="NCHW"), to_nchw(x))[0]
    close(first, to_nchw(nn.adaptive_avg_pool(x, 2)))
    with pytest.raises(AttributeSpecError, match=r"cannot pool sizes \(7, 6\) to \(0, 2\)"):
        nn.adaptive_max_pool(x, (0, 2))
