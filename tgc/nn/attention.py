"""Scaled dot-product attention (Vaswani et al., 2017)."""

from __future__ import annotations

import math
from typing import Any

from tgc.nn.layers import dense
from tgc.nn.regularization import dropout
from tgc.nn.softmaxes import softmax
from tgc.numpy.base import Array, ArrayLike, accumulator, as_array, as_real, refuse
from tgc.numpy.elementwise import tanh, where
from tgc.numpy.manipulation import repeat, reshape, transpose
from tgc.numpy.products import operands
from tgc.ops import arithmetic, contraction
from tgc.ops import attention as ops
from tgc.ops.arithmetic import as_tensor
from tgc.types import BOOL

__all__ = ["dot_product_attention", "multi_head_attention"]

_NAME = "dot_product_attention"


def dot_product_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    mask: ArrayLike | None = None,
    *,
    bias: ArrayLike | None = None,
    is_causal: bool = False,
    window: int | tuple[int | None, int | None] | None = None,
    scale: float | None = None,
    soft_cap: float | None = None,
    dropout_rate: float = 0.0,
    key: Array | None = None,
    return_weights: bool = False,
) -> Any:
    """softmax(q k^T * scale + bias) v where the mask allows it, with the softmax over the source in float32 or better.

    No memory is needed for the scores, which are [..., time, source], unless one of bias, soft_cap, dropout,
    return_weights or a mask of numbers asks for them; v must then be finite at sources unseen.

    Args:
        q: [..., time, dim], such as [batch, heads, time, dim].
        k: [..., source, dim], with the leading axes of q. The last of these, the heads, may be fewer by a whole factor:
            each head of k and v then serves as many adjacent heads of q (grouped queries, Ainslie et al., 2023).
        v: [..., source, out], with the leading axes of k.
        mask: broadcasts to [..., time, source]: booleans that are True where a source may be seen, or numbers that are
            added to the scores. A row without any source to see is attended to evenly under a boolean mask.
        bias: numbers that are added to the scores beside a boolean mask; broadcasts likewise.
        is_causal: time i sees sources 0 .. i only.
        window: time i sees sources i - window .. i + window only, or i - before .. i + after for a pair of
            numbers (None: all).
        scale: 1 / sqrt(dim) unless given.
        soft_cap: scores s become soft_cap * tanh(s / soft_cap), before bias and mask.
        dropout_rate, key: dropout of the weights, see `tgc.nn.dropout`.
        return_weights: return the weights [..., time, source] beside the result, as they are before dropout.
    Returns:
        [..., time, out], or a pair of this and the weights.

    Raises:
        ShapeError: the operands do not fit.
    """
    q, k, v = operands(_NAME, as_real(q), as_real(k), as_real(v))
    lead = q.shape[:-2]
    if q.ndim < 2 or q.ndim != k.ndim or lead[:-1] != k.shape[:-2][:-1] or q.shape[-1] != k.shape[-1]:
        raise refuse(_NAME, [q, k, v], "q and k must agree in all axes but the last but one")
    if lead and (not k.shape[-3] or lead[-1] % k.shape[-3]):
        raise refuse(_NAME, [q, k, v], f"{lead[-1]} heads of q cannot share {k.shape[-3]} heads of k")
    if v.shape[:-1] != k.shape[:-1]:
        raise refuse(_NAME, [q, k, v], "k and v must agree in all axes but the last")
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    before, after = _reach(is_causal, window)
    shape = (*q.shape[:-1], k.shape[-2])
    bias = None if bias is None else _fits("bias", bias, [q, k], shape)
    mask = None if mask is None else _fits("mask", mask, [q, k], shape)
    plain = (
        bias is None and (mask is None or mask.dtype == BOOL) and soft_cap is None and isinstance(scale, int | float)
    )
    if plain and not dropout_rate and not return_weights:
        return _whole(q, k, v, mask, scale=scale, before=before, after=after)
    scores = _product(q * scale, k, k.ndim - 1)
    scores = as_tensor(scores, accumulator(scores.dtype))
    if soft_cap is not None:
        scores = tanh(scores / soft_cap) * soft_cap
    scores = _masked(scores, mask, bias, before, after)
    weights = softmax(scores)
    kept = dropout(weights, dropout_rate, key)
    y = _product(as_tensor(kept, v.dtype), v, v.ndim - 2)
    return (y, as_tensor(weights, v.dtype)) if return_weights else y


