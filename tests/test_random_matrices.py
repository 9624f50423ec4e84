"""Random matrices and correlated vectors: by the oracle and compiled."""

from __future__ import annotations

import numpy as np
import pytest
from gradients import check_gradients
from traced import graph_of

import tgc
import tgc.random as rnd
from tgc.errors import AttributeSpecError, LinearAlgebraError, ShapeError
from tgc.interpret import interpret
from tgc.nn import initializers

KEY = rnd.key(20)


def run(f: object, *xs: np.ndarray) -> np.ndarray:
    return interpret(graph_of(f, *xs), *xs)[0]  # type: ignore[arg-type]


def test_orthogonal() -> None:
    for n, m, shape in ((4, 4, ()), (5, 2, (3,)), (2, 4, ()), (1, 1, (2,)), (3, 0, ())):
        q = run(lambda k: rnd.orthogonal(k, n, shape, np.float64, m), KEY)  # noqa: B023
        assert q.shape == (*shape, n, m)
        product = q.swapaxes(-1, -2) @ q if m <= n else q @ q.swapaxes(-1, -2)
        np.testing.assert_allclose(product, np.broadcast_to(np.eye(min(n, m)), product.shape), atol=1e-13)
    half = run(lambda k: rnd.orthogonal(k, 3, (), np.float16), KEY)
    assert half.dtype == np.float16
    np.testing.assert_allclose(
        tgc.jit(lambda k: rnd.orthogonal(k, 4))(KEY), run(lambda k: rnd.orthogonal(k, 4), KEY), atol=1e-6
    )
    with pytest.raises(AttributeSpecError, match="no matrix of -1 x -1"):
        rnd.orthogonal(KEY, -1)


def test_orthogonal_matrices_are_uniform() -> None:
    """The factor with positive diagonal of a QR of the same normal numbers; moments of Haar's measure."""
    z = rnd.normal(KEY, (500, 3, 2), np.float64)[..., 0]
    q = run(lambda k: rnd.orthogonal(k, 3, (500,), np.float64, 2), KEY)
    assert q.shape == (500, 3, 2)
    first = z / np.linalg.norm(z, axis=-1, keepdims=True)
    np.testing.assert_allclose(q[..., 0], first, atol=1e-12)
    np.testing.assert_allclose(q.mean(0), 0, atol=0.1)
    np.testing.assert_allclose((q**2).mean(0), 1 / 3, atol=0.06)
    square = run(lambda k: rnd.orthogonal(k, 3, (500,), np.float64), KEY)
    assert abs(np.linalg.det(square).mean()) < 0.15


def test_orthogonal_initializers() -> None:
    w = run(lambda k: initializers.orthogonal(k, (2, 3, 4), np.float64, gain=2.0), KEY).reshape(6, 4)
    np.testing.assert_allclose(w.T @ w, 4 * np.eye(4), atol=1e-12)
    d = run(lambda k: initializers.delta_orthogonal(k, (3, 2, 3, 4), np.float64), KEY)
    np.testing.assert_allclose(d[1, 0] @ d[1, 0].T, np.eye(3), atol=1e-12)
    assert (d.reshape(6, 3, 4).any((1, 2)) == (np.arange(6) == 2)).all()
    with pytest.raises(ShapeError, match="an input and an output axis"):
        initializers.orthogonal(KEY, (3,))
    with pytest.raises(ShapeError, match="no more inputs than outputs"):
        initializers.delta_orthogonal(KEY, (3, 4, 2))


def test_multivariate_normal() -> None:
    a = np.random.default_rng(0).normal(size=(3, 3))
    cov, mean = a @ a.T + np.eye(3), np.array([1.0, -2, 3])
    x = run(lambda k, m, c: rnd.multivariate_normal(k, m, c, (20_000,), np.float64), KEY, mean, cov)
    np.testing.assert_allclose(x.mean(0), mean, atol=0.06)
    np.testing.assert_allclose(np.cov(x.T), cov, atol=0.15)
    stacked = run(lambda k, m, c: rnd.multivariate_normal(k, m, c), KEY, np.zeros((2, 1, 3)), np.stack([cov] * 4))
    assert (stacked.shape, stacked.dtype) == ((2, 4, 3), np.float32)
    with pytest.raises(LinearAlgebraError):
        run(lambda k, c: rnd.multivariate_normal(k, mean, c), KEY, -cov)
    check_gradients(lambda m, c: rnd.multivariate_normal(KEY, m, c, dtype=np.float64), mean, cov)
    with pytest.raises(ShapeError, match=r"needs a mean \[..., n\]"):
        rnd.multivariate_normal(KEY, mean, cov[:2])
    with pytest.raises(ShapeError, match="cannot be broadcast together"):
        rnd.multivariate_normal(KEY, np.zeros((2, 3)), cov, (3,))
