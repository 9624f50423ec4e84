"""`vmap`: functions of single elements as functions of batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import optree

from tgc.batching import Mapped, vectorize
from tgc.errors import ShapeError, TraceError
from tgc.ops.arithmetic import shape_of
from tgc.ops.batch import from_front, in_front, to_front
from tgc.trace import Tracer
from tgc.transforms.calls import compiled, flatten, lifted, unflatten


def vmap(
    f: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0, axis_size: int | None = None
) -> Callable[..., Any]:
    """A function that applies `f` to every element along one axis of its arguments, all at once.

    Args:
        f: a function of pytrees of arrays; it sees them without the mapped axis.
        in_axes: the mapped axis of each argument: an int, None (the argument is the same for all elements), or a tuple
            or list with one entry an argument, which may be a pytree prefix of that argument. Keyword arguments are
            mapped along their first axes.
        out_axes: where the mapped axis goes in the results: an int, None (a result that is the same for all elements is
            returned once), or a pytree prefix of the result.
        axis_size: the size of the mapped axis; needed only where no argument is mapped.

    Raises:
        ShapeError: an axis does not exist, or sizes of mapped axes differ.
        TraceError: in_axes or out_axes is no prefix of the arguments or results, or `f` contains an op that cannot be
            mapped, or a mapped result has None for its axis.
    """

    def traced(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = flatten((args, kwargs))
        wanted = (in_axes if isinstance(in_axes, int) or in_axes is None else tuple(in_axes), 0)
        if isinstance(wanted[0], tuple) and len(wanted[0]) != len(args):
            raise TraceError(f"vmap: in_axes {in_axes} has {len(wanted[0])} entries for {len(args)} arguments")
        axes = _prefix("in_axes", wanted, (args, kwargs))
        paths = _paths((args, kwargs))
        places = [_axis(f"in_axes: {p}", x, a) for p, x, a in zip(paths, leaves, axes, strict=True)]
        size = _size(paths, leaves, places, axis_size)
        mapped = [a is not None for a in places]
        operands = [_in_order(lifted(x), a) for x, a in zip(leaves, places, strict=True)]
        result: list[Any] = []

        def flat(*tensors: Tracer) -> list[Any]:
            args, kwargs = unflatten(structure, tensors)
            out, spec = flatten(f(*args, **kwargs))
            result.append(spec)
            return out

        made = vectorize(flat, operands, mapped, size)
        whole = unflatten(result[0], made)
        outer = _prefix("out_axes", out_axes, whole)
        return unflatten(result[0], [_placed(y, a, size) for y, a in zip(made, outer, strict=True)])

    return compiled(traced, f)


def _in_order(x: Tracer, axis: int | None) -> Tracer:
    """An operand with its mapped axis in front."""
    moved: Tracer = to_front(x, axis or 0)
    moved.weak = x.weak
    return moved


def _prefix(what: str, axes: Any, tree: Any) -> list[int | None]:
    """One axis for each leaf of a tree, of which `axes` is a prefix.

    Raises:
        TraceError: it is none, or an entry is neither an int nor None.
    """
    try:
        spread = optree.broadcast_prefix(axes, tree, none_is_leaf=True)
    except ValueError as error:
        structure = optree.tree_structure(tree)
        raise TraceError(f"vmap: {what} {axes!r} is no prefix of the structure {structure}: {error}") from error
    every = optree.tree_leaves(tree, none_is_leaf=True)  # a None among the arguments is no leaf
    found = [a for a, x in zip(spread, every, strict=True) if x is not None]
    for a in found:
        if a is not None and (isinstance(a, bool) or not isinstance(a, int)):
            raise TraceError(f"vmap: {what} holds {a!r}; an axis is an int or None")
    return found


def _paths(tree: Any) -> list[str]:
    """The place of each leaf among (args, kwargs), for messages."""
    return [f"argument {path[1]!r}" + "".join(f"[{p!r}]" for p in path[2:]) for path in optree.tree_paths(tree)]


def _axis(what: str, x: Any, axis: int | None) -> int | None:
    """`axis` counted from the front."""
    rank = len(shape_of(x))
    if axis is None:
        return None
    if not -rank <= axis < rank:
        raise ShapeError(f"vmap: {what} of shape {shape_of(x)} has no axis {axis}")
    return axis % rank


def _size(paths: Sequence[str], leaves: Sequence[Any], axes: Sequence[int | None], given: int | None) -> int:
    """The size of the mapped axis."""
    sizes = {p: shape_of(x)[a] for p, x, a in zip(paths, leaves, axes, strict=True) if a is not None}
    if len(set(sizes.values()) | ({given} - {None})) > 1:
        found = ", ".join(
            f"{p} of shape {shape_of(x)} has {shape_of(x)[a]} along axis {a}"
            for p, x, a in zip(paths, leaves, axes, strict=True)
            if a is not None
        )
        also = "" if given is None else f", axis_size is {given}"
        raise ShapeError(f"vmap: the sizes of the mapped axes differ: {found}{also}")
    if given is None and not sizes:
        raise ShapeError("vmap: no argument is mapped; map one by in_axes, or give axis_size")
    return given if given is not None else next(iter(sizes.values()))


def _placed(y: Mapped, axis: int | None, size: int) -> Tracer:
    """A result with the mapped axis where it is wanted."""
    if axis is None:
        if y.batched:
            raise TraceError(f"vmap: out_axes is None for {y.tensor!r}, which differs from element to element")
        return y.tensor
    rank = len(y.tensor.shape) + (not y.batched)
    if not -rank <= axis < rank:
        raise ShapeError(f"vmap: out_axes: a result of {rank} axes has no axis {axis}")
    placed: Tracer = from_front(in_front(y.tensor, y.batched, size), axis % rank)
    placed.weak = y.tensor.weak
    return placed
