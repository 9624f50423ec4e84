"""Keras's random numbers: a seed, which is two words, is the key of `tgc.random`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras.src.random.seed_generator import SeedGenerator as SeedGenerator
from keras.src.random.seed_generator import draw_seed as draw_seed
from keras.src.random.seed_generator import make_default_seed as make_default_seed

import tgc
from tgc import nn
from tgc.frontends.keras.ops.tensors import Tensor, cast, convert_to_tensor, is_tensor, numpy_dtype

Shape = Sequence[int]


def _key(seed: Any) -> Tensor:
    """The two words of a seed: an integer, a `SeedGenerator`, which moves on, None for Keras's own, or the words."""
    return cast(seed if is_tensor(seed) else draw_seed(seed), "uint32")


def _scaled(x: Tensor, mean: Any, stddev: Any) -> Tensor:
    return cast(x * stddev + mean, x.dtype)


def normal(shape: Shape, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed: Any = None) -> Tensor:
    """Normal numbers."""
    return _scaled(tgc.random.normal(_key(seed), tuple(shape), numpy_dtype(dtype)), mean, stddev)


def truncated_normal(shape: Shape, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed: Any = None) -> Tensor:
    """Normal numbers within two standard deviations of the mean."""
    return _scaled(tgc.random.truncated_normal(_key(seed), tuple(shape), numpy_dtype(dtype)), mean, stddev)


def uniform(shape: Shape, minval: Any = 0.0, maxval: Any = 1.0, dtype: Any = None, seed: Any = None) -> Tensor:
    """Uniform numbers in [minval, maxval)."""
    return tgc.random.uniform(_key(seed), tuple(shape), numpy_dtype(dtype), minval, maxval)


def randint(shape: Shape, minval: Any, maxval: Any, dtype: Any = "int32", seed: Any = None) -> Tensor:
    """Integers in [minval, maxval), each with the same probability."""
    low, high = (cast(x, "int64") if is_tensor(x) else int(x) for x in (minval, maxval))
    return tgc.random.randint(_key(seed), tuple(shape), low, high, numpy_dtype(dtype))


def categorical(logits: Tensor, num_samples: int, dtype: Any = "int32", seed: Any = None) -> Tensor:
    """[batch, num_samples]: classes with the probabilities softmax(logits), for logits [batch, classes]."""
    logits = convert_to_tensor(logits)
    drawn = tgc.random.categorical(_key(seed), logits, shape=(num_samples, logits.shape[0]))
    return cast(tgc.numpy.swapaxes(drawn, 0, 1), dtype)


def dropout(inputs: Tensor, rate: float, noise_shape: Any = None, seed: Any = None) -> Tensor:
    """0 with probability `rate`, else inputs / (1 - rate)."""
    inputs = convert_to_tensor(inputs)
    if rate in (0, 1):
        return nn.dropout(inputs, rate)
    return nn.dropout(inputs, rate, _key(seed), noise_shape=noise_shape)


def shuffle(x: Tensor, axis: int = 0, seed: Any = None) -> Tensor:
    """The slices of `x` along `axis` in random order."""
    return tgc.random.permutation(_key(seed), convert_to_tensor(x), axis)


def gamma(shape: Shape, alpha: Any, dtype: Any = None, seed: Any = None) -> Tensor:
    """Gamma with the shape parameter `alpha`."""
    return tgc.random.gamma(_key(seed), convert_to_tensor(alpha), tuple(shape), numpy_dtype(dtype))


def binomial(shape: Shape, counts: Any, probabilities: Any, dtype: Any = None, seed: Any = None) -> Tensor:
    """How often, of `counts` trials, something of probability `probabilities` happens; as floats."""
    counts, chances = (convert_to_tensor(x) for x in (counts, probabilities))
    return cast(tgc.random.binomial(_key(seed), counts, chances, tuple(shape), np.dtype("int64")), numpy_dtype(dtype))


def beta(shape: Shape, alpha: Any, beta: Any, dtype: Any = None, seed: Any = None) -> Tensor:
    """Beta with the parameters `alpha` and `beta`."""
    alpha, beta = (convert_to_tensor(x) for x in (alpha, beta))
    return tgc.random.beta(_key(seed), alpha, beta, tuple(shape), numpy_dtype(dtype))
