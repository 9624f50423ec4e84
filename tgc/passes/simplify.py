"""Algebraic simplification: the rules of `rules`, and those on movements, whose attributes need arithmetic."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from tgc.ir import Attr, Builder, Graph, Node, Value, attr_key, transform
from tgc.ops import elementwise, movement, window
from tgc.ops.creation import full
from tgc.ops.kinds import Contraction, Elementwise, Primitive, Reduce
from tgc.passes.manager import Target, register
from tgc.passes.rules import RULES, Rule
from tgc.sizes import is_size, surely_divides, surely_equal
from tgc.types import INTS

Rewrite = Callable[[Builder, Node], Value | None]


def _inner(node: Node, op: Primitive) -> Node | None:
    """The node that made the first operand, if it applies `op`."""
    made = node.operands[0].node
    return made if made is not None and made.op is op else None


def _transpose(builder: Builder, node: Node) -> Value | None:
    """transpose(x) by the identity -> x; transpose(transpose(x)) -> transpose(x)."""
    perm: tuple[int, ...] = node.attrs["perm"]
    if perm == tuple(range(len(perm))):
        return node.operands[0]
    if inner := _inner(node, movement.transpose):
        first: tuple[int, ...] = inner.attrs["perm"]
        return _emit(builder, node, movement.transpose, inner.operands, perm=tuple(first[a] for a in perm))
    return None


def _reshape(builder: Builder, node: Node) -> Value | None:
    """reshape(x) to x's shape -> x; reshape(reshape(x)) -> reshape(x); reshape(slice(x)) -> slice(reshape(x))."""
    if node.result.shape == node.operands[0].shape:
        return node.operands[0]
    if inner := _inner(node, movement.reshape):
        return _emit(builder, node, movement.reshape, inner.operands, shape=node.result.shape)
    if inner := _inner(node, movement.slice_):
        return _slice_of_reshape(builder, node, inner)
    return None


