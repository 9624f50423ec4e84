"""A sample of `tgc.nn` and `tgc.random`, many functions a program, compiled with gradients and against the oracle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gradients import _total
from test_nn_activations import POINTWISE
from traced import graph_of

import tgc.random as rnd
from tgc import nn
from tgc.autodiff import differentiate
from tgc.interpret import interpret
from tgc.ir import Graph
from tgc.nn import image
from tgc.runtime.lowered import Lowered

RNG = np.random.default_rng(1)
KEY = rnd.key(5)


def real(*shape: int) -> np.ndarray:
    return RNG.uniform(-2, 2, shape).astype(np.float32)


def compare(graph: Graph, *arrays: np.ndarray, tolerance: float = 2e-5) -> None:
    want = interpret(graph, *arrays)
    got = Lowered(graph).compile()([np.ascontiguousarray(a) for a in arrays])
    for a, b in zip(got, want, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_allclose(a.astype(float), b.astype(float), rtol=tolerance, atol=tolerance)


def activations(x: Any) -> list[Any]:
    return [getattr(nn, name.split()[0])(x, **row[0]) for name, row in POINTWISE.items()]


def losses(x: Any, y: Any, labels: Any) -> list[Any]:
    p, q = nn.softmax(x), nn.softmax(y)
    pairs = (
        "mean_squared_error", "mean_absolute_error", "smooth_l1", "log_cosh", "quantile", "squared_hinge",
        "cosine_distance", "binary_cross_entropy_with_logits", "binary_focal", "kl_divergence", "dice",
    )  # fmt: skip
    made = [getattr(nn, name)(x, q) for name in pairs]
    made += [nn.binary_cross_entropy(p, q), nn.jensen_shannon(p, q), nn.triplet_margin(x, y, p)]
    made += [nn.cross_entropy(x, labels, label_smoothing=0.1, ignore_index=1), nn.focal(x, labels)]
    return made


def normalizations(x: Any, s: Any) -> list[Any]:
    return [
        nn.batch_norm(x, s, s * s, s, s, training=True)[0], nn.group_norm(x, 2, s, s), nn.weight_norm(x, s),
        nn.local_response_norm(x), nn.l2_normalize(x), nn.spectral_norm(x, s)[0], nn.standardize(x),
    ]  # fmt: skip


def windows(x: Any, w: Any) -> list[Any]:
    return [
        nn.depthwise_conv(x, w, padding="same"), nn.max_pool(x, 3, stride=2, padding=1, ceil_mode=True),
        nn.adaptive_avg_pool(x, 3), nn.pixel_shuffle(x, 2),
    ]  # fmt: skip


def images(x: Any, c: Any) -> list[Any]:
    return [image.resize(x, (2, 11, 6, 4), "cubic"), image.rotate(x, c[:, 0])]


def attention(q: Any, k: Any, v: Any) -> list[Any]:
    turned = nn.rotary_embedding(q)
    return [
        nn.dot_product_attention(turned, k, v, is_causal=True, window=2, soft_cap=3.0), nn.sparsemax(q), nn.swiglu(q),
    ]  # fmt: skip


PROGRAMS: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "activations": (activations, (real(5, 7),)),
    "losses": (losses, (real(6, 5), real(6, 5), RNG.integers(0, 5, 6).astype(np.int32))),
    "normalizations": (normalizations, (real(2, 3, 4), real(4))),
    "windows": (windows, (real(2, 7, 6, 4), real(3, 3, 4, 4))),
    "images": (images, (real(2, 7, 6, 4), real(2, 2))),
    "attention": (attention, (real(2, 4, 5, 6), real(2, 2, 5, 6), real(2, 2, 5, 3))),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_values_and_gradients(name: str) -> None:
    f, xs = PROGRAMS[name]
    compare(differentiate(graph_of(lambda *v: _total(f, v, 0), *xs)), *xs, tolerance=2e-4)


def test_random_numbers() -> None:
    def draws(key: Any, a: Any) -> list[Any]:
        floats = (rnd.gamma, rnd.pareto, rnd.wald)
        keys = rnd.split(key, len(floats))
        made = [f(keys[i], a, (3, 50)) for i, f in enumerate(floats)]
        made += [f(key, (40,)) for f in (rnd.cauchy, rnd.laplace)]
        return [*made, rnd.choice(key, 9, (4,), False)]

    a = np.linspace(0.2, 4, 50, dtype=np.float32)
    compare(graph_of(draws, KEY, a), KEY, a, tolerance=1e-4)

    def counts(key: Any, a: Any) -> list[Any]:
        return [
            rnd.poisson(key, a * 8),
            rnd.geometric(key, a / 5),
            rnd.bernoulli(key, a / 5),
            rnd.randint(key, (9,), -5, 5),
        ]

    graph = graph_of(counts, KEY, a)
    for got, want in zip(Lowered(graph).compile()([KEY, a]), interpret(graph, KEY, a), strict=True):
        np.testing.assert_array_equal(got, want)
