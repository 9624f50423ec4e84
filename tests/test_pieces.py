"""Values made of pieces side by side: what gradients of slices become, and their kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_passes import applied, ops, traced

import tgc
import tgc.numpy as tnp
from tgc.interpret import interpret
from tgc.ops.movement import pad
from tgc.passes.simplify import Simplify


def framed(x: Any, low: tuple[int, ...], high: tuple[int, ...], interior: int = 0, value: float = 0) -> Any:
    return pad(x, low=low, high=high, interior=(interior,) * len(low), value=value)


def test_slices_side_by_side_have_a_gradient_in_pieces() -> None:
    def gates(x: Any) -> Any:
        a, b, c = x[:, :4], x[:, 4:6], x[:, 6:]
        return (tnp.tanh(a).sum(1) + (b * b).sum(1) + tnp.exp(c).sum(1)).sum()

    after, _ = applied(Simplify(), tgc.jit(tgc.grad(gates)).lower(np.zeros((3, 9), np.float32)).graph)
    assert "pad" not in ops(after)
    (node,) = [n for n in after.nodes if n.op.name == "concat"]
    assert [v.shape for v in node.operands] == [(3, 4), (3, 2), (3, 3)]


Part = tuple[tuple[int, int], tuple[int, int]]  # rows and columns of a result of four rows and five columns


def padded(part: Part, x: Any, **attrs: Any) -> Any:
    (top, bottom), (left, right) = part
    return framed(x, (top, left), (4 - bottom, 5 - right), **attrs)


def shape(part: Part) -> str:
    return "f32[" + ",".join(str(stop - start) for start, stop in part) + "]"


@pytest.mark.parametrize(
    ("x", "y", "made"),
    [
        (((0, 4), (0, 2)), ((0, 4), (2, 5)), ["concat"]),
        (((0, 4), (3, 5)), ((0, 4), (1, 3)), ["concat", "pad"]),  # in the other order, and a column of zeros is left
        (((0, 1), (0, 5)), ((1, 4), (0, 5)), ["concat"]),  # along the rows
        (((1, 3), (0, 2)), ((1, 3), (2, 4)), ["concat", "pad"]),
        (((0, 4), (0, 2)), ((0, 4), (3, 5)), ["pad", "pad", "add"]),  # a column of zeros between them
        (((0, 4), (0, 3)), ((0, 4), (2, 5)), ["pad", "pad", "add"]),  # a column of both
        (((0, 3), (0, 2)), ((1, 4), (2, 5)), ["pad", "pad", "add"]),  # apart along two axes
        (((0, 3), (0, 2)), ((0, 4), (2, 5)), ["pad", "pad", "add"]),  # of other heights
        (((0, 4), (0, 5)), ((0, 4), (0, 5)), ["add"]),
    ],
)
def test_sums_of_padded_parts(x: Part, y: Part, made: list[str]) -> None:
    after, _ = applied(Simplify(), traced(lambda a, b: padded(x, a) + padded(y, b), shape(x), shape(y)))
    assert ops(after) == made


def test_only_frames_of_zeros_are_left_out() -> None:
    x, y = ((0, 4), (0, 2)), ((0, 4), (2, 5))
    after, _ = applied(Simplify(), traced(lambda a, b: padded(x, a, value=1) + padded(y, b), shape(x), shape(y)))
    assert ops(after) == ["pad", "pad", "add"]


def test_pieces_of_pieces_are_pieces() -> None:
    def joined(a: Any, b: Any, c: Any) -> Any:
        return tnp.concatenate([tnp.concatenate([a, b], 1), tnp.concatenate([c], 1), a], 1)

    after, _ = applied(Simplify(), traced(joined, "f32[2,3]", "f32[2,1]", "f32[2,2]"))
    (node,) = after.nodes
    assert [v.shape[1] for v in node.operands] == [3, 1, 2, 3]


@pytest.mark.parametrize("rows", [(3,), (40,), (7, 9)])
@pytest.mark.parametrize("sizes", [(5, 17, 128), (0, 3, 1), (64,)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "complex64", "bool"])
def test_kernels_of_pieces(rows: tuple[int, ...], sizes: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(0)
    pieces = [rng.integers(0, 5, (*rows, n)).astype(dtype) for n in sizes]

    def joined(m: Any, *xs: Any) -> Any:
        return m.concatenate([x if dtype == "bool" else x + x for x in xs], axis=-1)

    np.testing.assert_array_equal(tgc.jit(lambda *xs: joined(tnp, *xs))(*pieces), joined(np, *pieces))


def beside(x: Any, y: Any, m: Any = tnp) -> Any:
    """Pieces joined, and results of a piece's shape."""
    a, b = x * y, x + y
    return m.concatenate([a, m.exp(-b * b), b, a - b], -1), a + b, x - 1


def kernels_of(f: Any, *args: Any) -> list[str]:
    return list(tgc.jit(f).lower(*args).kernels)


@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (3, 2, 33), (0, 4), (4, 0)])
def test_pieces_are_joined_beside_other_results(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    for found, expected in zip(tgc.jit(beside)(x, y), beside(x, y, np), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    if x.size > 1:
        assert len(kernels_of(beside, x, y)) == 1


@pytest.mark.parametrize(
    "f",
    [
        lambda x, y: (tnp.concatenate([x * y, x + y], 0), x - y),  # along the rows
        lambda x, y: (tnp.concatenate([x * y, (x + y)[:, :2]], -1), x - y),  # pieces of several sizes
        lambda x, y: (tnp.concatenate([x * y, x + y], -1), x.T - y.T),  # beside a result of another shape
        lambda x, y: (lambda z: (z, x - y, tnp.exp(z)))(tnp.concatenate([x * y, x + y], -1)),  # which is read at once
    ],
)
def test_pieces_that_are_joined_apart(f: Any) -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((5, 7)).astype(np.float32) for _ in range(2))
    low = tgc.jit(f).lower(x, y)
    assert len(low.kernels) > 1
    for found, expected in zip(tgc.jit(f)(x, y), interpret(low.graph, x, y), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_pieces_over_an_operand() -> None:
    """A donated operand of a piece's shape is read where others are written."""
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((64, 40)).astype(np.float32) for _ in range(2))
    expected = beside(x, y, np)
    for found, right in zip(tgc.jit(beside, donate=(0, 1))(x.copy(), y.copy()), expected, strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-6, atol=1e-6)