def _slice_of_reshape(builder: Builder, node: Node, inner: Node) -> Value | None:
    """reshape(x[..., i:j, ...]) -> reshape(x)[..., k:l, ...] where no axis before the one that is cut joins it.

    Readers of a slice compute it for themselves, while a reshape is a view of what lies in memory; so x must be there
    in any case. A transpose before them goes behind the slice first, and then behind the reshape (see `sink`).
    """
    (x,), a, shape = inner.operands, inner.attrs, node.result.shape
    cut = [k for k, n in enumerate(x.shape) if not surely_equal((a["start"][k], a["stop"][k]), (0, n))]
    if not _in_memory(x) or len(cut) != 1 or any(k != 1 for k in a["step"]) or node.result.type.size == 0:
        return None
    (axis,) = cut
    before, inside = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    first, every = a["start"][axis] * inside, x.shape[axis] * inside  # elements
    for at in range(len(shape)):
        unit = math.prod(shape[at + 1 :])
        fits = surely_equal((math.prod(shape[:at]),), (before,))
        if fits and surely_divides(unit, first) and surely_divides(unit, every):
            whole = _emit(builder, node, movement.reshape, (x,), shape=(*shape[:at], every // unit, *shape[at + 1 :]))
            start = tuple(first // unit if k == at else 0 for k in range(len(shape)))
            stop = tuple(k + n for k, n in zip(start, shape, strict=True))
            return _emit(builder, node, movement.slice_, (whole,), start=start, stop=stop, step=(1,) * len(shape))
    return None


def _in_memory(x: Value) -> bool:
    """Whether a value is one that fusion stores whole: an operand of the graph, a view, a product or its sum."""
    made = x.node
    if made is None or made.op is movement.reshape or isinstance(made.op, Contraction):
        return True
    sources = [v.node for v in made.operands] if isinstance(made.op, Elementwise) else []
    return any(n is not None and isinstance(n.op, Contraction) for n in sources)


def _broadcast(builder: Builder, node: Node) -> Value | None:
    """broadcast(x) to x's shape -> x; broadcast(broadcast(x)) -> broadcast(x); axes of size one need no reshape."""
    x = node.operands[0]
    axes: tuple[int, ...] = node.attrs["axes"]
    shape = node.result.shape
    if len(axes) == len(shape) and shape == x.shape:
        return x
    if inner := _inner(node, movement.broadcast):
        first: tuple[int, ...] = inner.attrs["axes"]
        return _emit(builder, node, movement.broadcast, inner.operands, axes=tuple(axes[a] for a in first), shape=shape)
    if inner := _inner(node, movement.reshape):
        source = inner.operands[0]
        left = [(a, n) for a, n in zip(axes, x.shape, strict=True) if n != 1]
        if source.shape == tuple(n for _, n in left):
            return _emit(builder, node, movement.broadcast, (source,), axes=tuple(a for a, _ in left), shape=shape)
    return None


def _nothing_moved(builder: Builder, node: Node) -> Value | None:
    """Slices of everything, padding by nothing, reversal of no axis, concatenation of one, windows of one element."""
    x, a = node.operands[0], node.attrs
    match node.op.name:
        case "slice":
            same = surely_equal(x.shape, node.result.shape) and all(k == 1 for k in a["step"])
        case "pad":
            same = not any((*a["low"], *a["high"], *a["interior"]))
        case "reverse":
            same = not a["axes"]
        case "concat":
            same = len(node.operands) == 1
        case "window_sum" | "window_max":
            same = all(n == 1 for n in (*a["window"], *a["stride"])) and not any(map(any, a["padding"]))
        case _:
            same = True  # identity and stop_gradient
    return x if same else None


def _cast(builder: Builder, node: Node) -> Value | None:
    """A cast to the same dtype -> nothing; there and back again between integers, the others no narrower -> nothing."""
    x, to = node.operands[0], node.attrs["dtype"]
    if to == x.dtype:
        return x
    inner = _inner(node, elementwise.cast)
    if inner is None or x.dtype not in INTS or to not in INTS or x.dtype.itemsize < to.itemsize:
        return None
    return inner.operands[0] if inner.operands[0].dtype == to else None


def _reduce(builder: Builder, node: Node) -> Value | None:
    """A fold over no axes -> its operand."""
    op = node.op
    assert isinstance(op, Reduce)
    return node.operands[0] if op.splits and not node.attrs["axes"] else None


def _sum(builder: Builder, node: Node) -> Value | None:
    """sum(g put where the largest elements of windows are) -> sum(g), along the axes of the windows and others."""
    if (scatter := _inner(node, window.window_scatter)) and _argmax_of(scatter):
        a = scatter.attrs
        windowed = {k for k, (w, s) in enumerate(zip(a["window"], a["stride"], strict=True)) if w > 1 or s > 1}
        if windowed <= {*node.attrs["axes"]}:
            assert isinstance(node.op, Primitive)
            return _emit(builder, node, node.op, scatter.operands[:1], **node.attrs)
    return _reduce(builder, node)


def _select(builder: Builder, node: Node) -> Value | None:
    """relu before max pooling, backward: where x > 0, g put where the largest relu(x) of windows are, elsewhere 0

    -> g where the largest relu(x) > 0, elsewhere 0, put there: what has been pooled needs not be kept.
    """
    condition, chosen, other = node.operands
    scatter, test = chosen.node, condition.node
    if scatter is None or scatter.op is not window.window_scatter or test is None or test.op is not elementwise.gt:
        return None
    x, zero = test.operands
    pooled = _argmax_of(scatter)
    whole = pooled is not None and (pooled is x or _is(pooled, elementwise.relu, x))
    if pooled is None or not whole or not (_is_zero(zero) and _is_zero(other)):
        return None
    g, index = scatter.operands
    attrs = {k: v for k, v in scatter.attrs.items() if k != "shape"}
    largest = _emit(builder, node, window.window_max, (pooled,), **attrs)
    none, nothing = (
        builder.emit(full, (), {**v.node.attrs, "shape": g.shape}, node.loc)[0] for v in (zero, other) if v.node
    )
    seen = _emit(builder, node, elementwise.gt, (largest, none))
    kept = _emit(builder, node, elementwise.select, (seen, g, nothing))
    return _emit(builder, node, window.window_scatter, (kept, index), **scatter.attrs)


def _add(builder: Builder, node: Node) -> Value | None:
    """pad(x) + pad(y) by zeros, x and y side by side in what they make -> pad(concat(x, y)): gradients of slices."""
    parts = [v.node for v in node.operands]
    if any(p is None or p.op is not movement.pad or not _is_frame_of_zeros(p) for p in parts):
        return None
    x, y = (p for p in parts if p is not None)
    apart = [a for a in range(node.result.type.rank) if x.attrs["low"][a] != y.attrs["low"][a]]
    if len(apart) != 1:
        return None
    (axis,) = apart
    first, second = sorted((x, y), key=lambda p: int(p.attrs["low"][axis]))
    rest = [a for a in range(node.result.type.rank) if a != axis]
    ends = first.attrs["low"][axis] + first.operands[0].shape[axis]
    if ends != second.attrs["low"][axis] or any(first.attrs["high"][a] != second.attrs["high"][a] for a in rest):
        return None
    both = _emit(builder, node, movement.concat, (first.operands[0], second.operands[0]), axis=axis)
    high = tuple(second.attrs["high"][a] if a == axis else n for a, n in enumerate(first.attrs["high"]))
    return _emit(builder, node, movement.pad, (both,), **{**first.attrs, "high": high})


def _pad(builder: Builder, node: Node) -> Value | None:
    """pad(pad(x)) by one number, the outer one around all -> pad(x); padding by nothing -> nothing."""
    a, inner = node.attrs, _inner(node, movement.pad)
    if inner and attr_key(inner.attrs["value"]) == attr_key(a["value"]) and _surrounds(a) and _surrounds(inner.attrs):
        ends = {end: tuple(map(operator.add, inner.attrs[end], a[end])) for end in ("low", "high")}
        return _emit(builder, node, movement.pad, inner.operands, **{**inner.attrs, **ends})
    return _nothing_moved(builder, node)


def _surrounds(pad: Mapping[str, Any]) -> bool:
    return min((*pad["low"], *pad["high"]), default=0) >= 0 and not any(pad["interior"])


def _is_frame_of_zeros(pad: Node) -> bool:
    return _surrounds(pad.attrs) and _is_plus_zero(pad)


def _is_plus_zero(node: Node) -> bool:
    """Whether the number of a fill or of padding is 0, and not -0."""
    value = node.attrs["value"]
    return not is_size(value) and str(value) in ("0", "0.0")


def _concat(builder: Builder, node: Node) -> Value | None:
    """concat(concat(x, y), z) along one axis -> concat(x, y, z); concat(x) -> x."""
    pieces: list[Value] = []
    for v in node.operands:
        inner = v.node
        joins = inner is not None and inner.op is movement.concat and inner.attrs["axis"] == node.attrs["axis"]
        pieces += inner.operands if joins and inner is not None else [v]
    if len(pieces) > len(node.operands):
        return _emit(builder, node, movement.concat, pieces, **node.attrs)
    return _nothing_moved(builder, node)


def _argmax_of(scatter: Node) -> Value | None:
    """What the places that a `window_scatter` puts elements at are the largest elements of, by the same windows."""
    made = scatter.operands[1].node
    attrs = {k: v for k, v in scatter.attrs.items() if k != "shape"}
    same = made is not None and made.op is window.window_argmax and dict(made.attrs) == attrs
    return made.operands[0] if made is not None and same else None


def _is(v: Value, op: Primitive, operand: Value) -> bool:
    return v.node is not None and v.node.op is op and v.node.operands[0] is operand


def _is_zero(v: Value) -> bool:
    """Whether a value is filled with 0, and not with -0."""
    return v.node is not None and v.node.op is full and _is_plus_zero(v.node)


def _emit(builder: Builder, node: Node, op: Primitive, operands: Sequence[Value], **attrs: Any) -> Value:
    return builder.emit(op, operands, op.check_attrs(attrs), node.loc)[0]


STRUCTURAL: Mapping[str, Rewrite] = {
    "transpose": _transpose,
    "reshape": _reshape,
    "broadcast": _broadcast,
    **dict.fromkeys(("slice", "reverse", "identity", "stop_gradient", "window_sum", "window_max"), _nothing_moved),
    "cast": _cast,
    "add": _add,
    "concat": _concat,
    "pad": _pad,
    **dict.fromkeys(("prod", "max", "min", "any", "all"), _reduce),
    "sum": _sum,
    "select": _select,
}
MOVED_BEHIND = (movement.broadcast, movement.reshape)


def _move_behind(builder: Builder, node: Node) -> Value | None:
    """f(move(x), move(y), fill) -> move(f(x, y, fill)): fewer elements to compute, and movements meet and cancel."""
    moves = [v.node for v in node.operands if v.node is not None and v.node.op in MOVED_BEHIND]
    if not moves:
        return None
    first = moves[0]
    source = first.operands[0].shape
    operands = []
    for v in node.operands:
        made = v.node
        if made is not None and made.op is full:
            operands.append(builder.emit(full, (), {**made.attrs, "shape": source}, made.loc)[0])
        elif (
            made is not None
            and made.op is first.op
            and dict(made.attrs) == dict(first.attrs)
            and made.operands[0].shape == source
        ):
            operands.append(made.operands[0])
        else:
            return None
    attrs: Mapping[str, Attr] = node.attrs
    inner = builder.emit(node.op, operands, attrs, node.loc)[0]
    return builder.emit(first.op, (inner,), first.attrs, node.loc)[0]


@register
@dataclass(frozen=True)
class Simplify:
    """Apply rules at every node until none applies, then go over the graph again until nothing changes."""

    name: ClassVar[str] = "simplify"
    rounds: int = 8

    def __call__(self, graph: Graph, target: Target) -> Graph:
        for _ in range(self.rounds):
            after = transform(graph, _simplify)
            if after == graph:
                return after
            graph = after
        return graph


@cache
def _by_head() -> Mapping[str, list[Rule]]:
    """The rules by the op at the root of their pattern."""
    found: dict[str, list[Rule]] = {}
    for rule in RULES:
        found.setdefault(rule.head.name, []).append(rule)
    return found


def _simplify(builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
    if len(node.results) != 1:
        return None
    (value,) = builder.again(node, new)
    for _ in range(16):  # each step shrinks the expression; the bound only guards against a rule that does not
        made = value.node
        if made is None:
            break
        better = _once(builder, made)
        if better is None or better is value:
            break
        value = better
    return (value,)


def _once(builder: Builder, node: Node) -> Value | None:
    if (structural := STRUCTURAL.get(node.op.name)) and (better := structural(builder, node)) is not None:
        return better
    for rule in _by_head().get(node.op.name, ()):
        better = rule.apply(builder, node.result)
        if better is not None:
            return better
    return _move_behind(builder, node) if isinstance(node.op, Elementwise) else None
