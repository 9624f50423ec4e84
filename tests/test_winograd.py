"""Convolution in Winograd's domain: where the pass does it, and how far results are from the direct sums in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_passes import TARGET

import tgc
from tgc import nn
from tgc.backends.cpu.emit import emit
from tgc.backends.cpu.target import CpuTarget
from tgc.backends.loops.lower import lower
from tgc.errors import ShapeError
from tgc.interpret import interpret
from tgc.ir import Graph
from tgc.ops import winograd
from tgc.ops.kinds import evaluate
from tgc.ops.winograd import FILTERINGS
from tgc.passes import PIPELINE, parse_pipeline, run
from tgc.passes.manager import collecting
from tgc.passes.winograd import Winograd

RNG = np.random.default_rng(5)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, dtype=np.float32)


def step(x: Any, w: Any, b: Any, padding: Any = 1) -> Any:
    """A convolution with an epilogue, and both of its gradients."""

    def loss(x: Any, w: Any) -> Any:
        y = nn.relu(nn.conv(x, w, padding=padding) + b)
        return (y * y).sum(), y

    (_, y), (dx, dw) = tgc.value_and_grad(loss, argnums=(0, 1), has_aux=True)(x, w)
    return y, dx, dw


def names(graph: Graph) -> list[str]:
    return [n.op.name for n in graph.nodes]


SHAPES = [  # of images and filters; tiles of four pixels fit, or do not; channels in panels, or not
    ((2, 16, 16, 32), (3, 3, 32, 32), 1),
    ((1, 17, 30, 48), (3, 3, 48, 16), 1),
    ((3, 21, 13, 16), (3, 3, 16, 80), 0),
]


@pytest.mark.parametrize("tile", FILTERINGS)
@pytest.mark.parametrize(("x_shape", "w_shape", "padding"), SHAPES)
def test_close_to_the_direct_sums(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], padding: int, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Well under 1e-4 of the greatest result, forward and backward."""
    monkeypatch.setenv("TGC_PIPELINE", PIPELINE.replace("winograd", f"winograd{{most=9.0,tile={tile}}}"))
    x, w, b = normal(*x_shape), normal(*w_shape) / np.float32(np.sqrt(9 * w_shape[2])), normal(w_shape[3])
    f = tgc.jit(lambda x, w, b: step(x, w, b, padding))
    low = f.lower(x, w, b)
    assert sum("winograd_product" in name for name in low.kernels) >= 1
    found = f(x, w, b)
    wide = tgc.jit(lambda x, w, b: step(x, w, b, padding))(*(a.astype(np.float64) for a in (x, w, b)))
    for got, want in zip(found, wide, strict=True):
        assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


