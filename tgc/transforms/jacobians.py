"""Whole Jacobians and Hessians: products with every unit vector, at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tgc.errors import GradientError
from tgc.numpy import reshape
from tgc.ops.creation import full, iota
from tgc.ops.elementwise import add, cast, eq
from tgc.trace import Tracer
from tgc.transforms.calls import compiled, flatten, real_leaves, type_of_leaf, unflatten
from tgc.transforms.mapping import vmap
from tgc.transforms.products import linearize, vjp
from tgc.types import I64, TensorType


def _basis(types: Sequence[TensorType]) -> list[Any]:
    """The unit vectors of the space of several tensors: along the first axis, the elements of all tensors in order."""
    total = sum(t.size for t in types)
    units, start = [], 0
    for t in types:
        rows = iota(shape=(total, t.size), dtype=I64, axis=0)
        columns = add(
            iota(shape=(total, t.size), dtype=I64, axis=1), full(shape=(total, t.size), dtype=I64, value=start)
        )
        units.append(reshape(cast(eq(rows, columns), dtype=t.dtype), (total, *t.shape)))
        start += t.size
    return units


def _rows(x: Tracer, types: Sequence[TensorType]) -> list[Any]:
    """The parts of a tensor that belong to each of several tensors, by the order of `_basis`."""
    parts, start = [], 0
    for t in types:
        parts.append(reshape(x[start : start + t.size], (*t.shape, *x.shape[1:])))
        start += t.size
    return parts


def _columns(x: Tracer, types: Sequence[TensorType]) -> list[Any]:
    """The same along the last axis, whose parts become the last axes."""
    parts, start = [], 0
    for t in types:
        parts.append(reshape(x[..., start : start + t.size], (*x.shape[:-1], *t.shape)))
        start += t.size
    return parts


def _chosen(op: str, args: Sequence[Any], argnums: int | Sequence[int]) -> tuple[int, ...]:
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for n in numbers:
        if not -len(args) <= n < len(args):
            raise GradientError(f"{op}: argnums {n}: the function was called with {len(args)} arguments")
    return numbers


def _jacobian(
    op: str,
    rows: Callable[[Callable[..., Any], Any, bool], tuple[list[list[Any]], Any, Any]],
    f: Callable[..., Any],
    argnums: int | Sequence[int],
    has_aux: bool,
) -> Callable[..., Any]:
    def traced(*args: Any, **kwargs: Any) -> Any:
        numbers = _chosen(op, args, argnums)
        chosen = args[argnums] if isinstance(argnums, int) else tuple(args[n] for n in numbers)
        real_leaves(op, "primal", chosen)

        def of_chosen(x: Any) -> Any:
            new = list(args)
            for n, part in zip(numbers, (x,) if isinstance(argnums, int) else x, strict=True):
                new[n] = part
            return f(*new, **kwargs)

        blocks, structure, aux = rows(of_chosen, chosen, has_aux)
        _, inner = flatten(chosen)
        whole = unflatten(structure, [unflatten(inner, row) for row in blocks])
        return (whole, aux) if has_aux else whole

    return compiled(traced, f)


def _by_rows(f: Callable[..., Any], x: Any, has_aux: bool) -> tuple[list[list[Any]], Any, Any]:
    out, pullback, *aux = vjp(f, x, has_aux=has_aux)
    leaves, structure = flatten(out)
    types = [type_of_leaf(y) for y in leaves]
    (cotangents,) = vmap(pullback)(unflatten(structure, _basis(types)))
    by_argument = [_rows(g, types) for g in flatten(cotangents)[0]]
    return [list(row) for row in zip(*by_argument, strict=True)], structure, aux[0] if aux else None


def _by_columns(f: Callable[..., Any], x: Any, has_aux: bool) -> tuple[list[list[Any]], Any, Any]:
    out, pushforward, *aux = linearize(f, x, has_aux=has_aux)
    leaves, arguments = flatten(x)
    types = [type_of_leaf(v) for v in leaves]
    tangents = vmap(pushforward, out_axes=-1)(unflatten(arguments, _basis(types)))
    blocks = [_columns(t, types) for t in flatten(tangents)[0]]
    return blocks, flatten(out)[1], aux[0] if aux else None


def jacrev(f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the Jacobian of `f`, row by row in reverse mode: for fewer results than arguments.

    Args:
        f: returns a pytree of floating-point tensors, or with `has_aux` a pair of one and anything else.
        argnums: the argument, or arguments, to differentiate by: pytrees of floating-point arrays.

    Returns:
        A function that returns the pytree of `f`'s results with, in the place of each, one of the arguments (a tuple
        of them for several), whose leaves have the shape of the result followed by that of the argument. With `has_aux`
        it returns a pair (Jacobian, aux).
    Raises:
        GradientError: an argument or result is no float, or an op has no gradient.
    """
    return _jacobian("jacrev", _by_rows, f, argnums, has_aux)


def jacfwd(f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the Jacobian of `f`, column by column in forward mode: see `jacrev`."""
    return _jacobian("jacfwd", _by_columns, f, argnums, has_aux)


def hessian(f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the Hessian of `f`, in forward mode over reverse mode: see `jacrev`.

    The leaves have the shape of the result, followed by those of two arguments.
    """
    return jacfwd(jacrev(f, argnums, has_aux), argnums, has_aux)


jacobian = jacrev
