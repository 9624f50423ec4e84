"""What each template can lower: why nodes do not become one region of a kind, or "" if they do.

`nodes` are those of the region itself, `closure` has the cheap movements too that it reads through.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tgc.ir import Node, Value
from tgc.ops import movement
from tgc.ops.kinds import Contraction, Elementwise, Movement, Reduce
from tgc.ops.window import POOLS
from tgc.ops.winograd import TransformedProduct, filtering_of
from tgc.passes.tiles import channelwise, windowed
from tgc.sizes import equal_shapes, hints_of, key_of


def _dependents(closure: Iterable[Node], roots: set[Node]) -> set[Node]:
    """The nodes behind `roots`, those included."""
    reached: set[Node] = set(roots)
    for node in closure:
        if any(v.node in reached for v in node.operands):
            reached.add(node)
    return reached


def _recomputed(closure: Sequence[Node], exempt: Iterable[Node] = ()) -> str:
    """Why reading through the movements of a region would compute elements several times; empty if it would not."""
    own, exempt = set(closure), set(exempt)
    for node in closure:
        if not isinstance(node.op, Movement) or node in exempt or not node.operands:
            continue
        for v in node.operands:
            if v.node in own and _costs(v, own):
                reads = node.op.reads(*(v.type for v in node.operands), **node.attrs)
                if reads > 1:
                    return (
                        f"{node.op.name} reads each element {hints_of(reads):g} times, which would compute it as often"
                    )
            if v.node in own and _checked(v, own) and node.op.name in _GUARDED:
                return f"{node.op.name} cannot guard an index check"
    return ""


_GUARDED = frozenset({"pad", "concat", "window_sum", "window_max", "window_argmax", "window_scatter"})


def _costs(v: Value, own: set[Node]) -> bool:
    """Whether an element of `v` is more than a few loads inside of a region."""
    node = v.node
    if node is None or node not in own:
        return False
    return not isinstance(node.op, Movement) or not node.op.cheap or any(_costs(o, own) for o in node.operands)


def _checked(v: Value, own: set[Node]) -> bool:
    node = v.node
    if node is None or node not in own:
        return False
    return node.op is movement.take or any(_checked(o, own) for o in node.operands)


def unfit_map(closure: Sequence[Node], results: Sequence[Value]) -> str:
    """Why the nodes of a closure are no map with these results."""
    types = {(key_of(v.shape), v.type.layout) for v in results}
    if len(types) > 1 and joined(closure, results) is None:
        return f"results of different shapes: {', '.join(sorted(str(v.type) for v in results))}"
    return _recomputed(closure)


def joined(nodes: Iterable[Node], results: Sequence[Value]) -> Node | None:
    """The one of the nodes of a map that joins rows of pieces as they are made: where that is the only result, or the
    others all have the shape of a piece.
    """
    made = {v.node for v in results if v.node is not None and v.node.op is movement.concat}
    if len(made) != 1:
        return None
    (node,) = made
    last = node.result.type.rank - 1
    if not node.attrs["axis"] == last > 0 or node.result.type.layout is not None:
        return None
    others = [v for v in results if v is not node.result]
    pieces = {(key_of(v.shape), v.type.layout) for v in (*node.operands, *others)}
    ends = not any(v is node.result for user in nodes for v in user.operands)
    return node if ends and (not others or len(pieces) == 1) else None


def unfit_contraction(root: Node, nodes: Sequence[Node], closure: Sequence[Node], results: Sequence[Value]) -> str:
    """Why nodes, `root` a contraction among them, are none with an epilogue, which may pool what has been computed."""
    pools = [n for n in nodes if n.op in POOLS]
    shape = made = root.result.shape
    if pools:
        if reason := _unfit_pools(root, pools):
            return reason
        shape = pools[0].result.shape
        late = [n.operands[0] if n.op is movement.transpose else n.result for n in nodes if n.result in results]
        if not all(equal_shapes(v.shape, shape) for v in late):
            return "what is pooled is needed elsewhere"
    behind = _dependents(closure, {root})
    for node in nodes:
        if node is root or node in pools or _transposed(node, shape, closure):
            continue
        if not isinstance(node.op, Elementwise):
            return f"{node.op.name} is not elementwise"
        if not any(equal_shapes(node.result.shape, s) for s in (made, shape)):
            return f"the epilogue has shape {hints_of(shape)}, {node.op.name} {hints_of(node.result.shape)}"
    if any(v.node in closure for v in root.operands):
        return "a contraction reads its operands from memory"
    for node in behind - {root, *pools}:
        if not isinstance(node.op, Elementwise) and not _transposed(node, shape, closure):
            return f"{node.op.name} moves the contraction's elements"
    return _recomputed(closure)


def _unfit_pools(root: Node, pools: Sequence[Node]) -> str:
    """Why tiles of a contraction do not pool their elements; empty if they do."""
    name, made, attrs = pools[0].op.name, root.result.shape, pools[0].attrs
    if any(n.operands[0].shape != made or n.attrs != attrs for n in pools):
        return "windows of several kinds"
    plain = all(p == (0, 0) for p in attrs["padding"]) and all(d == 1 for d in attrs["dilation"])
    if not plain or attrs["window"] != attrs["stride"]:
        return f"windows of {name} overlap, have gaps or reach beyond what they are of"
    if isinstance(root.op, TransformedProduct):
        n, height, width, c = attrs["window"]
        filtering = filtering_of(root.operands[0].shape[0])
        assert filtering is not None
        fits = n == c == 1 and filtering.tile % height == filtering.tile % width == 0 and height * width > 1
        return "" if fits else f"windows of {name} do not divide the outputs of a transformed window"
    assert isinstance(root.op, Contraction)
    lhs, rhs = (v.type for v in root.operands)
    axes = root.op.axis_map(lhs, rhs, **root.attrs)
    packed = lhs.layout is not None and lhs.layout.tiles
    if packed or channelwise(axes) or windowed(axes, attrs["window"]) is None:
        return f"windows of {name} are not parts of register tiles"
    return ""


def _transposed(node: Node, shape: tuple[int, ...], closure: Sequence[Node]) -> bool:
    """Whether a node is a transpose of what an epilogue computes, and the last to use it: elements are stored so."""
    own = (
        node.op is movement.transpose
        and equal_shapes(node.operands[0].shape, shape)
        and node.operands[0].type.layout is None
    )
    return own and not any(v is node.result for n in closure for v in n.operands)


COLUMN_LIMIT = 1 << 14  # elements of a reduction along outer axes beyond which its consumers get kernels of their own


def unfit_reduce(nodes: Sequence[Node], closure: Sequence[Node], results: Sequence[Value]) -> str:
    """Why nodes, some of them folds, are no region of one domain."""
    folds = [n for n in nodes if isinstance(n.op, Reduce)]
    first = folds[0]
    full, axes = first.operands[0].shape, first.attrs["axes"]
    kept = first.result.shape
    for n in folds:
        if (
            not equal_shapes(n.operands[0].shape, full)
            or n.attrs["axes"] != axes
            or n.attrs["chunks"] != first.attrs["chunks"]
        ):
            return (
                f"folds of {hints_of(full)} along {axes} and of {hints_of(n.operands[0].shape)} along {n.attrs['axes']}"
            )
    behind = _dependents(closure, set(folds))
    back = tuple(a for a in range(len(full)) if a not in axes)
    spreads = set()
    for node in behind:
        if isinstance(node.op, Elementwise):
            if not any(equal_shapes(node.result.shape, s) for s in (full, kept)):
                return f"{node.op.name} of shape {hints_of(node.result.shape)} behind a fold of {hints_of(full)}"
        elif node.op is movement.broadcast:
            of_kept = equal_shapes(node.operands[0].shape, kept) and equal_shapes(node.result.shape, full)
            if node.attrs["axes"] != back or not of_kept:
                return "a broadcast other than back along the folded axes"
            spreads.add(node)
        elif not isinstance(node.op, Reduce):
            return f"{node.op.name} moves what has been folded"
    if kept == full and len(behind) > len(folds):
        return "a fold over nothing"
    for v in results:
        if not any(equal_shapes(v.shape, s) for s in (full, kept)):
            return f"a result of shape {hints_of(v.shape)} beside a fold of {hints_of(full)}"
    rank = len(full)
    size = first.operands[0].type.size
    if spreads and rank and rank - 1 in back and size > COLUMN_LIMIT:
        return "consumers of a fold along outer axes run in parallel only by themselves"
    return _recomputed(closure, spreads)


__all__ = ["joined", "unfit_contraction", "unfit_map", "unfit_reduce"]
