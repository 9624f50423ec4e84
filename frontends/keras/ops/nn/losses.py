"""Cross-entropies, encodings of labels, and the ratio of signal to noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from keras.src import backend

from tgc import nn
from tgc import numpy as tnp
from tgc.frontends.keras.ops.promotion import promote
from tgc.frontends.keras.ops.tensors import Tensor, cast, convert_to_tensor
from tgc.numpy.base import refuse, replace

__all__ = [
    "binary_crossentropy", "categorical_crossentropy", "multi_hot", "one_hot", "psnr",
    "sparse_categorical_crossentropy",
]  # fmt: skip


def one_hot(x: Tensor, num_classes: int | None, axis: int = -1, dtype: Any = None, sparse: bool = False) -> Tensor:
    """1 at the label along a new axis of `num_classes`, else 0; all 0 for a label that is no class."""
    if sparse:
        raise ValueError("one_hot: the tgc backend has no sparse tensors; leave out sparse=True for a dense one")
    labels = convert_to_tensor(x)
    labels = labels if labels.dtype.kind in "iu" else cast(labels, "int32")
    if num_classes is None:  # `to_categorical` hands it on
        if not isinstance(labels, np.ndarray):
            raise ValueError("one_hot: the number of classes must be given where labels are being traced")
        num_classes = int(labels.max()) + 1
    return nn.one_hot(labels, num_classes, dtype=backend.standardize_dtype(dtype or "float32"), axis=axis)


def multi_hot(x: Tensor, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> Tensor:
    """1 for each class among the labels along the second axis (or the only one), else 0."""
    if sparse:
        raise ValueError("multi_hot: the tgc backend has no sparse tensors; leave out sparse=True for a dense one")
    x = convert_to_tensor(x)
    return tnp.max(one_hot(x, num_classes, axis=axis, dtype=dtype), axis=1 if x.ndim > 1 else 0)


def _pair(function: str, target: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
    """Floats of one shape."""
    target, output = promote(target, output, meets=(float,))
    if target.shape != output.shape:
        raise refuse(function, [target, output], "target and output must have the same shape")
    return target, output


def _probabilities(output: Tensor, axis: int) -> Tensor:
    """`output` scaled to the sum 1 along `axis`, and away from 0 and 1 by Keras's epsilon."""
    epsilon = backend.epsilon()
    return tnp.clip(output / tnp.sum(output, axis=axis, keepdims=True), epsilon, 1 - epsilon)


def _bounds() -> tuple[float, float]:
    """Logarithms of the least and the greatest of `_probabilities`."""
    return math.log(backend.epsilon()), math.log1p(-backend.epsilon())


def categorical_crossentropy(target: Tensor, output: Tensor, from_logits: bool = False, axis: int = -1) -> Tensor:
    """-sum(target * log(output)) along `axis`, for a target of probabilities."""
    target, output = _pair("categorical_crossentropy", target, output)
    if not output.ndim:
        raise refuse("categorical_crossentropy", [target, output], "there must be one axis at least")
    if from_logits:
        return nn.cross_entropy(output, target, axis=axis, reduction="none")
    if (logits := nn.logits_of(output, axis)) is not None:
        logs = tnp.clip(nn.log_softmax(logits, axis), *_bounds())
    else:
        logs = tnp.log(_probabilities(output, axis))
    return -tnp.sum(target * logs, axis=axis)


def sparse_categorical_crossentropy(
    target: Tensor, output: Tensor, from_logits: bool = False, axis: int = -1
) -> Tensor:
    """-log(output) at the class `target` along `axis`; NaN for a target that is no class."""
    target, (output,) = cast(convert_to_tensor(target), "int32"), promote(output, meets=(float,))
    if not output.ndim:
        raise refuse("sparse_categorical_crossentropy", [target, output], "output must have one axis at least")
    if target.ndim == output.ndim and target.shape[-1] == 1:
        target = tnp.squeeze(target, -1)
    if target.shape != replace(output.shape, axis % output.ndim):
        raise refuse(
            "sparse_categorical_crossentropy",
            [target, output],
            "target and output must have the same shape, but for the axis of the classes",
        )
    logits = None if from_logits else nn.logits_of(output, axis)
    if logits is not None:
        least, greatest = _bounds()
        return tnp.clip(nn.cross_entropy(logits, target, axis=axis, reduction="none"), -greatest, -least)
    if not from_logits:
        output = _probabilities(output, axis)
    attrs: dict[str, Any] = {"from_logits": from_logits, "epsilon": backend.epsilon(), "reduction": "none"}
    return nn.cross_entropy(output, target, axis=axis, **attrs)


def binary_crossentropy(target: Tensor, output: Tensor, from_logits: bool = False) -> Tensor:
    """-target * log(output) - (1 - target) * log(1 - output), element by element."""
    target, output = _pair("binary_crossentropy", target, output)
    if from_logits:
        return nn.binary_cross_entropy_with_logits(output, target, reduction="none")
    return nn.binary_cross_entropy(output, target, epsilon=backend.epsilon(), reduction="none")


def psnr(x1: Tensor, x2: Tensor, max_val: float) -> Tensor:
    """The ratio, in decibels, of the square of `max_val` to the mean squared difference."""
    x1, x2 = promote(x1, x2, meets=(float,))
    if x1.shape != x2.shape:
        raise refuse("psnr", [x1, x2], "shapes differ")
    error = tnp.mean(tnp.square(x1 - x2))
    return 20 * tnp.log10(convert_to_tensor(max_val, dtype=x2.dtype)) - 10 * tnp.log10(error)
