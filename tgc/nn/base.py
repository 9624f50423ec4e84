"""What the functions of `tgc.nn` share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec

from tgc.errors import AttributeSpecError
from tgc.numpy import reductions
from tgc.numpy.base import Array, accumulator, along, as_array, as_real, refuse
from tgc.ops import arithmetic
from tgc.ops.arithmetic import as_tensor

P = ParamSpec("P")


def full_precision(function: Callable[Concatenate[Any, P], Any]) -> Callable[Concatenate[Any, P], Any]:
    """Hand the first operand over as floats, half precision as float32, and round the result once to its dtype."""

    @functools.wraps(function)
    def wrapped(x: Any, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        x = as_real(x)
        return as_tensor(function(as_tensor(x, accumulator(x.dtype)), *args, **kwargs), x.dtype)

    return wrapped


def per_axis(function: str, name: str, value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """One integer for each of `rank` axes, from one for all or one each.

    Raises:
        AttributeSpecError: there are more or fewer.
    """
    values = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(values) != rank or not all(isinstance(v, int) for v in values):
        raise AttributeSpecError(f"{function}: {name}={value!r} is neither an integer nor one for each of {rank} axes")
    return values


Padding = str | int | Sequence[int] | Sequence[tuple[int, int]]


def same_padding(sizes: Sequence[int], reach: Sequence[int], stride: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Padding with which windows of `reach` elements make ceil(size / stride) steps; an odd element goes to the end."""
    total = [max((-(-n // s) - 1) * s + r - n, 0) for n, r, s in zip(sizes, reach, stride, strict=True)]
    return tuple((t // 2, t - t // 2) for t in total)


def pad_pairs(
    function: str, padding: Padding, sizes: Sequence[int], reach: Sequence[int], stride: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """(low, high) for each axis, from "valid", "same", "causal", a number for all sides, one an axis, or such pairs.

    Raises:
        AttributeSpecError: it is none of these.
    """
    rank = len(sizes)
    match padding:
        case "valid":
            return ((0, 0),) * rank
        case "same":
            return same_padding(sizes, reach, stride)
        case "causal":
            return tuple((r - 1, 0) for r in reach)
        case int():
            return ((padding, padding),) * rank
        case str():
            pass
        case _ if len(padding) == rank:
            pairs = [(p, p) if isinstance(p, int) else tuple(p) for p in padding]
            if all(len(p) == 2 and all(isinstance(v, int) for v in p) for p in pairs):
                return tuple((p[0], p[1]) for p in pairs)
    raise AttributeSpecError(
        f"{function}: padding={padding!r} is neither 'valid', 'same', 'causal', an integer, nor an integer or a pair "
        f"for each of {rank} axes"
    )


def channels_last(function: str, x: Any, data_format: str) -> tuple[Array, Callable[[Array], Array]]:
    """`x` as [batch, *spatial, channels], and what brings a result of that form back into `data_format`.

    Raises:
        AttributeSpecError: `data_format` is neither "NHWC" nor "NCHW".
        ShapeError: `x` has fewer than three axes.
    """
    x = as_array(x)
    if data_format not in ("NHWC", "NCHW"):
        raise AttributeSpecError(f"{function}: data_format is 'NHWC' or 'NCHW' (for any rank), not {data_format!r}")
    if x.ndim < 3:
        raise refuse(function, [x], "the operand needs a batch, a channel and at least one spatial axis")
    if data_format == "NHWC":
        return x, lambda y: y
    last = x.ndim - 1
    back = lambda y: arithmetic.transpose(y, (0, last, *range(1, last))) if y.ndim == x.ndim else y  # noqa: E731
    return arithmetic.transpose(x, (0, *range(2, x.ndim), 1)), back


def parameter(function: str, name: str, value: Any, x: Array, axes: Sequence[int]) -> Array:
    """A learned `value`, which has the `axes` of `x`, in the dtype of `x` and repeated to its shape.

    Raises:
        ShapeError: it has another shape.
    """
    value = as_array(value)
    wanted = tuple(x.shape[a] for a in axes)
    if value.shape != wanted:
        raise refuse(function, [x, value], f"{name} must have the shape {wanted} of axes {tuple(axes)}")
    return along(as_tensor(value, x.dtype), axes, x.shape)


def reduced(function: str, losses: Array, reduction: str, weights: Any = None) -> Array:
    """The losses, times `weights` that broadcast to them, as they are ("none"), their "sum" or their "mean".

    A weighted mean is the sum divided by that of the weights, 0 if there are none.

    Raises:
        AttributeSpecError: another reduction.
        ShapeError: the weights do not broadcast to the losses.
    """
    if reduction not in ("none", "sum", "mean"):
        raise AttributeSpecError(f"{function}: reduction is 'mean', 'sum' or 'none', not {reduction!r}")
    if weights is not None:
        weights = as_tensor(as_array(weights), losses.dtype)
        if arithmetic.broadcast_shapes(weights.shape, losses.shape) != losses.shape:
            raise refuse(function, [losses, weights], "the weights do not broadcast to the losses")
        weights = arithmetic.broadcast_to(weights, losses.shape)
        losses = losses * weights
    if reduction == "none":
        return losses
    if reduction == "sum" or weights is None:
        return getattr(reductions, reduction)(losses)
    total = reductions.sum(weights)
    return reductions.sum(losses) / arithmetic.where(arithmetic.equal(total, 0), 1, total)


def loss(function: Callable[..., Any]) -> Callable[..., Any]:
    """A public loss, with the keywords `weights` and `reduction`, of a function that returns each element's loss."""

    @full_precision
    @functools.wraps(function)
    def wrapped(predictions: Any, /, *args: Any, weights: Any = None, reduction: str = "mean", **attrs: Any) -> Any:
        return reduced(function.__name__, function(predictions, *args, **attrs), reduction, weights)

    return wrapped


def target(function: str, predictions: Array, targets: Any) -> Array:
    """The targets of predictions, which have their shape, in their dtype.

    Raises:
        ShapeError: they have another shape.
    """
    targets = as_array(targets)
    if targets.shape != predictions.shape:
        raise refuse(function, [predictions, targets], "shapes differ")
    return as_tensor(targets, predictions.dtype)
