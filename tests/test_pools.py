"""Convolutions that pool what they compute, and the gradient behind max pooling that keeps nothing of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from fuzz_draft import OPS
from test_passes import TARGET, applied, traced

import tgc
import tgc.numpy as tnp
from tgc import nn
from tgc.interpret import interpret
from tgc.ir import Graph
from tgc.ops.creation import fill
from tgc.ops.region import fused
from tgc.passes import PIPELINE, parse_pipeline, run
from tgc.passes.fuse import Fuse
from tgc.passes.simplify import Simplify
from tgc.types import F32

RNG = np.random.default_rng(3)


def whole(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    """Small whole numbers: sums of them are exact in any order."""
    return RNG.integers(-3, 4, shape).astype(dtype)


def regions(low: tgc.Lowered) -> list[list[str]]:
    """The ops of each kernel."""
    graph = run(parse_pipeline(os.environ.get("TGC_PIPELINE", PIPELINE)), low.graph, TARGET).result
    return [[n.op.name for n in node.body.nodes] for node in graph.nodes if node.op is fused]


def sizes(windows: tuple[int, int]) -> dict[str, Any]:
    """Attributes of windows of images, side by side."""
    return {"window": (1, *windows, 1), "stride": (1, *windows, 1), "padding": ((0, 0),) * 4, "dilation": (1,) * 4}


def pooled(windows: Sequence[int]) -> Any:
    """A convolution whose results are pooled in three ways, with something before and behind."""

    def f(x: Any, w: Any, b: Any, r: Any) -> Any:
        y = nn.relu(nn.conv(x, w) + b)
        at = nn.max_pool_argmax(y, windows)
        return nn.max_pool(y, windows) * 2 + r, at, nn.avg_pool(y, windows)

    return f


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("image", "filters", "windows"),
    [
        ((28, 28, 1), (3, 3, 32), (2, 2)),  # a first layer
        ((11, 14, 3), (3, 3, 7), (2, 2)),  # columns masked, a row and a column left over
        ((9, 9, 2), (2, 2, 20), (1, 3)),
        ((9, 9, 2), (2, 2, 40), (3, 1)),
        ((13, 13, 5), (1, 1, 16), (2, 1)),
        ((7, 8, 4), (3, 3, 33), (1, 4)),
        ((4, 4, 4), (3, 3, 9), (2, 2)),  # one window alone
    ],
)
def test_pooled_where_it_is_made(
    image: tuple[int, ...], filters: tuple[int, ...], windows: tuple[int, ...], dtype: Any
) -> None:
    x, w, b = (
        whole(3, *image, dtype=dtype),
        whole(*filters[:2], image[-1], filters[-1], dtype=dtype),
        whole(filters[-1]),
    )
    n = [(i - k + 1) // s for i, k, s in zip(image[:2], filters[:2], windows, strict=True)]
    r = whole(3, *n, filters[-1], dtype=dtype)
    f = tgc.jit(pooled(windows))
    low = f.lower(x, w, b.astype(dtype), r)
    (region,) = [ops for ops in regions(low) if "conv" in ops]
    assert {"window_max", "window_argmax", "window_sum"} <= {*region}
    for got, want in zip(f(x, w, b.astype(dtype), r), interpret(low.graph, x, w, b.astype(dtype), r), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("windows", [(2, 2), (4, 4), (1, 2), (4, 1)])
@pytest.mark.parametrize("size", [(18, 18), (13, 15)])
def test_pooled_behind_winograd(
    size: tuple[int, int], windows: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TGC_PIPELINE", PIPELINE.replace("winograd", "winograd{most=9.0,tile=4}"))
    x, w, b = whole(2, *size, 16), whole(3, 3, 16, 48), whole(48)
    n = [(i - 2) // s for i, s in zip(size, windows, strict=True)]
    r = whole(2, *n, 48)
    f = tgc.jit(pooled(windows))
    low = f.lower(x, w, b, r)
    (region,) = [ops for ops in regions(low) if "winograd_product" in ops]
    assert {"window_max", "window_argmax", "window_sum"} <= {*region}
    y, at, mean = f(x, w, b, r)
    want, _, want_mean = interpret(low.graph, x, w, b, r)
    np.testing.assert_allclose(y, want, atol=1e-4 * np.abs(want).max())
    np.testing.assert_allclose(mean, want_mean, atol=1e-4 * np.abs(want_mean).max())
    dense = nn.relu(nn.conv(x, w) + b)  # places are those of elements as great as the greatest
    found = OPS["window_gather"](dense, at, **sizes(windows))
    np.testing.assert_allclose(found, nn.max_pool(dense, windows), atol=1e-4 * np.abs(want).max())


X, W = "f32[2,9,9,3]", "f32[3,3,3,8]"


@pytest.mark.parametrize(
    ("f", "reason"),
    [
        (lambda x, w: nn.max_pool(nn.conv(x, w), 3, stride=2), "overlap, have gaps or reach beyond"),
        (lambda x, w: nn.max_pool(nn.conv(x, w), 2, padding=1), "overlap, have gaps or reach beyond"),
        (lambda x, w: nn.max_pool(nn.conv(x, w), 2, dilation=3), "overlap, have gaps or reach beyond"),
        (lambda x, w: nn.max_pool(nn.conv(x, w), 3), "are not parts of register tiles"),
        (lambda x, w: nn.max_pool(y := nn.conv(x, w), 2) * y[:, ::3, ::3], "is needed elsewhere"),
        (lambda x, w: nn.max_pool(y := nn.conv(x, w), 2) [:, :2, :2] + nn.max_pool(y, 2, stride=3), "needed elsewhere"),
        (lambda x, w: tnp.exp(nn.max_pool(nn.max_pool(nn.conv(x, w), 2), 3)), "windows of several kinds"),
    ],
)  # fmt: skip
def test_refusals(f: Any, reason: str) -> None:
    _, refusals = applied(Fuse(), traced(f, X, W))
    assert any(reason in r for r in refusals), refusals


def test_a_depthwise_convolution_pools_in_a_kernel_of_its_own() -> None:
    _, refusals = applied(
        Fuse(), traced(lambda x, w: nn.max_pool(nn.conv(x, w, groups=16), 2), "f32[2,9,9,16]", "f32[3,3,1,16]")
    )
    assert any("are not parts of register tiles" in r for r in refusals), refusals


# ---------------------------------------------------------------------------------------------------- the gradient


def trained(windows: int, stride: int, padding: int) -> Any:
    def loss(x: Any, w: Any, b: Any) -> Any:
        y = nn.max_pool(nn.relu(nn.conv(x, w) + b), windows, stride=stride, padding=padding)
        return (y * y).sum()

    return tgc.grad(loss, argnums=(0, 1, 2))


@pytest.mark.parametrize(("windows", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (2, 1, 0), (2, 3, 0)])
def test_gradient_behind_relu(windows: int, stride: int, padding: int) -> None:
    """The mask of relu is not needed: what has been pooled is masked, and put where the greatest elements are."""
    x, w, b = whole(3, 11, 10, 4), whole(3, 3, 4, 8), whole(8)
    f = tgc.jit(trained(windows, stride, padding))
    low = f.lower(x, w, b)
    after = Simplify()(low.graph, TARGET)
    tests = [n for n in after.nodes if n.op is OPS["gt"]]
    assert tests
    assert all(n.operands[0].node.op is OPS["window_max"] for n in tests)
    for got, want in zip(f(x, w, b), interpret(low.graph, x, w, b), strict=True):
        np.testing.assert_array_equal(got, want)


def test_what_is_pooled_is_not_stored() -> None:
    x, w, b = whole(3, 12, 10, 4), whole(3, 3, 4, 8), whole(8)
    (region,) = [ops for ops in regions(tgc.jit(trained(2, 2, 0)).lower(x, w, b)) if "conv" in ops and "relu" in ops]
    assert {"window_max", "window_argmax"} <= {*region}


def test_nan_and_ties_of_a_masked_gradient() -> None:
    """NaN is the greatest element of its window, and passes no gradient; of equal ones the first gets it."""
    x = np.array([[1, 1, np.nan, 2, -1, -2, 0, -0.0]], np.float32).reshape(1, 1, 8, 1)
    f = tgc.grad(lambda x: nn.max_pool(nn.relu(x), (1, 2)).sum())
    np.testing.assert_array_equal(tgc.jit(f)(x).ravel(), [1, 0, 0, 0, 0, 0, 0, 0])


def test_what_is_masked_with_less_than_zero_stays() -> None:
    """-0 elsewhere than where the greatest elements are is not what is put there."""

    def f(value: float) -> list[str]:
        def masked(x: Any, g: Any) -> Any:
            y, zero = OPS["relu"](x), fill(x.shape, F32, 0.0)
            put = OPS["window_scatter"](g, OPS["window_argmax"](y, **sizes((2, 2))), shape=x.shape, **sizes((2, 2)))
            return OPS["select"](OPS["gt"](x, zero), put, fill(x.shape, F32, value))

        return [n.op.name for n in Simplify()(traced(masked, "f32[2,4,6,3]", "f32[2,2,3,3]"), TARGET).nodes]

    assert f(0.0)[-1] == "window_scatter"
    assert f(-0.0)[-1] == f(1.0)[-1] == "select"


def test_sum_of_what_is_put_in_place() -> None:
    """Along the windows it is the sum of what is put; not along other axes, nor where places may be outside."""

    def f(axes: tuple[int, ...], own: bool) -> Any:
        def sums(x: Any, g: Any, at: Any) -> Any:
            at = OPS["window_argmax"](x, **sizes((2, 2))) if own else at
            return OPS["sum"](OPS["window_scatter"](g, at, shape=x.shape, **sizes((2, 2))), axes=axes, chunks=0)

        return traced(sums, "f32[2,4,6,3]", "f32[2,2,3,3]", "i32[2,2,3,3]")

    def names(graph: Graph) -> list[str]:
        return [n.op.name for n in Simplify()(graph, TARGET).nodes if n.op.name not in ("window_argmax", "iota")]

    assert names(f((0, 1, 2), own=True)) == ["sum"]
    assert names(f((0, 1), own=True)) == ["window_scatter", "sum"]
    assert names(f((0, 1, 2), own=False)) == ["window_scatter", "sum"]


def test_windows_of_many_elements() -> None:
    """An expression of one term an element, each in the last, would be walked too deep."""
    x = np.arange(300, dtype=np.float32).reshape(1, 300, 1) % 97
    windows = np.lib.stride_tricks.sliding_window_view(x[0, :, 0], 200)
    np.testing.assert_array_equal(tgc.jit(lambda x: nn.max_pool(x, 200, stride=1))(x)[0, :, 0], windows.max(1))
    np.testing.assert_allclose(tgc.jit(lambda x: nn.avg_pool(x, 200, stride=1))(x)[0, :, 0], windows.mean(1), rtol=1e-5)
