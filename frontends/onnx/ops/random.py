"""Random numbers, and Dropout. A node with a seed draws the same numbers each time; so does a compiled program.

Inside of `drawing(key)`, keys are made of that key, which may be traced: another key, other numbers, for nodes with
seeds too. This is how a model with Dropout in training mode is trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from tgc import numpy as tnp
from tgc import random
from tgc.frontends.onnx import formats
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Tensor


@dataclass(frozen=True)
class _Source:
    """Where nodes get their keys from: `key`, and how many have been made of it."""

    key: Any
    made: Iterator[int] = field(default_factory=count)


_usual = _Source(random.key(0))
_source: ContextVar[_Source | None] = ContextVar("onnx_random_source", default=None)


@contextmanager
def drawing(key: Tensor) -> Iterator[None]:
    """Let the nodes that are applied in this context draw with keys made of `key` (u32[2], see `tgc.random.key`)."""
    token = _source.set(_Source(key))
    try:
        yield
    finally:
        _source.reset(token)


def _key(seed: float | None) -> Tensor:
    """The key of a node: of its seed (the bits of a float32) or, without one, of a number that no other node has."""
    source = _source.get() or _usual
    if seed is None:
        return random.fold_in(source.key, next(source.made))
    return random.fold_in(source.key, 2**32 + int(np.float32(seed).view(np.uint32)))


def _as(x: Tensor, dtype: int | None, like: Tensor | None = None) -> Any:
    """`x` in the element type of number `dtype`, else in that of `like`."""
    return formats.convert(x, like.dtype if dtype is None and like is not None else formats.dtype_of(dtype or 1))


def _normal(shape: Sequence[int], mean: float, scale: float, seed: float | None) -> Tensor:
    return random.normal(_key(seed), tuple(shape)) * scale + mean


def _uniform(shape: Sequence[int], low: float, high: float, seed: float | None) -> Tensor:
    return random.uniform(_key(seed), tuple(shape)) * (high - low) + low


@converts("RandomNormal", random=True)
def random_normal(
    *, shape: Sequence[int], dtype: int = 1, mean: float = 0.0, scale: float = 1.0, seed: float | None = None
) -> Any:
    """ONNX RandomNormal."""
    return _as(_normal(shape, mean, scale, seed), dtype)


@converts("RandomNormalLike", random=True)
def random_normal_like(
    input: Tensor, /, *, dtype: int | None = None, mean: float = 0.0, scale: float = 1.0, seed: float | None = None
) -> Any:
    """ONNX RandomNormalLike."""
    return _as(_normal(input.shape, mean, scale, seed), dtype, input)


@converts("RandomUniform", random=True)
def random_uniform(
    *, shape: Sequence[int], dtype: int = 1, low: float = 0.0, high: float = 1.0, seed: float | None = None
) -> Any:
    """ONNX RandomUniform, in [low, high)."""
    return _as(_uniform(shape, low, high, seed), dtype)


@converts("RandomUniformLike", random=True)
def random_uniform_like(
    input: Tensor, /, *, dtype: int | None = None, low: float = 0.0, high: float = 1.0, seed: float | None = None
) -> Any:
    """ONNX RandomUniformLike, in [low, high)."""
    return _as(_uniform(input.shape, low, high, seed), dtype, input)


@converts("Bernoulli", since=15, random=True)
def bernoulli(input: Tensor, /, *, dtype: int | None = None, seed: float | None = None) -> Any:
    """ONNX Bernoulli: 1 with the probability that `input` holds."""
    wide = input if input.dtype == np.float64 else tnp.astype(input, np.float32)
    return _as(random.bernoulli(_key(seed), wide), dtype, input)


@converts("Multinomial", since=7, random=True)
def multinomial(input: Tensor, /, *, dtype: int = 6, sample_size: int = 1, seed: float | None = None) -> Any:
    """ONNX Multinomial: [batch, sample_size] classes, drawn with the log-probabilities [batch, class]."""
    drawn = random.categorical(_key(seed), input, shape=(sample_size, input.shape[0]))
    return _as(tnp.transpose(drawn), dtype)


@converts("Dropout", since=12, random=True)
def dropout(
    data: Tensor,
    ratio: Tensor | None = None,
    training_mode: Tensor | None = None,
    /,
    *,
    seed: float | None = None,
) -> tuple[Tensor, Tensor]:
    """ONNX Dropout, and the mask of what is kept; the identity unless `training_mode` holds."""
    if training_mode is None or (isinstance(training_mode, np.ndarray) and not training_mode.any()):
        return data, tnp.ones(data.shape, bool)
    part = 0.5 if ratio is None else tnp.astype(ratio, np.float32)
    if not isinstance(training_mode, np.ndarray):
        part = tnp.where(training_mode, part, 0)
    kept = random.uniform(_key(seed), tuple(data.shape)) >= part
    return tnp.where(kept, tnp.multiply(data, tnp.astype(1 / (1 - part), data.dtype)), 0), kept


@converts("Dropout", since=7)
def dropout_7(data: Tensor, /, *, ratio: float = 0.5) -> tuple[Tensor, Tensor]:
    """ONNX Dropout until opset 11, which is for inference."""
    return dropout(data)
