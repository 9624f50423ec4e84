"""Scaled dot-product attention (Vaswani et al., 2017)."""

from __future__ import annotations

import math

from tgc.nn.layers import dense
from tgc.nn.regularization import dropout
from tgc.nn.softmaxes import softmax
from tgc.numpy.base import Array, ArrayLike, accumulator, as_array, as_real, refuse
from tgc.numpy.dtypes import finfo
from tgc.numpy.elementwise import logical_and, where
from tgc.numpy.manipulation import reshape, transpose
from tgc.numpy.products import operands
from tgc.ops import arithmetic, contraction, creation
from tgc.ops.arithmetic import as_tensor
from tgc.types import BOOL, I64

__all__ = ["dot_product_attention", "multi_head_attention"]


def dot_product_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    mask: ArrayLike | None = None,
    *,
    is_causal: bool = False,
    scale: float | None = None,
    dropout_rate: float = 0.0,
    key: Array | None = None,
) -> Array:
    """softmax(q k^T * scale + mask) v, with the softmax over the source in float32 or better.

    Args:
        q: [..., time, dim], such as [batch, heads, time, dim].
        k: [..., source, dim], with the leading axes of q.
        v: [..., source, out], with the leading axes of q.
        mask: broadcasts to [..., time, source]: booleans that are True where a source may be seen, or numbers that are
            added to the scores. A row without any source to see is attended to evenly under a boolean mask.
        is_causal: time i sees sources 0 .. i only.
        scale: 1 / sqrt(dim) unless given.
        dropout_rate, key: dropout of the weights, see `tgc.nn.dropout`.
    Returns:
        [..., time, out].

    Raises:
        ShapeError: the operands do not fit.
    """
    q, k, v = operands("dot_product_attention", as_real(q), as_real(k), as_real(v))
    lead = q.shape[:-2]
    if q.ndim < 2 or q.ndim != k.ndim or lead != k.shape[:-2] or q.shape[-1] != k.shape[-1]:
        raise refuse("dot_product_attention", [q, k, v], "q and k must agree in all axes but the last but one")
    if v.shape[:-1] != k.shape[:-1]:
        raise refuse("dot_product_attention", [q, k, v], "k and v must agree in all axes but the last")
    batch, last = tuple(range(len(lead))), q.ndim - 1
    scaled = q * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    scores = contraction.dot(scaled, k, batch=(batch, batch), contract=((last,), (last,)))
    scores = as_tensor(scores, accumulator(scores.dtype))
    scores = _masked(scores, mask, is_causal)
    weights = dropout(softmax(scores), dropout_rate, key)
    return contraction.dot(as_tensor(weights, v.dtype), v, batch=(batch, batch), contract=((last,), (last - 1,)))


def _masked(scores: Array, mask: ArrayLike | None, is_causal: bool) -> Array:
    """Scores, very low where the mask or causality forbids to look."""
    seen = None
    if mask is not None:
        mask = as_array(mask)
        if arithmetic.broadcast_shapes(mask.shape, scores.shape) != scores.shape:
            raise refuse("dot_product_attention", [scores, mask], "the mask does not broadcast to the scores")
        if mask.dtype == BOOL:
            seen = arithmetic.broadcast_to(mask, scores.shape)
        else:
            scores = scores + as_tensor(mask, scores.dtype)
    if is_causal:
        time, source = (creation.iota(shape=scores.shape[-2:], dtype=I64, axis=axis) for axis in (0, 1))
        past = arithmetic.broadcast_to(arithmetic.less_equal(source, time), scores.shape)
        seen = past if seen is None else logical_and(seen, past)
    # Finite, so that the gradient of a row without anything to see is finite too.
    return scores if seen is None else where(seen, scores, -0.7 * float(finfo(scores.dtype).max))


def multi_head_attention(
    query: ArrayLike,
    context: ArrayLike,
    w_q: ArrayLike,
    w_k: ArrayLike,
    w_v: ArrayLike,
    w_o: ArrayLike,
    b_q: ArrayLike | None = None,
    b_k: ArrayLike | None = None,
    b_v: ArrayLike | None = None,
    b_o: ArrayLike | None = None,
    *,
    heads: int,
    mask: ArrayLike | None = None,
    is_causal: bool = False,
    dropout_rate: float = 0.0,
    key: Array | None = None,
) -> Array:
    """Attention of `query` [batch, time, features] to `context` [batch, source, features] in several heads.

    Args:
        w_q, w_k: [features, heads * dim]; biases [heads * dim].
        w_v: [features, heads * out]; its bias [heads * out].
        w_o: [heads * out, result]; its bias [result].
        mask: broadcasts to [batch, heads, time, source]; this and the rest as in `dot_product_attention`.
    Returns:
        [batch, time, result].

    Raises:
        ShapeError: the operands do not fit, or a projection cannot be divided into `heads`.
    """

    def split(x: ArrayLike, w: ArrayLike, b: ArrayLike | None) -> Array:
        projected = dense(x, w, b)
        if projected.ndim != 3 or projected.shape[-1] % heads:
            raise refuse(
                "multi_head_attention", [x, w], f"not [batch, time, features] and a projection to {heads} heads"
            )
        return transpose(reshape(projected, (*projected.shape[:2], heads, -1)), (0, 2, 1, 3))

    q, k, v = split(query, w_q, b_q), split(context, w_k, b_k), split(context, w_v, b_v)
    y = dot_product_attention(q, k, v, mask, is_causal=is_causal, dropout_rate=dropout_rate, key=key)
    joined = transpose(y, (0, 2, 1, 3))
    return dense(reshape(joined, (*joined.shape[:2], -1)), w_o, b_o)
