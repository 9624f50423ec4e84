"""Attention."""

from __future__ import annotations

from tgc import nn
from tgc import numpy as tnp
from tgc.frontends.keras.ops.promotion import promote
from tgc.frontends.keras.ops.tensors import Tensor, cast, convert_to_tensor
from tgc.numpy.base import refuse

__all__ = ["dot_product_attention"]


def dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    scale: float | None = None,
    is_causal: bool = False,
    flash_attention: bool | None = None,
    attn_logits_soft_cap: float | None = None,
) -> Tensor:
    """softmax(query key^T * scale + bias) value where the mask allows it: [batch, time, heads, dim].

    Scores are never stored unless a bias or a soft cap asks for them, whatever `flash_attention` says. Heads of key and
    value may be fewer by a whole factor.
    """
    query, key, value = promote(query, key, value, meets=(float,))
    if not query.ndim == key.ndim == value.ndim == 4:
        raise refuse("dot_product_attention", [query, key, value], "only supports 4D inputs")
    q, k, v = (tnp.swapaxes(x, 1, 2) for x in (query, key, value))
    y = nn.dot_product_attention(
        q,
        k,
        v,
        None if mask is None else cast(convert_to_tensor(mask), "bool"),
        bias=None if bias is None else convert_to_tensor(bias, dtype=query.dtype),
        is_causal=is_causal,
        scale=scale,
        soft_cap=attn_logits_soft_cap,
    )
    return tnp.swapaxes(y, 1, 2)
