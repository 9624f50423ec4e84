"""Input gradients of strided and dilated convolutions: by definition, twice differentiated, and without zeros."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tgc
from tgc.interpret import interpret
from tgc.ops import contraction
from tgc.ops.conv_phases import conv_input_grad
from tgc.ops.kinds import Contraction

Attrs = dict[str, Any]
Convolution = tuple[tuple[int, ...], tuple[int, ...], int, Attrs]  # shape of the input, kernel, filters


def attributes(rank: int, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> Attrs:
    """One entry an axis; numbers stand for all axes."""

    def every(x: Any) -> tuple[Any, ...]:
        return x if isinstance(x, tuple) else (x,) * rank

    sides = tuple(p if isinstance(p, tuple) else (p, p) for p in every(padding))
    return dict(stride=every(stride), padding=sides, dilation=every(dilation), groups=groups)


def by_definition(g: np.ndarray, w: np.ndarray, shape: Sequence[int], attrs: Attrs) -> np.ndarray:
    """Each place of the kernel adds its products where it lay in the padded input."""
    groups = attrs["groups"]
    c, o = w.shape[-2], w.shape[-1] // groups
    steps = list(zip(w.shape[:-2], attrs["stride"], attrs["dilation"], g.shape[1:-1], strict=True))
    sizes = [max(n + a + b, (m - 1) * s + (k - 1) * d + 1)
             for n, (a, b), (k, s, d, m) in zip(shape[1:-1], attrs["padding"], steps, strict=True)]  # fmt: skip
    padded = np.zeros((g.shape[0], *sizes, groups * c), g.dtype)
    for place in itertools.product(*map(range, w.shape[:-2])):
        where = [slice(i * d, i * d + (m - 1) * s + 1, s) for i, (_, s, d, m) in zip(place, steps, strict=True)]
        for k in range(groups):
            product = np.tensordot(
                g[..., k * o : (k + 1) * o], w[(*place, slice(None), slice(k * o, (k + 1) * o))].T, 1
            )
            padded[(slice(None), *where, slice(k * c, (k + 1) * c))] += product
    inside = (slice(a, a + n) for n, (a, _) in zip(shape[1:-1], attrs["padding"], strict=True))
    return padded[(slice(None), *inside)]


def drawn(shape: Sequence[int], kernel: Sequence[int], filters: int, attrs: Attrs) -> tuple[np.ndarray, np.ndarray]:
    """A cotangent and filters of small integers, whose sums are exact."""
    rng = np.random.default_rng(0)
    spatial = contraction.conv_shape(shape[1:-1], kernel, attrs["stride"], attrs["padding"], attrs["dilation"])
    sizes = (shape[0], *spatial, filters), (*kernel, shape[-1] // attrs["groups"], filters)
    g, w = (rng.integers(-3, 4, size).astype(np.float32) for size in sizes)
    return g, w


@st.composite
def convolutions(draw: st.DrawFn) -> Convolution:
    """Shape of the input, kernel, filters and attributes of a convolution that has a result."""
    rank = draw(st.integers(1, 3))

    def every(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank)))

    kernel, stride, dilation = every(1, 5), every(1, 5), every(1, 4)
    padding = tuple(zip(every(0, 4), every(0, 4), strict=True))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [max(r - sum(p), 0) + extra for r, p, extra in zip(reach, padding, every(1, 6), strict=True)]
    groups, channels = draw(st.integers(1, 3)), draw(st.sampled_from((1, 2, 17)))
    shape = (draw(st.integers(1, 2)), *size, groups * channels)
    attrs = attributes(rank, stride, padding, dilation, groups)
    return shape, kernel, groups * draw(st.integers(1, 2)), attrs


@given(convolutions())
def test_input_gradient(made: Convolution) -> None:
    """Interpreted; with gaps between kernels, common divisors of stride and dilation, pixels that nothing reads."""
    shape, kernel, filters, attrs = made
    g, w = drawn(shape, kernel, filters, attrs)
    graph = tgc.jit(lambda g, w: conv_input_grad(g, w, shape=shape, **attrs)).lower(g, w).graph
    (found,) = interpret(graph, g, w)
    np.testing.assert_array_equal(found, by_definition(g, w, shape, attrs))


MADE = {
    "patches": ((2, 12, 8, 3), (4, 4), 5, attributes(2, stride=4)),
    "halved": ((2, 8, 6, 32), (3, 3), 4, attributes(2, stride=2, padding=1)),
    "few channels": ((1, 9, 11, 3), (7, 5), 6, attributes(2, stride=2, padding=(3, 2))),
    "1x1": ((1, 7, 8, 4), (1, 1), 5, attributes(2, stride=2)),
    "gaps": ((1, 11, 9, 2), (2, 3), 3, attributes(2, stride=(5, 4), padding=1)),
    "groups": ((1, 9, 9, 6), (3, 3), 6, attributes(2, stride=2, padding=1, groups=3)),
    "depthwise": ((1, 8, 8, 6), (3, 3), 6, attributes(2, stride=2, padding=1, groups=6)),
    "dilated": ((1, 13, 15, 2), (3, 3), 4, attributes(2, stride=(2, 4), padding=2, dilation=(3, 2))),
    "volume": ((1, 5, 6, 4, 2), (3, 2, 3), 2, attributes(3, stride=2, padding=((1, 0), (0, 0), (1, 1)))),
    "signal": ((2, 23, 1), (10,), 4, attributes(1, stride=5, padding=3)),
}
table = pytest.mark.parametrize("made", MADE.values(), ids=MADE)


@table
def test_compiled(made: Convolution) -> None:
    shape, kernel, filters, attrs = made
    g, w = drawn(shape, kernel, filters, attrs)
    found = tgc.jit(lambda g, w: conv_input_grad(g, w, shape=shape, **attrs))(g, w)
    np.testing.assert_array_equal(found, by_definition(g, w, shape, attrs))


@table
def test_second_derivative(made: Convolution) -> None:
    """The gradient is linear in the cotangent and in the filters, with the convolution and its kernel's gradient."""
    shape, kernel, filters, attrs = made
    g, w = drawn(shape, kernel, filters, attrs)
    x = np.random.default_rng(1).integers(-3, 4, shape).astype(np.float32)

    def paired(g: Any, w: Any) -> Any:
        return (conv_input_grad(g, w, shape=shape, **attrs) * x).sum()

    by_g, by_w = interpret(tgc.jit(tgc.grad(paired, argnums=(0, 1))).lower(g, w).graph, g, w)
    np.testing.assert_array_equal(by_g, contraction.conv(x, w, **attrs))
    np.testing.assert_array_equal(by_w, contraction.conv_kernel_grad(x, g, kernel=kernel, chunks=0, **attrs))


@pytest.mark.parametrize("name", ["patches", "halved", "1x1", "depthwise"])
def test_no_zeros_are_multiplied(name: str) -> None:
    """A gradient costs what the convolution costs, but for the edges, where windows reach beyond the cotangent."""
    shape, kernel, filters, attrs = MADE[name]
    g, w = drawn(shape, kernel, filters, attrs)

    def products(graph: tgc.ir.Graph) -> int:
        maps = [
            n.op.axis_map(*(v.type for v in n.operands), **n.attrs)
            for n in graph.nodes
            if isinstance(n.op, Contraction)
        ]
        return sum(math.prod(m.extents.values()) for m in maps)

    x = np.zeros(shape, np.float32)
    forward = products(tgc.jit(lambda x, w: contraction.conv(x, w, **attrs)).lower(x, w).graph)
    back = products(tgc.jit(lambda g, w: conv_input_grad(g, w, shape=shape, **attrs)).lower(g, w).graph)
    assert back <= 1.3 * forward
