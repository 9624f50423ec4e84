"""Linear models and support vector machines (domain ai.onnx.ml)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from tgc import nn
from tgc import numpy as tnp
from tgc.frontends.onnx.errors import InvalidModelError, UnsupportedOperatorError
from tgc.frontends.onnx.ops.ml_features import ML, Floats, Ints, Strings, labelled, one_of
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Array, Tensor


def transformed(scores: Tensor, post_transform: str) -> Tensor:
    """Scores [rows, classes] as probabilities, or otherwise, as the attribute `post_transform` says."""
    match post_transform:
        case "NONE":
            return scores
        case "SOFTMAX":
            return nn.softmax(scores)
        case "LOGISTIC":
            return nn.sigmoid(scores)
        case "SOFTMAX_ZERO":  # zeros stay zeros
            weights = tnp.exp(tnp.subtract(scores, tnp.max(scores, -1, keepdims=True)))
            weights = tnp.where(tnp.abs(scores) <= 1e-7, 0, weights)
            total = tnp.sum(weights, -1, keepdims=True)
            return tnp.where(total == 0, 0.5, tnp.divide(weights, tnp.where(total == 0, 1, total)))
        case "PROBIT":
            return tnp.multiply(tnp.erfinv(2 * scores - 1), math.sqrt(2))
    raise InvalidModelError(f"there is no post_transform {post_transform!r}")


def _numbers(x: Tensor) -> Tensor:
    """Features as float32, or float64 if they are that."""
    return x if x.dtype == np.float64 else tnp.astype(x, np.float32)


def _affine(x: Tensor, coefficients: Floats, intercepts: Floats) -> Tensor:
    """[rows, outputs] of [rows, features] and of coefficients, output by output."""
    y = tnp.matmul(x, np.asarray(coefficients, x.dtype).reshape(-1, x.shape[-1]).T)
    return tnp.add(y, np.asarray(intercepts, x.dtype)) if intercepts else y


@converts("LinearRegressor", domain=ML)
def linear_regressor(
    x: Tensor,
    /,
    *,
    coefficients: Floats,
    intercepts: Floats = (),
    targets: int = 1,
    post_transform: str = "NONE",
) -> Tensor:
    """ONNX LinearRegressor, [rows, targets]."""
    y = tnp.reshape(_affine(_numbers(x), coefficients, intercepts), (-1, targets))
    return tnp.astype(transformed(y, post_transform), np.float32)


@converts("LinearClassifier", domain=ML)
def linear_classifier(
    x: Tensor,
    /,
    *,
    coefficients: Floats,
    intercepts: Floats = (),
    classlabels_ints: Ints = (),
    classlabels_strings: Strings = (),
    multi_class: int = 0,
    post_transform: str = "NONE",
) -> tuple[Tensor, Tensor]:
    """ONNX LinearClassifier: the label of the largest score, and the scores; one function tells two classes apart."""
    labels = one_of("LinearClassifier", classlabels_ints, classlabels_strings)
    scores = _affine(_numbers(x), coefficients, intercepts)
    if scores.shape[1] == 1 and len(labels) == 2:
        scores = tnp.concatenate([tnp.negative(scores), scores], 1)
    scores = tnp.astype(transformed(scores, post_transform), np.float32)
    return labelled(tnp.argmax(scores, 1), labels), scores


def _kernel(x: Tensor, vectors: Array, kind: str, params: Floats) -> Tensor:
    """[rows, vectors]: the kernel of each row and each support vector."""
    gamma, offset, degree = params or (0.0, 0.0, 0.0)
    if kind == "RBF":
        differences = tnp.expand_dims(x, 1) - vectors
        return tnp.exp(tnp.multiply(tnp.sum(tnp.square(differences), -1), -gamma))
    products = tnp.matmul(x, vectors.T)
    if kind == "LINEAR":
        return products
    scaled = tnp.add(tnp.multiply(products, gamma), offset)
    if kind == "POLY":
        return tnp.power(scaled, int(degree))
    if kind == "SIGMOID":
        return tnp.tanh(scaled)
    raise InvalidModelError(f"there is no kernel {kind!r}")


@converts("SVMRegressor", domain=ML)
def svm_regressor(
    x: Tensor,
    /,
    *,
    coefficients: Floats,
    kernel_params: Floats = (),
    kernel_type: str = "LINEAR",
    n_supports: int = 0,
    one_class: int = 0,
    post_transform: str = "NONE",
    rho: Floats,
    support_vectors: Floats = (),
) -> Tensor:
    """ONNX SVMRegressor, [rows, 1]; of one class, whether a row belongs to it: 1 or -1."""
    x = _numbers(x)
    weights = np.asarray(coefficients, x.dtype).reshape(-1, 1)
    if n_supports:
        x = _kernel(x, np.asarray(support_vectors, x.dtype).reshape(n_supports, -1), kernel_type, kernel_params)
    y = tnp.add(tnp.matmul(x, weights), rho[0])
    y = tnp.where(y > 0, 1, -1) if one_class else transformed(y, post_transform)
    return tnp.astype(y, np.float32)


@converts("SVMClassifier", domain=ML)
def svm_classifier(
    x: Tensor,
    /,
    *,
    coefficients: Floats,
    classlabels_ints: Ints = (),
    classlabels_strings: Strings = (),
    kernel_params: Floats = (),
    kernel_type: str = "LINEAR",
    post_transform: str = "NONE",
    prob_a: Floats = (),
    prob_b: Floats = (),
    rho: Floats,
    support_vectors: Floats = (),
    vectors_per_class: Ints = (),
) -> tuple[Tensor, Tensor]:
    """ONNX SVMClassifier: labels by votes of all pairs of classes, and the pairs' scores, or probabilities.

    Without support vectors: the label of the largest linear score, and the scores.

    Raises:
        UnsupportedOperatorError: probabilities of more than two classes, whose computation the standard leaves open.
    """
    labels = one_of("SVMClassifier", classlabels_ints, classlabels_strings)
    x, count = _numbers(x), len(labels)
    if not vectors_per_class:
        scores = tnp.add(_affine(x, coefficients, ()), rho[0])
        return labelled(tnp.argmax(scores, 1), labels), tnp.astype(transformed(scores, post_transform), np.float32)
    total = sum(vectors_per_class)
    kernels = _kernel(x, np.asarray(support_vectors, x.dtype).reshape(total, -1), kernel_type, kernel_params)
    pairs = list(itertools.combinations(range(count), 2))
    alpha = np.asarray(coefficients, x.dtype).reshape(-1, total)
    ends = np.cumsum(vectors_per_class)
    own = [slice(end - n, end) for end, n in zip(ends, vectors_per_class, strict=True)]
    weights, votes = np.zeros((total, len(pairs)), x.dtype), np.zeros((2, len(pairs), count), x.dtype)
    for k, (i, j) in enumerate(pairs):
        weights[own[i], k], weights[own[j], k] = alpha[j - 1, own[i]], alpha[i, own[j]]
        votes[0, k, i] = votes[1, k, j] = 1
    scores = tnp.add(tnp.matmul(kernels, weights), np.asarray(rho, x.dtype))
    won = tnp.astype(scores > 0, x.dtype)
    winner = tnp.argmax(tnp.matmul(won, votes[0]) + tnp.matmul(1 - won, votes[1]), 1)
    if prob_a:
        if count != 2:
            raise UnsupportedOperatorError("SVMClassifier has probabilities of two classes only")
        first = tnp.clip(nn.sigmoid(-(scores * prob_a[0] + prob_b[0])), 1e-7, 1 - 1e-7)
        scores = tnp.concatenate([first, 1 - first], 1)
        return labelled(tnp.argmax(scores, 1), labels), tnp.astype(transformed(scores, post_transform), np.float32)
    return labelled(winner, labels), tnp.astype(transformed(_both(scores, count), post_transform), np.float32)


def _both(scores: Tensor, count: int) -> Any:
    """The score of the one pair of two classes as a score of each."""
    return tnp.concatenate([scores, tnp.negative(scores)], 1) if count == 2 else scores
