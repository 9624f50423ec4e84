"""Softmax, its logarithm and its kin, shifted by the largest element so that nothing overflows.

Gradients do not go through the shift, which cancels; that of softmax is one of its result. Half precision is computed
in float32.
"""

from __future__ import annotations

from functools import partial

from tgc.composite import composed, composite
from tgc.control import associative_scan
from tgc.nn.base import full_precision
from tgc.numpy.base import Array, Axes, axes_of, refuse, spread
from tgc.numpy.cumulative import cumsum
from tgc.numpy.elementwise import exp, isfinite, log, logaddexp, maximum, reciprocal, where
from tgc.numpy.manipulation import reshape
from tgc.numpy.sorting import sort
from tgc.ops import creation
from tgc.ops.arithmetic import as_tensor, divide, multiply, subtract
from tgc.ops.elementwise import stop_gradient
from tgc.ops.reduce import reduce_max, reduce_sum
from tgc.trace import Tracer

__all__ = ["log_softmax", "logcumsumexp", "logits_of", "logsumexp", "softmax", "softmin", "sparsemax"]


def _axes(function: str, x: Array, axis: Axes) -> tuple[int, ...]:
    axes = axes_of(function, x, axis)
    if 0 in [x.shape[a] for a in axes]:
        raise refuse(function, [x], f"cannot reduce an axis of size zero (axis={axis})")
    return axes


def shifted(x: Array, axes: tuple[int, ...]) -> Array:
    """`x` less its largest element along `axes`, as which it counts as constant."""
    return subtract(x, spread(stop_gradient(reduce_max(x, axes=axes, chunks=0)), axes, x.shape))


@full_precision
def softmax(x: Array, axis: Axes = -1) -> Array:
    """exp(x) / sum(exp(x)) along one axis or several; NaN where all elements are -inf."""
    y: Array = _softmax(x, _axes("softmax", x, axis))
    return y


@partial(composite, nondiff_argnums=(1,))
def _softmax(x: Array, axes: tuple[int, ...]) -> Array:
    weights = exp(shifted(x, axes))
    share = reciprocal(reduce_sum(weights, axes=axes, chunks=0))  # of a sum that is at least 1: one division a row
    return multiply(weights, spread(share, axes, x.shape))


def _softmax_pullback(axes: tuple[int, ...], y: Array, g: Array) -> tuple[Array]:
    return (y * (g - spread(reduce_sum(y * g, axes=axes, chunks=0), axes, y.shape)),)


def _softmax_kept(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    y = _softmax.f(x, axes)
    return y, y


_softmax.defvjp(_softmax_kept, _softmax_pullback)


def logits_of(probabilities: Array, axis: int = -1) -> Array | None:
    """What `softmax` along one axis has made `probabilities` of in the trace that is being recorded; None where another
    function made them, or where nothing is recorded.

    A loss of the logits is more exact than one of probabilities, and takes no pass over these.
    """
    node = probabilities.value.node if isinstance(probabilities, Tracer) else None
    if node is None or node.op is not composed or node.attrs["name"] != _softmax.name:
        return None
    (total,) = (n for n in node.body.nodes if n.op is reduce_sum)
    same = total.attrs["axes"] == (axis % len(probabilities.shape),)
    return Tracer(probabilities.trace, node.operands[0]) if same else None


@full_precision
def log_softmax(x: Array, axis: Axes = -1) -> Array:
    """log(softmax(x)), accurate where the softmax underflows."""
    axes = _axes("log_softmax", x, axis)
    s = shifted(x, axes)
    return subtract(s, spread(log(reduce_sum(exp(s), axes=axes, chunks=0)), axes, x.shape))


@full_precision
def logsumexp(x: Array, axis: Axes = None, keepdims: bool = False) -> Array:
    """log(sum(exp(x))) along `axis`, one, several or all; infinities as in exact arithmetic."""
    axes = _axes("logsumexp", x, axis)
    largest = stop_gradient(reduce_max(x, axes=axes, chunks=0))
    largest = where(isfinite(largest), largest, 0)
    out = log(reduce_sum(exp(x - spread(largest, axes, x.shape)), axes=axes, chunks=0)) + largest
    return reshape(out, [1 if a in axes else n for a, n in enumerate(x.shape)]) if keepdims else out


@full_precision
def logcumsumexp(x: Array, axis: int = -1, reverse: bool = False) -> Array:
    """log(cumsum(exp(x))) along `axis`, pairwise, so that nothing overflows; with `reverse`, from each element on."""
    (at,) = axes_of("logcumsumexp", x, (axis,))
    return associative_scan(logaddexp, x, reverse, at)


@full_precision
def softmin(x: Array, axis: Axes = -1) -> Array:
    """softmax(-x)."""
    return softmax(-x, axis)


@full_precision
def sparsemax(x: Array, axis: int = -1) -> Array:
    """The point of the probability simplex closest to `x` along `axis` (Martins and Astudillo, 2016)."""
    (at,) = axes = _axes("sparsemax", x, (axis,))
    s = shifted(x, axes)
    ordered = sort(s, at, descending=True)
    rank = creation.iota(shape=x.shape, dtype=x.dtype, axis=at) + 1
    inside = rank * ordered + 1 > stop_gradient(cumsum(ordered, at))
    size = reduce_sum(as_tensor(inside, x.dtype), axes=axes, chunks=0)
    level = divide(reduce_sum(where(inside, ordered, 0), axes=axes, chunks=0) - 1, size)
    return maximum(s - spread(level, axes, s.shape), 0)
