"""Elements at computed places: gathers, scatters, sorting; on the host what selects by values."""

from __future__ import annotations

import numpy as np

from tgc import nn
from tgc import numpy as tnp
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Array, Tensor


@converts("Gather")
def gather(data: Tensor, indices: Tensor, /, *, axis: int = 0) -> Tensor:
    """ONNX Gather; an index out of range is an error at run time."""
    return tnp.take(data, indices, axis)


def _grid(shape: tuple[int, ...], axis: int, indices: Tensor) -> tuple[Tensor, ...]:
    """What indexes the elements that have the places of `indices`, but along `axis` its values."""
    rank = len(shape)
    own = (tnp.reshape(tnp.arange(n), [n if a == b else 1 for b in range(rank)]) for a, n in enumerate(shape))
    return tuple(indices if a == axis % rank else places for a, places in enumerate(own))


@converts("GatherElements", since=11)
def gather_elements(data: Tensor, indices: Tensor, /, *, axis: int = 0) -> Tensor:
    """ONNX GatherElements: along the other axes, `indices` may be shorter than `data`."""
    at = axis % data.ndim
    rows = data[tuple(slice(None) if a == at else slice(n) for a, n in enumerate(indices.shape))]
    return tnp.take_along_axis(rows, indices, at)


@converts("GatherND", since=11)
def gather_nd(data: Tensor, indices: Tensor, /, *, batch_dims: int = 0) -> Tensor:
    """ONNX GatherND: the last axis of `indices` holds places in the leading axes of `data` behind `batch_dims`."""
    lead = indices.ndim - 1
    batch = (
        tnp.reshape(tnp.arange(indices.shape[a]), [-1 if a == b else 1 for b in range(lead)]) for a in range(batch_dims)
    )
    return data[(*batch, *(indices[..., k] for k in range(indices.shape[-1])))]


_SCATTERS = {"none": "set", "add": "add", "mul": "multiply", "max": "max", "min": "min"}


@converts("ScatterElements", since=11)
def scatter_elements(
    data: Tensor, indices: Tensor, updates: Tensor, /, *, axis: int = 0, reduction: str = "none"
) -> Tensor:
    """ONNX ScatterElements; updates of one place are combined in order, so that the last one is kept of "none"."""
    places = tnp.at(data)[_grid(indices.shape, axis, indices)]
    return getattr(places, _SCATTERS[reduction])(updates)


@converts("Scatter", since=9)
def scatter(data: Tensor, indices: Tensor, updates: Tensor, /, *, axis: int = 0) -> Tensor:
    """ONNX Scatter, the older name of ScatterElements."""
    return scatter_elements(data, indices, updates, axis=axis)


@converts("ScatterND", since=11)
def scatter_nd(data: Tensor, indices: Tensor, updates: Tensor, /, *, reduction: str = "none") -> Tensor:
    """ONNX ScatterND: the last axis of `indices` holds places in the leading axes of `data`."""
    places = tnp.at(data)[tuple(indices[..., k] for k in range(indices.shape[-1]))]
    return getattr(places, _SCATTERS[reduction])(updates)


@converts("TensorScatter", since=24)
def tensor_scatter(
    past_cache: Tensor, update: Tensor, write_indices: Tensor | None = None, /, *, axis: int = -2, mode: str = "linear"
) -> Tensor:
    """ONNX TensorScatter: `update` written to a cache, from place `write_indices`, one a batch, along `axis` on."""
    shape, at = update.shape, axis % update.ndim
    column = [-1 if a == at else 1 for a in range(len(shape))]
    places = tnp.reshape(tnp.arange(shape[at]), column)
    if write_indices is not None:
        places = places + tnp.reshape(write_indices, (-1, *[1] * (len(shape) - 1)))
    if mode == "circular":
        places = tnp.mod(places, past_cache.shape[at])
    return tnp.at(past_cache)[_grid(shape, at, places)].set(update)


@converts("OneHot", since=9, static=["depth"])
def one_hot(indices: Tensor, depth: Array, values: Tensor, /, *, axis: int = -1) -> Tensor:
    """ONNX OneHot: `values` are [off, on]; an index out of range, from the end if negative, is nowhere."""
    n = depth.item()
    n = int(n) if isinstance(n, float) else n
    label = tnp.astype(indices, np.int64)
    hot = nn.one_hot(tnp.where(label < 0, label + n, label), n, bool, axis)
    return tnp.where(hot, values[1], values[0])


@converts("TopK", since=10, static=["k"])
def top_k(x: Tensor, k: Array, /, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple[Tensor, Tensor]:
    """ONNX TopK: values and places (int64), earlier ones first where values are equal."""
    places = tnp.argsort(tnp.moveaxis(x, axis, -1), descending=bool(largest))[..., : k.item()]
    places = tnp.moveaxis(places, -1, axis)
    return tnp.take_along_axis(x, places, axis), places


@converts("NonZero", since=9, host=True)
def non_zero(x: Array, /) -> Array:
    """ONNX NonZero: [rank, count] of int64; a scalar counts as a vector of one element."""
    return np.array(np.nonzero(np.atleast_1d(x)), np.int64)[: max(x.ndim, 1)]


@converts("Compress", since=9, host=True)
def compress(input: Array, condition: Array, /, *, axis: int | None = None) -> Array:
    """ONNX Compress: the slices where the condition holds, which may be shorter than the axis."""
    return np.compress(condition, input, axis)


@converts("Unique", since=11, host=True)
def unique(x: Array, /, *, axis: int | None = None, sorted: int = 1) -> tuple[Array, Array, Array, Array]:
    """ONNX Unique: values, places of their first occurrence, the value of each element, counts."""
    narrow = x.dtype.kind == "V"  # NumPy sorts no floats of ml_dtypes
    values, first, inverse, counts = np.unique(
        x.astype(np.float32) if narrow else x, return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    values, inverse = values.astype(x.dtype), inverse.reshape(-1)
    if not sorted:
        order = np.argsort(first)
        rank = np.argsort(order)
        values = values[order] if axis is None else np.take(values, order, axis)
        first, inverse, counts = first[order], rank[inverse], counts[order]
    return values, first.astype(np.int64), inverse.astype(np.int64), counts.astype(np.int64)
