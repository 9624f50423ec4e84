"""Layout selection.

Three rewrites, each of which turns movement of data into addressing:

- A dot reads transposed operands in place: their axes are renamed. Beside few rows or columns a large matrix is read as
  it lies, as the left operand or the right.
- Right operands of contractions get a layout with contiguous columns, packed in panels as wide as a register tile if
  they are constants, or large and read by many rows, those of all steps of a scan taken together. The relayout of a
  constant is folded, that of what is the same at each step hoisted.
- Large left operands whose rows are the fastest axis are packed in blocks of rows as high as a register tile. Wide
  tiles read more operands as they lie where the third-level cache is near than where it is far. Where
  both operands are summed over several axes, the left one gets these in the order of the right one if its own would
  make each step of the sum hit the same set of the cache.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tgc.ir import Attr, Builder, Graph, Node, Value, transform
from tgc.ops import contraction, movement, scan, winograd
from tgc.ops.kinds import Contraction, Control
from tgc.passes.manager import Target, refuse, register
from tgc.passes.sink import Perm, made_by_transpose
from tgc.passes.tiles import LINE, QUAD, quad_axis, tile_shape
from tgc.sizes import surely_divides
from tgc.types import TensorType


@register
@dataclass(frozen=True)
class Layout:
    """Rename axes of dots that read transposes, and give right operands of contractions contiguous columns."""

    name: ClassVar[str] = "layout"
    whole: ClassVar[bool] = True
    pack: bool = True

    def __call__(self, graph: Graph, target: Target) -> Graph:
        return self._laid_out(graph, target, {})

    def _laid_out(self, graph: Graph, target: Target, steps: Mapping[Value, int]) -> Graph:
        """`graph` and its bodies. `steps` has the inputs that are the same at each of so many steps of a scan."""
        constants = set(graph.data)
        adopted: set[Value] = set()
        same = dict(steps)  # what is made of these alone is the same, too
        for node in graph.nodes:
            if node.operands and all(v in same for v in node.operands):
                same |= dict.fromkeys(node.results, min(same[v] for v in node.operands))

        def rewrite(builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
            adopted.update(v for old, v in zip(node.operands, new, strict=True) if old in constants)
            if isinstance(node.op, Control):
                return builder.emit(node.op, new, self._bodies(node, target), node.loc)
            if node.op is winograd.product:
                filters = _contiguous(builder, node, list(new), new[1].type.rank - 1, True, target)
                return builder.emit(node.op, (new[0], filters), node.attrs, node.loc)
            if not isinstance(node.op, Contraction):
                return None
            op, attrs, operands, turned = node.op, dict(node.attrs), list(new), False
            of_bytes = "dtype" in attrs
            rows: Perm = ()
            if op is contraction.dot:
                operands, attrs, rows = _absorb(operands, attrs)
            if op is contraction.dot and not of_bytes:
                turned = self.pack and not adopted.intersection(operands) and _turns(operands, attrs, target)
                if turned:
                    operands.reverse()
                    attrs = {key: sides[::-1] for key, sides in attrs.items()}
            columns = _columns(op, operands, attrs)
            if columns is not None and of_bytes:
                operands = _quads(builder, node, operands, attrs, columns, target)
            elif columns is not None:
                times = same.get(node.operands[0 if turned else 1], 1)
                panels = self.pack and (
                    operands[1] in adopted or _worth_packing(op, operands, attrs, columns, target, times)
                )
                operands[1] = _contiguous(builder, node, operands, columns, panels, target)
            if op is contraction.dot and self.pack and columns is not None and not of_bytes:
                operands[0] = _packed_rows(builder, node, operands, attrs, columns, target)
            if not turned and not rows:
                return builder.emit(op, operands, attrs, node.loc, types=[r.type for r in node.results])
            (product,) = builder.emit(op, operands, attrs, node.loc)
            if turned:
                product = _turned_back(builder, product, len(attrs["batch"][0]), _free(operands[1], attrs, 1))
            if rows:
                (product,) = builder.emit(movement.transpose, (product,), {"perm": rows}, node.loc)
            return (product,)

        return transform(graph, rewrite)

    def _bodies(self, node: Node, target: Target) -> Mapping[str, Attr]:
        """The attributes of a node of control flow, its bodies laid out."""

        def laid_out(attr: Attr) -> Attr:
            if isinstance(attr, tuple):
                return tuple(map(laid_out, attr))
            if not isinstance(attr, Graph):
                return attr
            steps: dict[Value, int] = {}
            if node.op is scan.scan:
                varying = node.attrs["carries"] + node.attrs["xs"]
                steps = dict.fromkeys(attr.inputs[varying:], node.attrs["length"])
            return self._laid_out(attr, target, steps)

        return {key: laid_out(attr) for key, attr in node.attrs.items()}


def _absorb(operands: list[Value], attrs: dict[str, Any]) -> tuple[list[Value], dict[str, Any], Perm]:
    """dot(transpose(x), y) -> dot(x, y) with other axes, and how the result is transposed then: () if it is not.

    Rows in another order leave the kernel in that order at no cost; columns are kept.
    """
    batch, contract = list(attrs["batch"]), list(attrs["contract"])
    after: Perm = ()
    for side in (0, 1):
        made = made_by_transpose(operands[side])
        if made is None:
            continue
        perm: Perm = made.attrs["perm"]
        b = tuple(perm[a] for a in batch[side])
        c = tuple(perm[a] for a in contract[side])
        free = [perm[a] for a in range(len(perm)) if a not in batch[side] and a not in contract[side]]
        order = sorted(free)
        if free != order and side == 1:
            continue
        if free != order:
            columns = operands[1].type.rank - len(b) - len(c)
            first, rest = len(b), range(len(b) + len(free), len(b) + len(free) + columns)
            after = (*range(first), *(first + order.index(a) for a in free), *rest)
        operands[side], batch[side], contract[side] = made.operands[0], b, c
    return operands, {**attrs, "batch": tuple(batch), "contract": tuple(contract)}, after


def _free(operand: Value, attrs: Mapping[str, Any], side: int) -> int:
    """How many axes of the result an operand of a dot has alone."""
    return operand.type.rank - len(attrs["batch"][side]) - len(attrs["contract"][side])


SAME_SET = 4096  # bytes: places a multiple of them apart lie in one set of the first-level cache
FEW = 16  # rows or columns of a product beside which the other operand is a large matrix


def _turns(operands: list[Value], attrs: Mapping[str, Any], target: Target) -> bool:
    """Whether a dot reads its large operand as it lies in memory only if its operands change places.

    Columns that are strided would be copied, a matrix of them for few rows; and rows that are the fastest axis, which
    few columns meet, make contiguous columns.
    """
    fixed = [{*b, *c} for b, c in zip(attrs["batch"], attrs["contract"], strict=True)]
    for few, large in ((0, 1), (1, 0)):
        points = [n for a, n in enumerate(operands[few].shape) if a not in fixed[few]]
        matrix, batch = operands[large].type, attrs["batch"][large]
        fastest = matrix.rank - 1
        turned = fastest in attrs["contract"][large] if large else fastest not in fixed[large]
        size = matrix.nbytes // max(1, math.prod(matrix.shape[a] for a in batch))
        if turned and points and math.prod(points) <= FEW and size > target.l2_bytes // 2:
            return True
    return False


def _turned_back(builder: Builder, product: Value, batch: int, rows: int) -> Value:
    """The result of a dot whose operands have changed places, of which the right one has so many axes of its own."""
    last = product.type.rank - rows
    perm = (*range(batch), *range(last, product.type.rank), *range(batch, last))
    assert product.node is not None
    return builder.emit(movement.transpose, (product,), {"perm": perm}, product.node.loc)[0]


def _columns(op: Contraction, operands: list[Value], attrs: Mapping[str, Any]) -> int | None:
    """The axis of the right operand along which the result's fastest axis runs."""
    lhs, rhs = (v.type for v in operands)
    axes = op.axis_map(lhs, rhs, **attrs)
    in_lhs = {name for dim in axes.lhs for name in dim}
    names = [name for dim in axes.out for name in dim if name not in in_lhs]
    return next((a for a, dim in enumerate(axes.rhs) if names and names[-1] in dim), None)


