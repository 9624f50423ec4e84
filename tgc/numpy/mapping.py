"""Functions of vectors along an axis, and of smaller tensors than those that are given."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tgc import batching
from tgc.errors import AttributeSpecError
from tgc.ir import recorder
from tgc.numpy.base import Array, ArrayLike, as_array, axis_of, refuse
from tgc.numpy.manipulation import broadcast_shapes, broadcast_to, moveaxis, reshape
from tgc.ops.batch import in_front

__all__ = ["apply_along_axis", "vectorize"]


def apply_along_axis(func1d: Callable[..., Any], axis: int, arr: ArrayLike, *args: Any, **kwargs: Any) -> Array:
    """`func1d(vector, *args, **kwargs)` of the vectors along `axis`, in the place of which are the axes of its result.

    In a trace `func1d` is traced once and mapped (see `tgc.vmap`); on arrays it is called on one vector after another.

    Raises:
        ShapeError: `arr` has no such axis, or there is no vector.
        TraceError: in a trace, `func1d` contains an op that cannot be mapped.
    """
    x = as_array(arr)
    at = axis_of("apply_along_axis", x, axis)
    kept = tuple(n for a, n in enumerate(x.shape) if a != at)
    if 0 in kept:
        raise refuse("apply_along_axis", [x], f"there are no vectors along axis {axis}")
    if recorder() is None:
        return np.apply_along_axis(lambda v: np.asarray(func1d(v, *args, **kwargs)), at, x)
    rows = reshape(moveaxis(x, at, -1), (-1, x.shape[at]))
    (y,) = batching.vectorize(lambda v: [func1d(v, *args, **kwargs)], [rows], [True], rows.shape[0])
    made = in_front(y.tensor, y.batched, rows.shape[0])
    inner = made.shape[1:]
    behind = tuple(range(len(kept), len(kept) + len(inner)))
    return moveaxis(reshape(made, (*kept, *inner)), behind, tuple(range(at, at + len(inner))))


_DIMENSIONS = r"\(([^()]*)\)"


def _ranks(signature: str) -> list[int]:
    """How many axes each operand of a signature such as "(m,n),(n)->(m)" has."""
    if not re.fullmatch(rf"{_DIMENSIONS}(,{_DIMENSIONS})*->{_DIMENSIONS}(,{_DIMENSIONS})*", signature.replace(" ", "")):
        raise AttributeSpecError(f"vectorize: {signature!r} is no signature, such as '(m,n),(n)->(m)'")
    return [len(names.split(",")) if names else 0 for names in re.findall(_DIMENSIONS, signature.split("->")[0])]


def vectorize(
    pyfunc: Callable[..., Any], *, excluded: Iterable[int | str] | None = None, signature: str | None = None
) -> Callable[..., Any]:
    """A function of tensors that applies `pyfunc`, a function of numbers, to all their elements, which broadcast.

    In a trace `pyfunc` is traced once and mapped (see `tgc.vmap`); on arrays it is called for element after element.

    Args:
        excluded: places or names of arguments that are handed on as they are.
        signature: the axes of the operands of `pyfunc` and of its results if they are no numbers: "(m,n),(n)->(m)".
    Raises:
        AttributeSpecError: `signature` is malformed, or is for another number of operands.
        TraceError: in a trace, `pyfunc` contains an op that cannot be mapped.
    """
    kept = set(excluded or ())
    ranks = None if signature is None else _ranks(signature)

    def function(*args: Any, **kwargs: Any) -> Any:
        if recorder() is None:
            return np.vectorize(pyfunc, excluded=kept, signature=signature)(*args, **kwargs)
        names = [*range(len(args)), *kwargs]
        given = [*args, *kwargs.values()]
        places = [k for k, name in enumerate(names) if name not in kept]
        xs = [as_array(given[k]) for k in places]
        axes = [0] * len(xs) if ranks is None else ranks
        if len(axes) != len(xs):
            raise AttributeSpecError(f"vectorize: the signature {signature!r} is not one of {len(xs)} operands")
        loops = broadcast_shapes(*(x.shape[: x.ndim - rank] for x, rank in zip(xs, axes, strict=True)))

        def call(*rows: Array) -> list[Array]:
            values = list(given)
            for k, row in zip(places, rows, strict=True):
                values[k] = row
            out = pyfunc(*values[: len(args)], **dict(zip(kwargs, values[len(args) :], strict=True)))
            found.append(isinstance(out, tuple))
            return list(out) if isinstance(out, tuple) else [out]

        found: list[bool] = []
        cores = [x.shape[x.ndim - rank :] for x, rank in zip(xs, axes, strict=True)]
        rows = [reshape(broadcast_to(x, (*loops, *c)), (-1, *c)) for x, c in zip(xs, cores, strict=True)]
        results = batching.vectorize(call, rows, [True] * len(rows), rows[0].shape[0])
        made = [in_front(y.tensor, y.batched, rows[0].shape[0]) for y in results]
        shaped = tuple(reshape(y, (*loops, *y.shape[1:])) for y in made)
        return shaped if found[0] else shaped[0]

    return function
