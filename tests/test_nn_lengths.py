"""Normalization by lengths against formulas in NumPy, eager and traced; gradients against finite differences."""

from __future__ import annotations

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


def test_standardize_and_l2_normalize() -> None:
    x = real(3, 4, 5)
    close(
        *both(lambda x: nn.standardize(x, axis=(0, 2)), x),
        (x - x.mean((0, 2), keepdims=True)) / np.sqrt(x.var((0, 2), keepdims=True) + 1e-5),
    )
    close(*both(lambda x: nn.l2_normalize(x, axis=1), x), x / np.linalg.norm(x, axis=1, keepdims=True))
    check_gradients(nn.l2_normalize, x)
    zero = np.zeros((2, 3), np.float32)
    assert (both(nn.l2_normalize, zero)[0] == 0).all()
    assert np.isfinite(gradients(nn.l2_normalize, zero)[0]).all()


def test_weight_norm() -> None:
    w, scale = real(3, 2, 4), real(4)
    unit = w / np.linalg.norm(w.reshape(-1, 4), axis=0)
    close(*both(nn.weight_norm, w), unit)
    close(*both(nn.weight_norm, w, scale), unit * scale)
    close(*both(lambda *xs: nn.weight_norm(*xs, axis=0), w.T, scale), (unit * scale).T)
    check_gradients(nn.weight_norm, w, scale)
    with pytest.raises(ShapeError, match=r"weight_norm\(f64\[3,2,4\], f64\[3\]\): scale must have the shape \(4,\)"):
        nn.weight_norm(w, real(3))


def test_spectral_norm() -> None:
    w, u = real(3, 2, 4), real(4)
    matrix = w.reshape(6, 4)
    largest = np.linalg.svd(matrix)[1][0]
    y, right = both(lambda *xs: nn.spectral_norm(*xs, steps=60), w, u)
    close(y, w / largest)
    close(np.linalg.norm(matrix @ right), largest)
    y, right = both(nn.spectral_norm, w, u)
    left = matrix @ u / np.linalg.norm(matrix @ u)
    assert right.shape == (4,)
    close(right, left @ matrix / np.linalg.norm(left @ matrix))
    close(y, w / (left @ matrix @ right))
    assert both(nn.spectral_norm, w.astype(np.float16), u.astype(np.float32))[0].dtype == np.float16
    # At the singular vectors the gradient that ignores the change of u is the whole one.
    settled = nn.spectral_norm(w, u, steps=200)[1]
    check_gradients(lambda w: nn.spectral_norm(w, settled, steps=1)[0], w, rtol=1e-5)
    with pytest.raises(ShapeError, match=r"u must have the shape \(4,\)"):
        nn.spectral_norm(w, real(6))
    with pytest.raises(AttributeSpecError, match="0 steps"):
        nn.spectral_norm(w, u, steps=0)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_local_response_norm(size: int) -> None:
    x = real(2, 3, 7)
    sums = np.zeros_like(x)
    for c in range(7):
        sums[..., c] = (x[..., max(c - size // 2, 0) : c + (size - 1) // 2 + 1] ** 2).sum(-1)
    want = x / (2 + 0.3 / size * sums) ** 0.75
    attrs: dict[str, Any] = {"size": size, "alpha": 0.3, "bias": 2.0}
    close(*both(lambda x: nn.local_response_norm(x, **attrs), x), want)
    first = both(lambda x: nn.local_response_norm(x, **attrs, axis=1), np.moveaxis(x, -1, 1))[0]
    close(first, np.moveaxis(want, -1, 1))
    check_gradients(lambda x: nn.local_response_norm(x, **attrs), x)
    with pytest.raises(AttributeSpecError, match="size 0 is not positive"):
        nn.local_response_norm(x, size=0)