ROWS = 96  # of a product for which its right operand is packed at each call: the copy then costs a few percent
WIDE = (
    256  # bytes of a panel's row: a tile then computes so long at each step of k that lines come from anywhere in time
)
NEAR = 8  # times the second-level cache: of such matrices the copy is quick
WIDE_ROWS = 1024  # of a product for which a right operand of contiguous columns is packed in such panels
FAR_ROW = 1024  # bytes from one step of a sum to the next that wide tiles wait for where the third level is far


def _worth_packing(
    op: Contraction, operands: list[Value], attrs: Mapping[str, Any], columns: int, target: Target, times: int
) -> bool:
    """Whether a right operand that is no constant, and multiplied so many times, is so large, and read so often, that
    packing it pays.

    A panel is read in one stream and stays in the second-level cache for all rows, if it fits; columns of a wide matrix
    cost a page a row, rows that are a power of two apart share few sets of the cache, and arrays that users pass do not
    begin at cache lines, so that vectors lie across two. Many matrices had better not go through memory once more.
    Tiles with wide rows hide most of that, see `_rows_worth_packing`; columns that are strided are copied in any case.
    Where sums are so long that a line for each step does not stay in the first-level cache, fewer rows of narrow tiles
    pay for the copy of a small matrix.
    """
    lhs, rhs = (v.type for v in operands)
    axes = op.axis_map(lhs, rhs, **attrs)
    in_rhs = {name for dim in axes.rhs for name in dim}
    rows = math.prod(axes.extents[name] for dim in axes.out for name in dim if name not in in_rhs)
    batch = {name for dim in axes.out for name in dim} & {name for dim in axes.lhs for name in dim} & in_rhs
    matrix = rhs.nbytes // max(1, math.prod(axes.extents[name] for name in batch))
    kept = {name for dim in axes.out for name in dim}
    summed = math.prod(size for name, size in axes.extents.items() if name not in kept)
    _, width = tile_shape(target, rhs.dtype, rows, rhs.shape[columns])
    panel = summed * width * rhs.dtype.itemsize
    least = target.l2_bytes // (2 if batch else 8)
    wide = columns == rhs.rank - 1 and width * rhs.dtype.itemsize >= WIDE
    again = summed * LINE > target.l1_bytes and matrix <= NEAR * target.l2_bytes
    narrow = ROWS // 2 if again else ROWS
    many = _rows_worth_packing(rhs, matrix, target) if wide else narrow
    return rows * times >= many and matrix >= least and panel <= target.l2_bytes


