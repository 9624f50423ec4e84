"""Convolutions of each channel by itself: their values in all directions, and the kernels that compute them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_nn_windows import conv_reference
from test_passes import TARGET

import tgc
from tgc import nn
from tgc.backends.cpu.backend import CpuBackend
from tgc.ir import Graph
from tgc.ops import contraction
from tgc.ops.kinds import evaluate
from tgc.passes import PIPELINE, parse_pipeline, run
from tgc.passes.memory import Memory
from tgc.passes.tiles import channelwise
from tgc.trace import trace
from tgc.types import F32, TensorType

RNG = np.random.default_rng(7)


def real(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape)


def attributes(channels: int, rank: int, **given: Any) -> dict[str, Any]:
    full = {"stride": 1, "padding": (0, 0), "dilation": 1} | given
    return {name: (value,) * rank for name, value in full.items()} | {"groups": channels}


# Channels that fill a part of a vector, a part of a panel, a panel, several; lines of pixels shorter and longer than
# those of the filter and than a tile; elements of the filter that only some pixels, or none, have.
CASES: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 7, 6, 3), (3, 3), {"padding": (1, 1)}),
    ((2, 9, 14, 17), (3, 3), {"padding": (1, 1), "stride": 2}),
    ((1, 12, 40, 40), (5, 5), {"padding": (2, 1), "dilation": 2}),
    ((4, 12, 31, 64), (3, 2), {"dilation": 2}),
    ((3, 5, 44, 128), (3, 3), {"padding": (0, 1)}),
    ((1, 4, 3, 5), (5, 5), {"padding": (3, 3)}),
    ((1, 2, 2, 20), (7, 7), {"padding": (6, 6)}),
    ((1, 3, 33, 16), (7, 9), {"padding": (4, 3), "stride": 3}),
    ((2, 50, 33), (8,), {"padding": (4, 3)}),
    ((2, 300, 8), (20,), {"padding": (19, 0)}),
    ((2, 5, 6, 7, 18), (3, 3, 3), {"padding": (1, 1), "stride": 2}),
    ((2, 3, 4, 3, 4, 6), (2, 2, 2, 3), {"padding": (1, 1)}),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "kernel", "given"), CASES)
def test_values_in_all_directions(shape: tuple[int, ...], kernel: tuple[int, ...], given: Any, dtype: Any) -> None:
    channels, rank = shape[-1], len(kernel)
    attrs = attributes(channels, rank, **given)
    x, w = real(*shape), real(*kernel, 1, channels)
    want = conv_reference(x, w, attrs["stride"], attrs["padding"], attrs["dilation"], channels)
    g = real(*want.shape)
    dw = evaluate(contraction.conv_kernel_grad, [x, g], {"kernel": kernel, "chunks": 0, **attrs})
    chunks = len(x) if len(x) > 1 else 0

    @tgc.jit
    def both(x: Any, w: Any, g: Any) -> Any:
        y, pull = tgc.vjp(lambda x, w: contraction.conv(x, w, **attrs), x, w)
        parts = contraction.conv_kernel_grad(x, g, kernel=kernel, chunks=chunks, **attrs)
        return y, *pull(g), parts.sum(axis=0) if chunks else parts

    y, dx, *found = both(*(a.astype(dtype) for a in (x, w, g)))
    close = 3e-5 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(y, want, rtol=close, atol=close)
    for made in found:
        np.testing.assert_allclose(made, dw, rtol=close, atol=10 * close)
    np.testing.assert_allclose(np.vdot(dx, x), np.vdot(want, g), rtol=10 * close, atol=100 * close)  # the adjoint
    e = real(*shape)
    moved = conv_reference(e, w, attrs["stride"], attrs["padding"], attrs["dilation"], channels)
    np.testing.assert_allclose(np.vdot(dx, e), np.vdot(moved, g), rtol=10 * close, atol=100 * close)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [(1, 1), (2, 2), (0, 2), (2, 0), (3, 1)])
@pytest.mark.parametrize("taps", [3, 5])
def test_ends_of_lines(taps: int, padding: tuple[int, int], stride: int) -> None:
    """Lines of one block, two and several: integers make every sum exact."""
    rng = np.random.default_rng(0)
    w = rng.integers(-3, 4, (3, taps, 1, 20)).astype(np.float32)
    for width in (5, 14, 15, 16, 28, 33):
        x = rng.integers(-3, 4, (2, 4, width, 20)).astype(np.float32)
        given: dict[str, Any] = {"stride": (1, stride), "padding": ((1, 1), padding)}
        y = tgc.jit(lambda x, w, given=given: nn.relu(nn.conv(x, w, groups=20, **given)))(x, w)
        padded, many = np.pad(x, ((0, 0), (1, 1), padding, (0, 0))), y.shape[2]
        parts = (
            padded[:, i : i + 4, j : j + (many - 1) * stride + 1 : stride] * w[i, j, 0] for i, j in np.ndindex(3, taps)
        )
        np.testing.assert_array_equal(y, np.maximum(sum(parts), 0), err_msg=f"width {width}")


@pytest.mark.parametrize("channels", [3, 17, 40, 64])
def test_epilogues(channels: int) -> None:
    """Bias, activation, residual and two results; the last block of a line overlaps the one before."""
    x, w, b, scale = real(2, 6, 34, channels), real(3, 3, 1, channels), real(channels), real(channels)

    def block(x: Any, w: Any, b: Any, scale: Any, old: Any) -> Any:
        y = nn.conv(x, w, padding=1, groups=channels) * scale + b
        return nn.relu(y) + old, nn.relu(y)

    f = tgc.jit(block, donate="old")
    args = [a.astype(np.float32) for a in (x, w, b, scale)]
    residual, y = f(*args, args[0].copy())
    want = np.maximum(conv_reference(x, w, (1, 1), [(1, 1)] * 2, (1, 1), channels) * scale + b, 0)
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(residual, want + x, rtol=1e-5, atol=1e-5)
    assert len(f.lower(*args, args[0]).kernels) == 1


def test_padding_is_left_out_of_the_sums() -> None:
    """Infinite elements of the filter make no NaN of zeros that are not there."""
    x, w = np.ones((1, 4, 20, 32), np.float32), np.ones((3, 3, 1, 32), np.float32)
    w[0, 0] = np.inf
    y = tgc.jit(lambda x, w: nn.conv(x, w, padding=1, groups=32))(x, w)
    assert np.isinf(y[:, 1:, 1:]).all()
    assert np.isfinite(y[:, 0]).all()
    assert np.isfinite(y[:, :, 0]).all()


# ------------------------------------------------------------------------------------------------------ structure

IMAGE, FILTER = (2, 40, 48, 64), (3, 3, 1, 64)


def passed(f: Any, *shapes: tuple[int, ...]) -> Graph:
    graph = trace(lambda *xs: [f(*xs)], [TensorType(F32, shape) for shape in shapes], name="f")
    return run([*parse_pipeline(PIPELINE), Memory()], graph, TARGET).result


def sources(graph: Graph) -> dict[str, str]:
    backend = CpuBackend()
    backend.target = TARGET
    return dict(backend.sources(graph))


def conv(x: Any, w: Any, **given: Any) -> Any:
    return contraction.conv(x, w, **attributes(w.shape[-1], 2, padding=(1, 1), **given))


def kernel_grad(x: Any, g: Any) -> Any:
    return contraction.conv_kernel_grad(x, g, kernel=(3, 3), chunks=0, **attributes(64, 2, padding=(1, 1)))


def input_grad(g: Any, w: Any) -> Any:
    attrs = attributes(64, 2, padding=(1, 1))
    return contraction.conv_input_grad(g, w, shape=IMAGE, **attrs)


@pytest.mark.parametrize(
    ("f", "shapes", "wanted"),
    [
        (conv, (IMAGE, FILTER), ["conv_contraction"]),
        (kernel_grad, (IMAGE, IMAGE), ["conv_kernel_grad_contraction", "sum_reduce"]),
    ],
)
def test_channels_are_the_columns(f: Any, shapes: Any, wanted: list[str]) -> None:
    """One kernel reads images without a copy of them in zeros, with tiles along the channels; sums come in chunks."""
    found = sources(passed(f, *shapes))
    assert list(found) == wanted
    assert "window_tile(" in found[wanted[0]]
    assert " tile(" not in found[wanted[0]]


def test_input_gradient_reads_cotangents_in_place() -> None:
    found = sources(passed(input_grad, IMAGE, FILTER))
    assert [name for name in found if "contraction" in name] == ["conv_contraction"]
    assert not any("pad" in name for name in found)


def test_tiles_are_results_unless_an_epilogue_follows() -> None:
    (plain,) = sources(passed(conv, IMAGE, FILTER)).values()
    (clipped,) = sources(passed(lambda x, w: nn.relu(conv(x, w)), IMAGE, FILTER)).values()
    assert ("# epilogue" in plain, "# epilogue" in clipped) == (False, True)


@pytest.mark.parametrize(
    ("filters", "groups", "alone"),
    [((3, 3, 1, 12), 12, True), ((3, 3, 1, 24), 12, False), ((3, 3, 2, 12), 6, False), ((3, 3, 12, 4), 1, False)],
)
def test_what_is_channelwise(filters: tuple[int, ...], groups: int, alone: bool) -> None:
    """As many groups as channels and filters; a multiplier makes filters of one channel neighbours."""
    image = TensorType(F32, (2, 8, 8, 12))
    attrs = attributes(groups, 2)
    assert (channelwise(contraction.conv.axis_map(image, TensorType(F32, filters), **attrs)) is not None) is alone


def test_chunks_are_few_and_of_one_size() -> None:
    def chunked(images: int, channels: int) -> list[int]:
        shape = (images, 40, 48, channels)
        g = passed(lambda x, g: contraction.conv_kernel_grad(
            x, g, kernel=(3, 3), chunks=0, **attributes(channels, 2, padding=(1, 1))), shape, shape)  # fmt: skip
        bodies = [n.attrs["body"] for n in g.nodes if "body" in n.attrs]
        nodes = [n for body in bodies for n in body.nodes if n.op is contraction.conv_kernel_grad]
        return [n.attrs["chunks"] for n in nodes]

    assert [chunked(n, 64) for n in (1, 2, 6, 7, 12, 13)] == [[0], [2], [6], [7], [6], [0]]
    assert chunked(8, 4096) == [0]  # enough channels to share


def test_scaled_gradients_of_the_filter() -> None:
    """Factors, which are parameters of the kernel, are not taken for axes of the window."""
    x, w, g = (real(*shape).astype(np.float32) for shape in [(8, 8, 16), (3, 1, 16), (8, 8, 16)])
    attrs = attributes(16, 1, padding=(1, 1))

    @tgc.jit
    def scaled(x: Any, g: Any) -> Any:
        slope = contraction.conv_kernel_grad(x, g, kernel=(3,), chunks=0, **attrs)
        return slope * 0.1, slope * 0.9

    (want,) = tgc.vjp(lambda w: contraction.conv(x, w, **attrs), w)[1](g)
    for found, factor in zip(scaled(x, g), (0.1, 0.9), strict=True):
        np.testing.assert_allclose(found, np.float32(factor) * want, rtol=1e-5, atol=1e-6)
