"""Layers that are one product or one look-up."""

from __future__ import annotations

from tgc.numpy.base import Array, ArrayLike, DTypeLike, along, as_array, refuse
from tgc.numpy.indexing import as_indices, take
from tgc.numpy.products import matmul
from tgc.ops import arithmetic, creation
from tgc.ops.arithmetic import add, as_tensor, axis_index, where
from tgc.ops.elementwise import stop_gradient
from tgc.types import F32, as_dtype

__all__ = ["dense", "embedding", "linear", "one_hot"]


def dense(x: ArrayLike, w: ArrayLike, b: ArrayLike | None = None) -> Array:
    """x @ w + b: [..., in], [in, out] and [out] to [..., out].

    Raises:
        ShapeError: the shapes do not fit.
    """
    x, w = as_array(x), as_array(w)
    if w.ndim != 2 or not x.ndim or x.shape[-1] != w.shape[0]:
        raise refuse("dense", [x, w], "the last axis of x must have the size of the first of two axes of w")
    y = matmul(x, w)
    if b is None:
        return y
    b = as_array(b)
    if b.shape != w.shape[1:]:
        raise refuse("dense", [x, w, b], f"the bias must have the shape {w.shape[1:]}")
    return add(y, b)


def embedding(table: ArrayLike, ids: ArrayLike, padding_idx: int | None = None) -> Array:
    """Rows of `table` [rows, ...] at integer `ids` [...]: shape of ids, then of a row.

    Args:
        padding_idx: the row (from the last one if negative) that has no gradient, as it stands for padding.
    Raises:
        DTypeError: `ids` are not integers.
        OutOfRangeError: at run time, one is not below the number of rows.
        AxisError: there is no row `padding_idx`.
    """
    rows = take(table, ids, 0)
    if padding_idx is None:
        return rows
    n, ids = as_array(table).shape[0], as_array(ids)
    padding = arithmetic.equal(where(arithmetic.less(ids, 0), add(ids, n), ids), axis_index(padding_idx, n))
    return where(along(padding, range(ids.ndim), rows.shape), stop_gradient(rows), rows)


def one_hot(labels: ArrayLike, classes: int, dtype: DTypeLike = F32, axis: int = -1) -> Array:
    """1 at the integer label along a new axis of `classes` elements, else 0; all 0 for a label outside of the classes.

    Raises:
        DTypeError: `labels` are not integers.
    """
    labels = as_indices("one_hot", labels)
    hot = is_label(labels, classes, arithmetic.axis_index(axis, labels.ndim + 1))
    return as_tensor(hot, as_dtype(dtype))


def is_label(labels: Array, classes: int, axis: int) -> Array:
    """Booleans: whether the place along a new `axis` is the label."""
    shape = (*labels.shape[:axis], classes, *labels.shape[axis:])
    places = creation.iota(shape=shape, dtype=labels.dtype, axis=axis)
    return arithmetic.equal(places, along(labels, [a for a in range(len(shape)) if a != axis], shape))


linear = dense