def _rows_worth_packing(rhs: TensorType, matrix: int, target: Target) -> int:
    """For how many rows a right operand of contiguous columns, matrices of so many bytes, is packed in wide panels.

    Where the third-level cache is far, tiles hide only what the second level holds, in whole lines. What threads do not
    hold in theirs is read from afar in any case: then fewer rows pay for the copy, unless it goes through memory.
    """
    lines = surely_divides(LINE // rhs.dtype.itemsize, rhs.shape[-1])
    if target.near_l3 or (lines and matrix < target.l2_bytes):
        return WIDE_ROWS
    if matrix > NEAR * target.l2_bytes:
        return 2 * ROWS
    return ROWS if matrix < 2 * target.l2_bytes else ROWS // 2


def _packed_rows(
    builder: Builder, node: Node, operands: list[Value], attrs: Mapping[str, Any], columns: int, target: Target
) -> Value:
    """The left operand of a dot, in blocks of rows where it is large and its rows are the fastest axis in memory.

    One step along what is summed would be a row of memory away, another page and the same set of the cache: a narrow
    tile would wait for it, and a wide one where the third-level cache is far.
    """
    lhs = operands[0].type
    batch, contract = attrs["batch"][0], attrs["contract"][0]
    rows = [a for a in range(lhs.rank) if a not in batch and a not in contract]
    n = operands[1].shape[columns]
    matrix = lhs.nbytes // max(1, math.prod(lhs.shape[a] for a in batch))
    if rows != [lhs.rank - 1] or lhs.layout or n < ROWS:
        return operands[0]
    block, width = tile_shape(target, lhs.dtype, lhs.shape[-1], n)
    wide = width * lhs.dtype.itemsize >= WIDE
    hidden = wide and (target.near_l3 or lhs.shape[-1] * lhs.dtype.itemsize < FAR_ROW)
    if lhs.shape[-1] < ROWS or matrix <= target.l2_bytes // (4 if wide else 2) or hidden:
        return _in_order(builder, node, operands, attrs)
    layout: dict[str, Any] = {"order": (lhs.rank - 1, *range(lhs.rank - 1)), "tiles": ((lhs.rank - 1, block),)}
    return builder.emit(movement.relayout, operands[:1], layout, node.loc)[0]


def _in_order(builder: Builder, node: Node, operands: list[Value], attrs: Mapping[str, Any]) -> Value:
    """The left operand, its axes that are summed in the order of the right one where steps along its own are far."""
    (lhs, rhs), (batch, _), (left, right) = (v.type for v in operands), attrs["batch"], attrs["contract"]
    order = rhs.layout.order if rhs.layout else range(rhs.rank)
    wanted = tuple(left[right.index(a)] for a in order if a in right)
    if len(wanted) < 2 or wanted == tuple(sorted(wanted)) or lhs.nbytes > rhs.nbytes // 2:
        return operands[0]
    step = math.prod(lhs.shape[wanted[-1] + 1 :]) * lhs.dtype.itemsize
    if step % SAME_SET:
        return operands[0]
    layout: dict[str, Any] = {"order": (*batch, *wanted, lhs.rank - 1), "tiles": ()}
    return builder.emit(movement.relayout, operands[:1], layout, node.loc)[0]


def _contiguous(
    builder: Builder, node: Node, operands: list[Value], columns: int, panels: bool, target: Target
) -> Value:
    """The right operand with its columns contiguous, in panels as wide as a register tile where that pays."""
    rhs = operands[1]
    if rhs.node is not None and rhs.node.op is movement.relayout:
        return rhs  # this pass has been here
    rank = rhs.type.rank
    others = tuple(a for a in range(rank) if a != columns)
    n = rhs.shape[columns]
    _, panel = tile_shape(target, rhs.dtype, node.result.type.size, n)
    groups: Any = node.attrs.get("groups", 1)
    if panels and n > panel and groups == 1:
        layout: dict[str, Any] = {"order": (columns, *others), "tiles": ((columns, panel),)}
    elif columns == rank - 1:
        return rhs
    else:
        layout = {"order": (*others, columns), "tiles": ()}
        refuse("layout", f"{node.op.name} of {rhs.type}", "columns are strided: the operand is copied at every call")
    return builder.emit(movement.relayout, (rhs,), layout, node.loc)[0]


def _quads(
    builder: Builder, node: Node, operands: list[Value], attrs: Mapping[str, Any], columns: int, target: Target
) -> list[Value]:
    """The operands of a contraction of 8-bit integers: the left one contiguous along an axis that is summed, the right
    one in panels, in which quads along that axis lie together for each column.
    """
    lhs, rhs = operands
    assert isinstance(node.op, Contraction)
    if rhs.node is not None and rhs.node.op is movement.relayout:
        return operands  # this pass has been here
    axes = node.op.axis_map(lhs.type, rhs.type, **attrs)
    quad = quad_axis(axes, lhs.type)
    if quad is None:  # a transposed matrix; a convolution's channels are the fastest axis
        contracted = attrs["contract"][0]
        last = max((a for a in contracted if surely_divides(QUAD, lhs.shape[a])), key=lambda a: lhs.shape[a])
        layout: dict[str, Any] = {"order": (*(a for a in range(lhs.type.rank) if a != last), last), "tiles": ()}
        lhs = builder.emit(movement.relayout, (lhs,), layout, node.loc)[0]
        quad = next(name for name in axes.lhs[last])
    kept = {name for dim in axes.out for name in dim}
    # what is summed comes last: all quads of a panel lie evenly
    others = sorted((a for a in range(rhs.type.rank) if a != columns), key=lambda a: not kept.intersection(axes.rhs[a]))
    _, panel = tile_shape(target, node.result.dtype, node.result.type.size, rhs.shape[columns])
    tiles = (columns, panel), (axes.rhs.index({quad: 1}), QUAD)
    layout = {"order": (columns, *others), "tiles": tiles}
    return [lhs, builder.emit(movement.relayout, (rhs,), layout, node.loc)[0]]


__all__ = ["Layout"]