@pytest.mark.parametrize("tile", FILTERINGS)
def test_oracle_agrees_after_the_pass(tile: int) -> None:
    x, w = normal(1, 12, 12, 16), normal(3, 3, 16, 16)
    graph = tgc.jit(lambda x, w: step(x, w, np.zeros(16, np.float32))).lower(x, w).graph
    after = run(parse_pipeline(f"inline,fold,simplify,winograd{{most=9.0,tile={tile}}}"), graph, TARGET).result
    assert names(after).count("winograd_product") == 2  # forward, and the gradient by the images
    assert "conv_kernel_grad" not in names(after)
    for got, want in zip(interpret(after, x, w), interpret(graph, x, w), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize(
    ("x", "w", "attrs", "reason"),
    [
        ((8, 32, 32, 64), (5, 5, 64, 64), {}, "only float32 3x3 filters"),
        ((8, 32, 32, 64), (3, 3, 32, 64), {"groups": 2}, "only float32 3x3 filters"),
        ((8, 32, 32, 64), (3, 3, 64, 64), {"stride": 2}, "strides and dilation"),
        ((8, 32, 32, 64), (3, 3, 64, 64), {"dilation": 2}, "strides and dilation"),
        ((8, 32, 32, 3), (3, 3, 3, 64), {}, "multiples of 16"),
        ((1, 8, 8, 512), (3, 3, 512, 512), {}, "of the direct convolution's time"),
    ],
)
def test_declines_with_a_reason(x: Any, w: Any, attrs: dict[str, Any], reason: str) -> None:
    low = tgc.jit(lambda x, w: nn.conv(x, w, padding=1, **attrs)).lower(
        np.zeros(x, np.float32), np.zeros(w, np.float32)
    )
    with collecting() as refusals:
        assert Winograd()(low.graph, TARGET) == low.graph
    assert [reason in str(r) for r in refusals] == [True]


def test_an_option_turns_it_off() -> None:
    low = tgc.jit(lambda x, w: nn.conv(x, w, padding=1)).lower(normal(8, 32, 32, 64), normal(3, 3, 64, 64))
    assert "conv" in names(Winograd(most=0.0)(low.graph, TARGET))
    assert "conv" not in names(Winograd()(low.graph, TARGET))


def test_constant_filters_are_transformed_once() -> None:
    w = normal(3, 3, 64, 64)
    low = tgc.jit(lambda x: nn.conv(x, w, padding=1)).lower(normal(8, 32, 32, 64))
    assert [k.split("_")[0] for k in low.kernels] == ["pad", "winograd", "winograd"]  # no transform of filters


def test_few_pixels_take_small_tiles() -> None:
    """Where filters, not pixels, are most of what is read, tiles are small, so that the filters are."""
    for size, channels, elements in ((14, 256, 16), (56, 64, 36)):
        w = normal(3, 3, channels, channels)
        low = tgc.jit(lambda x, w=w: nn.conv(x, w, padding=1)).lower(normal(1, size, size, channels))
        products = [n for n in Winograd()(low.graph, TARGET).nodes if n.op is winograd.product]
        assert [n.operands[1].shape[0] for n in products] == [elements]


def test_kernels_do_not_depend_on_what_stays_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters of few channels stay in the second-level cache, those of many do not: the kernel is the same."""
    monkeypatch.setenv("TGC_PIPELINE", PIPELINE.replace("winograd", "winograd{most=9.0}"))
    found, asked = set(), set()
    for c in (32, 2048):
        low = tgc.jit(nn.conv).lower(normal(1, 18, 18, c), normal(3, 3, c, 64))
        [node] = (n for n in low.compilation.result.nodes if n.attrs.get("kind") == "product")
        [kernel] = lower(node, CpuTarget.host())
        found.add(emit(kernel, CpuTarget.host()))
        asked.add(kernel.values["stays"])
    assert len(found) == 1
    assert asked == {0, 1}


@pytest.mark.parametrize("filtering", FILTERINGS.values(), ids=str)
def test_matrices_make_a_convolution(filtering: winograd.Filtering) -> None:
    """A' [(G w) * (B' x)] is the valid correlation of x with w."""
    b, g, a = (filtering.matrices[name] for name in ("data", "filter", "cotangent"))
    x, w = RNG.standard_normal(filtering.window), RNG.standard_normal(3)
    np.testing.assert_allclose(a.T @ ((g @ w) * (b @ x)), np.correlate(x, w, "valid"), atol=1e-12)


def test_bad_operands() -> None:
    with pytest.raises(ShapeError, match="multiples of 4"):
        evaluate(winograd.tiles, [np.zeros((1, 7, 6, 2))], {"matrix": "data", "tile": 4})
    with pytest.raises(ShapeError, match="no matrix 'other'"):
        evaluate(winograd.tiles, [np.zeros((1, 6, 6, 2))], {"matrix": "other", "tile": 4})
    with pytest.raises(ShapeError, match="no filtering has tiles of 3"):
        evaluate(winograd.tiles, [np.zeros((1, 6, 6, 2))], {"matrix": "data", "tile": 3})
    with pytest.raises(ShapeError, match="do not make a result"):
        evaluate(winograd.product, [np.zeros((36, 1, 1, 1, 2)), np.zeros((36, 2, 3))], {"shape": (5, 4)})
