"""Shapes at the limits: no elements, no axes, axes of one element, many axes, more than 2**31 elements."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tgc
import tgc.numpy as tnp
from tgc import nn
from tgc.errors import ShapeError
from tgc.types import MAX_RANK, tensor_type


def array(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def compare(f: Any, want: Any, *arrays: np.ndarray) -> None:
    got, expected = tgc.jit(f)(*arrays), want(*arrays)
    for a, b in zip(got, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def everything(xp: Any, x: Any, w: Any) -> list[Any]:
    """A map, reductions along each axis, a product, a transpose, a concatenation."""
    sums = [xp.sum(x, axis=a) for a in range(x.ndim)]
    return [xp.exp(x) - 1, *sums, xp.matmul(x, w), xp.transpose(x), xp.concatenate([x, x], axis=0), x * xp.max(w)]


@pytest.mark.parametrize(
    "shape", [(0, 3, 4), (3, 0, 4), (1, 1, 1), (1, 5, 1), (4, 1, 3)], ids=lambda s: "x".join(map(str, s))
)
def test_small_axes(shape: tuple[int, ...]) -> None:
    w = array(shape[-1], 2)
    compare(lambda x, w: everything(tnp, x, w), lambda x, w: everything(np, x, w), array(*shape), w)


def test_products_of_nothing() -> None:
    """Sums over an axis of size zero are zero, for matrix products and convolutions too."""
    products = tgc.jit(lambda x, w: (x @ w, (x @ w).sum()))(array(3, 0), array(0, 2))
    np.testing.assert_array_equal(products[0], np.zeros((3, 2)))
    assert products[1] == 0
    empty = tgc.jit(nn.conv)(array(0, 5, 5, 3), array(3, 3, 3, 4))
    assert empty.shape == (0, 3, 3, 4)


def test_numbers_without_axes() -> None:
    x = np.float32(0.5)
    value, slope = tgc.jit(tgc.value_and_grad(lambda x: tnp.tanh(x) * x + x.sum()))(x)
    assert value.shape == slope.shape == ()
    assert slope == pytest.approx(np.tanh(0.5) + 0.5 * (1 - np.tanh(0.5) ** 2) + 1, rel=1e-6)


def test_gradients_of_nothing() -> None:
    x, w = array(0, 4), array(4, 3)
    dx, dw = tgc.grad(lambda x, w: (tnp.tanh(x @ w) ** 2).sum(), argnums=(0, 1))(x, w)
    assert dx.shape == (0, 4)
    np.testing.assert_array_equal(dw, np.zeros((4, 3)))


def test_many_axes() -> None:
    shape = (2, 3, *(1,) * (MAX_RANK - 5), 2, 1, 3)
    even = tuple(range(0, MAX_RANK, 2))
    compare(
        lambda x: [x.T + 1, x.sum(axis=even), x.reshape(6, 6) * 2],
        lambda x: [x.T + 1, x.sum(axis=even), x.reshape(6, 6) * 2],
        array(*shape),
    )


def test_too_many_axes() -> None:
    message = f"a tensor has at most {MAX_RANK} axes, not {MAX_RANK + 1}"
    with pytest.raises(ShapeError, match=message):
        tensor_type("f32", (1,) * (MAX_RANK + 1))
    with pytest.raises(ShapeError, match=message):
        tgc.jit(lambda x: x + 1)(np.ones((1,) * (MAX_RANK + 1), np.float32))
    with pytest.raises(ShapeError, match=message):
        tgc.jit(lambda x: tnp.expand_dims(x, 0) + 1)(np.ones((1,) * MAX_RANK, np.float32))


def test_more_elements_than_32_bits_count() -> None:
    """Untouched zeros take no memory; places beyond 2**31 are addressed, counted and checked."""
    x = np.zeros(2**31 + 5, np.uint8)
    x[-2] = 7
    places = np.array([2**31 + 3, -2, 2**31 - 1])

    def f(x: Any, places: Any) -> list[Any]:
        rows = x[3 : 2**31 + 3].reshape(4, 2**29)
        return [tnp.argmax(x), x[-3:], tnp.take(x, places), x[:: 2**28], rows[:, -2:] + 1]

    at, end, taken, few, ends = tgc.jit(f)(x, places)
    assert at == 2**31 + 3
    assert end.tolist() == [0, 7, 0]
    assert taken.tolist() == [7, 7, 0]
    assert few.tolist() == [0] * 9
    assert ends.tolist() == [[1, 1], [1, 1], [1, 1], [1, 1]]
    with pytest.raises(tgc.errors.OutOfRangeError):
        tgc.jit(lambda x, i: tnp.take(x, i))(x, np.array([2**31 + 5]))
