"""Arrays of objects: sizes that are symbols, which shapes are computed with, and strings.

NumPy holds both as objects. Rules are written for numbers; what they do to objects follows from them: an operator that
moves elements is applied to the places of the elements, one that computes with integers has a function here.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optree

from tgc import numpy as tnp
from tgc.frontends.onnx.errors import OnnxError
from tgc.frontends.onnx.formats import MOVEMENT
from tgc.frontends.onnx.values import Array, Tensor, objects
from tgc.ir import recording
from tgc.sizes import is_size, larger, smaller
from tgc.trace import trace


def _truncated(a: Any, b: Any) -> Any:
    """a / b, rounded towards zero."""
    return a // b if (a >= 0) == (b > 0) else -(-a // b)


COMPUTED: dict[str, Callable[..., Any]] = {
    "Add": operator.add, "Sub": operator.sub, "Mul": operator.mul, "Div": _truncated, "Mod": operator.mod,
    "Neg": operator.neg, "Min": smaller, "Max": larger, "Equal": operator.eq, "Less": operator.lt,
    "LessOrEqual": operator.le, "Greater": operator.gt, "GreaterOrEqual": operator.ge,
}  # fmt: skip
# The operands whose elements an operator moves, where that is not the first alone; the others say where to
_MOVED = {"Concat": None, "Where": (1, 2), "ScatterElements": (0, 2), "ScatterND": (0, 2), "Pad": (0, 2)}


# Operators whose results may be much larger than their operands
GROWING = frozenset({"ConstantOfShape", "Expand", "EyeLike", "OneHot", "Pad", "Range", "Resize", "Tile", "Upsample"})
LARGEST = 2**24  # elements of a result of these that has to be known


def growth(function: Callable[..., Any], operands: list[Any], attributes: Mapping[str, Any], must: bool) -> int:
    """How many elements a result would have, before there is any.

    Raises:
        OnnxError: there are too many for one that `must` be known.
    """
    graph = trace(lambda: optree.tree_leaves(function(*operands, **attributes)), ())
    n = sum(v.type.size for v in graph.outputs)
    if must and n > LARGEST:
        raise OnnxError(f"a result that is needed while tracing would have {n} elements")
    return n


def has_objects(x: Any) -> bool:
    """Whether `x` is an array of sizes or strings."""
    return isinstance(x, np.ndarray) and x.dtype.kind in "OUST"


def is_text(x: Any) -> bool:
    """Whether `x` is an array of strings."""
    return has_objects(x) and not any(is_size(n) or isinstance(n, int) for n in x.flat)


def plain(x: Any) -> Any:
    """Sizes as the int64 numbers that they are in this compilation, which they are pinned to; others as they are."""
    return np.array([int(n) for n in x.flat], np.int64).reshape(x.shape) if has_objects(x) and not is_text(x) else x


def traced(x: Any) -> Any:
    """Sizes as a traced tensor of int64; others as they are."""
    if not has_objects(x) or is_text(x):
        return x
    return tnp.reshape(tnp.stack([tnp.full((), n, np.int64) for n in x.flat]), x.shape)


def settled(x: Array) -> Array:
    """An array of objects that are numbers after all, as one of numbers."""
    items = x.ravel().tolist()
    if any(is_size(n) or not isinstance(n, int) for n in items):
        return x
    return np.array(items, bool if items and isinstance(items[0], bool) else np.int64).reshape(x.shape)


def apply(op: str, function: Callable[..., Any], operands: list[Any], attributes: Mapping[str, Any]) -> Any:
    """What an operator makes of operands of which some hold objects; NotImplemented if it has no meaning for them."""
    if op == "Cast":
        return operands[0] if attributes.get("to") in (6, 7) and not is_text(operands[0]) else NotImplemented
    if op in COMPUTED:
        arrays = np.broadcast_arrays(*operands)
        items = (COMPUTED[op](*row) for row in zip(*(a.ravel().tolist() for a in arrays), strict=True))
        return settled(objects(items, arrays[0].shape))
    return moved(op, function, operands, attributes) if op in MOVEMENT else NotImplemented


def moved(op: str, function: Callable[..., Any], operands: list[Any], attributes: Mapping[str, Any]) -> Any:
    """An operator that moves elements, applied to numbers that stand for these."""
    table: list[Any] = ["" if any(map(is_text, operands)) else 0]

    def numbered(x: Tensor) -> Array:
        start = len(table)
        table.extend(x.ravel().tolist())
        return np.arange(start, len(table)).reshape(x.shape)

    def denoted(places: Any) -> Array:
        return settled(objects((table[k] for k in places.ravel().tolist()), places.shape))

    places = _MOVED.get(op, (0,)) or range(len(operands))
    given = [numbered(x) if k in places and x is not None else x for k, x in enumerate(operands)]
    if op in GROWING:
        growth(function, given, attributes, must=True)
    with recording(None):
        made = function(*given, **attributes)
    return tuple(map(denoted, made)) if isinstance(made, tuple) else denoted(made)