def _product(x: Array, y: Array, axis: int) -> Array:
    """The last axis of `x` contracted with `axis` of `y`, the heads of `x` in groups that share a head of `y`."""
    lead, heads = x.shape[:-2], y.shape[:-2]
    groups = () if lead == heads else (lead[-1] // heads[-1],)
    parts = reshape(x, (*heads, *groups, *x.shape[-2:])) if groups else x
    batch = tuple(range(len(heads)))
    out = contraction.dot(parts, y, batch=(batch, batch), contract=((parts.ndim - 1,), (axis,)))
    return reshape(out, (*lead, *out.shape[-2:])) if groups else out


def _whole(q: Array, k: Array, v: Array, mask: Array | None, **attrs: Any) -> Array:
    """By the op, which needs no memory for scores; half precision in float32."""
    dtype, heads = v.dtype, q.shape[:-2]
    wide = [as_tensor(x, accumulator(dtype)) for x in (q, k, v)]
    if k.shape[:-2] != heads:  # each head of k and v as often as heads of q share it
        wide[1:] = [repeat(x, heads[-1] // k.shape[-3], axis=-3) for x in wide[1:]]
    if mask is not None:
        wide.append(reshape(mask, (1,) * (q.ndim - mask.ndim) + mask.shape))
    y, _ = ops.attention(*wide, orders=(), **attrs)
    return as_tensor(y, dtype)


def _reach(is_causal: bool, window: int | tuple[int | None, int | None] | None) -> tuple[int | None, int | None]:
    """How many sources before and after its own place a time sees, None for all."""
    before, after = window if isinstance(window, tuple) else (window, window)
    return before, after if not is_causal else 0 if after is None else min(after, 0)


def _fits(what: str, x: ArrayLike, qk: list[Array], scores: tuple[int, ...]) -> Array:
    x = as_array(x)
    if arithmetic.broadcast_shapes(x.shape, scores) != scores:
        raise refuse(_NAME, [*qk, x], f"the {what} does not broadcast to the scores")
    return x


def _masked(scores: Array, mask: Array | None, bias: Array | None, before: int | None, after: int | None) -> Array:
    """Scores, very low where mask, causality or window forbid to look."""
    if bias is not None:
        scores = scores + as_tensor(bias, scores.dtype)
    if mask is not None and mask.dtype != BOOL:
        scores, mask = scores + as_tensor(mask, scores.dtype), None
    counts = ops.allowed(scores.shape, before, after, mask)
    return scores if counts is None else where(counts, scores, ops.unseen(scores.dtype))


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
    kv_heads: int | None = None,
    mask: ArrayLike | None = None,
    return_weights: bool = False,
    **attention: Any,
) -> Any:
    """Attention of `query` [batch, time, features] to `context` [batch, source, features] in several heads.

    Args:
        w_q: [features, heads * dim]; its bias [heads * dim].
        w_k: [features, kv_heads * dim]; its bias [kv_heads * dim].
        w_v: [features, kv_heads * out]; its bias [kv_heads * out].
        w_o: [heads * out, result]; its bias [result].
        kv_heads: as many as `heads` unless given; a divisor of these.
        mask: broadcasts to [batch, heads, time, source].
        return_weights: return the weights [batch, heads, time, source] too.
        attention: the other keywords of `dot_product_attention`.
    Returns:
        [batch, time, result], or a pair of this and the weights.

    Raises:
        ShapeError: the operands do not fit, or a projection cannot be divided into its heads.
    """

    def split(x: ArrayLike, w: ArrayLike, b: ArrayLike | None, parts: int) -> Array:
        projected = dense(x, w, b)
        if projected.ndim != 3 or projected.shape[-1] % parts:
            raise refuse(
                "multi_head_attention", [x, w], f"not [batch, time, features] and a projection to {parts} heads"
            )
        return transpose(reshape(projected, (*projected.shape[:2], parts, -1)), (0, 2, 1, 3))

    shared = heads if kv_heads is None else kv_heads
    q, k, v = split(query, w_q, b_q, heads), split(context, w_k, b_k, shared), split(context, w_v, b_v, shared)
    out = dot_product_attention(q, k, v, mask, return_weights=return_weights, **attention)
    y, weights = out if return_weights else (out, None)
    joined = transpose(y, (0, 2, 1, 3))
    out = dense(reshape(joined, (*joined.shape[:2], -1)), w_o, b_o)
    return (out, weights) if return_weights else out
