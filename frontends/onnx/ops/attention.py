"""Attention, its variants, and rotary positions.

Queries are [batch, heads, time, dim], keys and values [batch, kv_heads, source, dim]; heads of keys and values may be
fewer by a whole factor. Operands of three axes, [batch, time, heads * dim], are split into heads and joined again.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from tgc import nn
from tgc import numpy as tnp
from tgc.control import scan
from tgc.frontends.onnx.errors import InvalidModelError
from tgc.frontends.onnx.formats import dtype_of
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Array, Tensor
from tgc.numpy.base import accumulator
from tgc.types import BOOL, F64, is_inexact


def split_heads(x: Tensor, heads: int | None) -> Tensor:
    """[batch, time, heads * dim] to [batch, heads, time, dim].

    Raises:
        InvalidModelError: the last axis cannot be divided.
    """
    if not heads or x.ndim != 3 or x.shape[-1] % heads:
        raise InvalidModelError(f"operands of shape {tuple(x.shape)} cannot be divided into {heads} heads")
    return tnp.swapaxes(tnp.reshape(x, (*x.shape[:2], heads, x.shape[2] // heads)), 1, 2)


def join_heads(x: Tensor) -> Tensor:
    """The inverse of `split_heads`."""
    batch, heads, time, dim = x.shape
    return tnp.reshape(tnp.swapaxes(x, 1, 2), (batch, time, heads * dim))


def _shared(x: Tensor, heads: int) -> Tensor:
    """Heads of keys or values, each as often as heads of queries share it."""
    return x if x.shape[1] == heads else tnp.repeat(x, heads // x.shape[1], axis=1)


class Mask(NamedTuple):
    """What scores are seen, and what is added to them.

    Attributes:
        window: (before, after): how far from its own place a time sees sources (None: all).
        seen: booleans that broadcast to the scores; `bias`: numbers that do. Either may be None.
        rows: whether a time sees any source, [..., time, 1]; None if all do.
    """

    window: tuple[int | None, int | None]
    seen: Tensor | None
    bias: Tensor | None
    rows: Tensor | None

    def applied(self, scores: Tensor, all_seen: Tensor | None) -> Tensor:
        """Scores with the bias, and -inf where they are not seen."""
        if self.bias is not None:
            scores = scores + tnp.astype(self.bias, scores.dtype)
        return scores if all_seen is None else tnp.where(all_seen, scores, -math.inf)


def _both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else tnp.logical_and(a, b)


def _padded(mask: Tensor, source: int) -> Tensor:
    """A mask continued to all sources by such as are not seen."""
    missing = source - mask.shape[-1]
    value = False if mask.dtype == BOOL else -math.inf
    return tnp.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(0, missing)], constant_values=value) if missing > 0 else mask


def _mask(
    time: int,
    source: int,
    offset: Any,
    before: int | None,
    after: int | None,
    mask: Tensor | None,
    lengths: Tensor | None,
) -> tuple[Mask, Tensor | None]:
    """The mask of scores [batch, heads, time, source], and all of its booleans as one tensor, or None.

    Args:
        offset: the place of the first query among the sources, a number or one for each of the batch.
        before, after: how far from its own place a query sees, None for all.
    """
    seen = bias = None
    if mask is not None:
        mask = _padded(mask, source)
        seen, bias = (mask, None) if mask.dtype == BOOL else (None, mask)
    places = tnp.arange(source)
    if lengths is not None:
        seen = _both(seen, tnp.less(places, tnp.reshape(lengths, (-1, 1, 1, 1))))
    own = tnp.reshape(tnp.arange(time), (-1, 1)) + offset
    near = None if after is None else tnp.less_equal(places, own + after)
    near = near if before is None else _both(near, tnp.greater_equal(places, own - before))
    static = isinstance(offset, int)
    window = (
        None if before is None or not static else before - offset,
        None if after is None or not static else after + offset,
    )
    complete = _both(seen, near)
    if not static or (window[0] or 0) < 0:
        window, seen = (None, None), complete
    rows = None
    if seen is not None or bias is not None or before is not None:
        counts = complete if bias is None else _both(complete, tnp.greater(bias, -math.inf))
        rows = tnp.any(counts, axis=-1, keepdims=True)
    return Mask(window, seen, bias, rows), complete


@converts("Attention", since=23)
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    nonpad_kv_seqlen: Tensor | None = None,
    /,
    *,
    is_causal: int = 0,
    q_num_heads: int | None = None,
    kv_num_heads: int | None = None,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int | None = None,
    qk_matmul_output_mode: int = 0,
    left_window_size: int = -1,
    right_window_size: int = -1,
    outputs: int = 1,
) -> Any:
    """ONNX Attention: (result, keys, values, scores), with earlier keys and values in front of those given.

    A row that sees no source is 0. The softmax is in float32, or in float64 if `softmax_precision` says so. Scores are
    those of the product (mode 0), after the soft cap (1), with the mask (2), or after the softmax (3).
    """
    dtype, flat = q.dtype, q.ndim == 3
    if flat:
        q, k, v = split_heads(q, q_num_heads), split_heads(k, kv_num_heads), split_heads(v, kv_num_heads)
    if past_key is not None:
        k, v = tnp.concatenate([past_key, k], 2), tnp.concatenate([past_value, v], 2)
    heads, time, source = q.shape[1], q.shape[2], k.shape[2]
    offset: Any = 0 if past_key is None else past_key.shape[2]
    if nonpad_kv_seqlen is not None:
        offset = tnp.reshape(nonpad_kv_seqlen, (-1, 1, 1, 1)) - time
    before = None if left_window_size < 0 else left_window_size
    after = 0 if is_causal else None if right_window_size < 0 else right_window_size
    if outputs < 4 and isinstance(attn_mask, np.ndarray) and (forbidding := _forbidding(attn_mask)) is not None:
        attn_mask = forbidding  # booleans are cheaper
    mask, seen = _mask(time, source, offset, before, after, attn_mask, nonpad_kv_seqlen)
    present = (k, v)
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    if softmax_precision and dtype_of(softmax_precision) == F64:
        q, k, v = (tnp.astype(x, F64) for x in (q, k, v))
    y = nn.dot_product_attention(
        q, k, v, mask.seen, bias=mask.bias, window=mask.window, scale=scale, soft_cap=softcap or None
    )
    y = tnp.astype(y if mask.rows is None else tnp.where(mask.rows, y, 0), dtype)
    y = join_heads(y) if flat else y
    if outputs < 4:
        return (y, *present)[:outputs] if outputs > 1 else y
    scores = tnp.matmul(q * scale, tnp.swapaxes(_shared(k, heads), -1, -2))
    if qk_matmul_output_mode >= 1 and softcap:
        scores = softcap * tnp.tanh(scores / softcap)
    if qk_matmul_output_mode >= 2:
        scores = mask.applied(scores, seen)
    if qk_matmul_output_mode == 3:
        scores = nn.softmax(tnp.astype(scores, accumulator(scores.dtype)))
        scores = scores if mask.rows is None else tnp.where(mask.rows, scores, 0)
    return (y, *present, tnp.astype(scores, dtype))


@converts("Attention", domain="tgc")
def parts(q: Tensor, k: Tensor, v: Tensor, /, *others: Tensor, steps: tuple[str, ...], axis: int) -> Tensor:
    """softmax(q k) v, which `tgc.frontends.onnx.patterns` has found in nodes: q [..., time, dim], k [..., dim, source].

    Args:
        others: numbers by which q ("left") or k ("right") is multiplied; then what the scores are multiplied by,
            divided by, or what is added to them: as `steps` says, one after the other. Attention takes numbers and, as
            a last one, a mask that is known and forbids no row all sources.
    """
    scale = 1.0
    masks: list[Array | None] = []
    for step, other in zip(steps, others, strict=True):
        known = isinstance(other, np.ndarray)
        if step != "Add" and not masks and known and other.size == 1:
            scale = scale / other.item() if step == "Div" else scale * other.item()
        else:
            masks.append(_forbidding(other) if step == "Add" and known and not masks else None)
    lead = tuple(q.shape[:-2])
    fit = q.ndim == k.ndim == v.ndim > 2 and lead == tuple(k.shape[:-2]) == tuple(v.shape[:-2])
    if fit and axis in (-1, q.ndim - 1) and all(m is not None for m in masks) and is_inexact(q.dtype):
        (mask,) = masks or (None,)
        shape, causal = (q.shape[-2], k.shape[-1]), False
        if mask is not None and mask.shape[-2:] == shape and np.array_equal(mask, np.tril(np.ones_like(mask))):
            mask, causal = None, True
        return nn.dot_product_attention(q, tnp.swapaxes(k, -1, -2), v, mask, is_causal=causal, scale=scale)
    given = [*zip(steps, others, strict=True)]
    for step, other in given:
        q, k = (q * other if step == "left" else q, k * other if step == "right" else k)
    scores = tnp.matmul(q, k)
    for step, other in given:
        if step in _STEPS:
            scores = _STEPS[step](scores, other)
    return tnp.matmul(nn.softmax(scores, axis=axis), v)


_STEPS = {"Mul": tnp.multiply, "Div": tnp.divide, "Add": tnp.add}


def _forbidding(mask: Array) -> Array | None:
    """Booleans in place of a mask of zeros and the lowest numbers, where each row sees some source; else None."""
    if mask.ndim < 2 or not is_inexact(mask.dtype):
        return None
    seen: Array = mask == 0
    lowest = mask <= tnp.finfo(mask.dtype).min / 2  # a weight of 0 whatever the score, as -inf gives
    return seen if (seen | lowest).all() and seen.any(-1).all() else None


@converts("FlexAttention", domain="ai.onnx.preview")
def flex_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    /,
    *,
    scale: float | None = None,
    score_mod: Any = None,
    prob_mod: Any = None,
    softmax_precision: int | None = None,
) -> Tensor:
    """ONNX FlexAttention: graphs change the scores before and the weights after the softmax.

    Both are in float32 or better, or in the type `softmax_precision`.
    """
    heads = q.shape[1]
    work = dtype_of(softmax_precision) if softmax_precision else accumulator(q.dtype)
    root = math.sqrt(1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    scores = tnp.matmul(q * root, tnp.swapaxes(_shared(k, heads) * root, -1, -2))
    scores = tnp.astype(scores, work)
    if score_mod is not None:
        (scores,) = score_mod(scores)
    weights = nn.softmax(tnp.astype(scores, work))
    if prob_mod is not None:
        (weights,) = prob_mod(weights)
    return tnp.astype(tnp.matmul(tnp.astype(weights, work), tnp.astype(_shared(v, heads), work)), v.dtype)


@converts("RotaryEmbedding", since=23)
def rotary_embedding(
    x: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
    position_ids: Tensor | None = None,
    /,
    *,
    interleaved: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
) -> Tensor:
    """ONNX RotaryEmbedding (Su et al., 2021): pairs of features turned by angles whose cosines and sines are given.

    Caches are [positions, dim / 2], looked up at `position_ids` [batch, time], or [batch, time, dim / 2].
    """
    flat = x.ndim == 3
    if flat:
        x = split_heads(x, num_heads)
    dim = rotary_embedding_dim or x.shape[-1]
    if position_ids is not None:
        cos_cache, sin_cache = (tnp.take(c, position_ids, 0) for c in (cos_cache, sin_cache))
    c, s = (tnp.expand_dims(v, 1) for v in (cos_cache, sin_cache))
    rotated = x[..., :dim]
    if interleaved:
        pairs = tnp.reshape(rotated, (*rotated.shape[:-1], dim // 2, 2))
        a, b = pairs[..., 0], pairs[..., 1]
        turned = tnp.reshape(tnp.stack([a * c - b * s, b * c + a * s], -1), rotated.shape)
    else:
        a, b = rotated[..., : dim // 2], rotated[..., dim // 2 :]
        turned = tnp.concatenate([a * c - b * s, b * c + a * s], -1)
    y = turned if dim == x.shape[-1] else tnp.concatenate([turned, x[..., dim:]], -1)
    return join_heads(y) if flat else y


@converts("LinearAttention", since=27)
def linear_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    past_state: Tensor | None = None,
    decay: Tensor | None = None,
    beta: Tensor | None = None,
    /,
    *,
    q_num_heads: int,
    kv_num_heads: int,
    scale: float = 0.0,
    update_rule: str = "gated_delta",
    chunk_size: int = 64,
) -> tuple[Tensor, Tensor]:
    """ONNX LinearAttention: (result, state [batch, kv_heads, dim, out]), step by step, in float32 or better.

    The state fades by exp(decay), then gains key x value ("linear", "gated") or key x beta * (value - what it holds at
    the key) ("delta", "gated_delta"); the result is what it holds at the query.
    """
    gated, corrected = "gated" in update_rule, "delta" in update_rule
    if update_rule not in ("linear", "gated", "delta", "gated_delta"):
        raise InvalidModelError(f"update_rule is linear, gated, delta or gated_delta, not {update_rule}")
    if gated != (decay is not None) or corrected != (beta is not None):
        raise InvalidModelError(f"update_rule {update_rule} does not fit the operands decay and beta")
    work = accumulator(query.dtype)
    batch, time, _ = query.shape
    groups = q_num_heads // kv_num_heads

    def steps(x: Tensor, heads: int) -> Tensor:
        """[batch, time, heads * n] as [time, batch, heads, n]."""
        return tnp.astype(tnp.swapaxes(tnp.reshape(x, (batch, time, heads, -1)), 0, 1), work)

    q, k, v = steps(query, q_num_heads), steps(key, kv_num_heads), steps(value, kv_num_heads)
    factor = scale or 1 / math.sqrt(q.shape[-1])
    fade = None if decay is None else tnp.exp(steps(decay, kv_num_heads))
    rate = None if beta is None else steps(beta, beta.shape[-1])
    first = tnp.zeros((batch, kv_num_heads, k.shape[-1], v.shape[-1]), work)
    state = first if past_state is None else tnp.astype(past_state, work)

    def step(state: Tensor, row: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        q, k, v, fade, rate = row
        if fade is not None:
            state = state * fade[..., None]
        if rate is not None:
            v = rate * (v - tnp.einsum("bhkv,bhk->bhv", state, k))
        state = state + k[..., None] * v[..., None, :]
        grouped = tnp.reshape(q, (batch, kv_num_heads, groups, -1))
        return state, tnp.einsum("bhgk,bhkv->bhgv", grouped, state)

    last, ys = scan(step, state, (q, k, v, fade, rate))
    y = tnp.reshape(tnp.swapaxes(ys * factor, 0, 1), (batch, time, q_num_heads * v.shape[-1]))
    return tnp.astype(y, query.dtype), tnp.astype(last, query.dtype if past_state is None else past_state.dtype)
