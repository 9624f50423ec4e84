"""Reductions, cumulative sums, scatters and sorting."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tgc.frontends.onnx.emitters.emission import Emission, NoOperatorError, element_type, exports
from tgc.frontends.onnx.emitters.movement import indices, reshaped
from tgc.ir import Node
from tgc.sizes import is_size
from tgc.types import BOOL, I32

_EXTREMES = {"ReduceMax": "ReduceSum", "ReduceMin": "ReduceSum"}  # which are also for bytes, but not everywhere
_REDUCTIONS = {"sum": "ReduceSum", "prod": "ReduceProd", "max": "ReduceMax", "min": "ReduceMin"}


def _unchunked(node: Node) -> None:
    if node.attrs["chunks"]:
        raise NoOperatorError("a reduction in chunks, which passes make: export the graph before them")


def _reduction(operator: str) -> Callable[[Emission, Node], str]:
    def emit(e: Emission, node: Node) -> str:
        _unchunked(node)
        axes, (v,) = node.attrs["axes"], node.operands
        if not axes:
            return e.whole(v)
        wide = e.wider(_EXTREMES.get(operator, operator), v.dtype)
        x = e.whole(v) if wide == v.dtype else e.op("Cast", e.whole(v), to=element_type(wide))
        y = e.op(operator, x, e.integers(axes), keepdims=0)
        count = math.prod(v.shape[a] for a in axes)
        if operator == "ReduceSum" and wide == v.dtype and not is_size(count):
            e.means[y] = count, lambda: e.op("ReduceMean", x, e.integers(axes), keepdims=0)
        return y if wide == v.dtype else e.op("Cast", y, to=element_type(v.dtype))

    return emit


for _name, _operator in _REDUCTIONS.items():
    exports(_name)(_reduction(_operator))


def _of_booleans(operator: str) -> Callable[[Emission, Node], str]:
    def emit(e: Emission, node: Node) -> str:
        _unchunked(node)
        axes, (x,) = node.attrs["axes"], node.operands
        if not axes:
            return e.whole(x)
        number = e.op("Cast", e.whole(x), to=element_type(I32))
        folded = e.op(operator, number, e.integers(axes), keepdims=0)
        return e.op("Greater", folded, e.scalar(0, I32))

    return emit


exports("any")(_of_booleans("ReduceSum"))
exports("all")(_of_booleans("ReduceProd"))


def _place(operator: str) -> Callable[[Emission, Node], str]:
    """Of several axes, as one axis behind all others."""

    def emit(e: Emission, node: Node) -> str:
        _unchunked(node)
        (x,) = node.operands
        axes, name = node.attrs["axes"], e.whole(x)
        if len(axes) == 1:
            return e.op(operator, name, axis=axes[0], keepdims=0)
        kept = [a for a in range(x.type.rank) if a not in axes]
        shape = *(x.shape[a] for a in kept), math.prod(x.shape[a] for a in axes)
        rows = reshaped(e, e.turned(name, (*kept, *axes)), shape)
        return e.op(operator, rows, axis=len(kept), keepdims=0)

    return emit


exports("argmax")(_place("ArgMax"))
exports("argmin")(_place("ArgMin"))


@exports("cumsum")
def cumsum(e: Emission, node: Node) -> str:
    """CumSum."""
    axis = e.constant(np.asarray(node.attrs["axis"], np.int64))
    return e.op("CumSum", e.whole(node.operands[0]), axis, reverse=int(node.attrs["reverse"]))


_SCATTERS = {
    "scatter_set": "none",
    "scatter_add": "add",
    "scatter_mul": "mul",
    "scatter_max": "max",
    "scatter_min": "min",
}


@exports(*_SCATTERS)
def scatter(e: Emission, node: Node) -> str:
    """ScatterND along the first axis."""
    x, index, update = node.operands
    places = e.op("Unsqueeze", indices(e, index), e.integers([-1]))
    return e.op("ScatterND", e.whole(x), places, e.whole(update), reduction=_SCATTERS[node.op.name])


@exports("sort", "argsort")
def sort(e: Emission, node: Node) -> str:
    """TopK of all elements, the least first."""
    (x,) = node.operands
    wide = e.wider("TopK", x.dtype)
    name = e.whole(x) if wide == x.dtype else e.op("Cast", e.whole(x), to=element_type(wide))
    values, places = e.ops(2, "TopK", name, e.integers([x.shape[-1]]), axis=-1, largest=0)
    if node.op.name == "argsort":
        return places
    return values if wide == x.dtype else e.op("Cast", values, to=element_type(x.dtype))


@exports("searchsorted")
def searchsorted(e: Emission, node: Node) -> str:
    """How many elements are below, or not above."""
    a, v = (e.whole(x) for x in node.operands)
    axis = e.integers([-1])
    rows, columns = e.op("Unsqueeze", a, e.integers([-2])), e.op("Unsqueeze", v, axis)
    operator = "LessOrEqual" if node.attrs["right"] else "Less"
    below = e.typed(operator, rows, columns, dtype=node.operands[0].dtype, result=BOOL)
    return e.op("ReduceSum", e.op("Cast", below, to=element_type(np.dtype(np.int64))), axis, keepdims=0)


@exports("det")
def det(e: Emission, node: Node) -> str:
    """Det."""
    return e.op("Det", e.whole(node.operands[0]))
