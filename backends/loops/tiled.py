"""What the templates of register tiles share: the roles of a contraction's axes, places in operands, and epilogues."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tgc.backends.loops.ir import Buffer, Const, Expr, For, Let, Stack, Stmt, Store, Var
from tgc.backends.loops.pull import SCALAR, Pull, physical
from tgc.ir import Value
from tgc.ops.kinds import AxisMap
from tgc.ops.movement import transpose
from tgc.passes.tiles import Shaped
from tgc.types import I64, TensorType


class TileTarget(Shaped, Protocol):
    """What the choice and the order of tiles depends on."""

    @property
    def l1_bytes(self) -> int: ...

    @property
    def l2_bytes(self) -> int: ...

    @property
    def near_l3(self) -> bool: ...


@dataclass(frozen=True)
class Roles:
    """The named axes of a contraction by role, each list in the order of its operand."""

    batch: list[str]
    m: list[str]
    n: list[str]
    k: list[str]


def roles(axes: AxisMap) -> Roles:
    """Sort named axes into batch, m, n and k."""
    lhs, rhs, out = ({name for dim in dims for name in dim} for dims in (axes.lhs, axes.rhs, axes.out))
    order = [name for dim in axes.out for name in dim]
    order += [name for dim in axes.rhs for name in dim if name not in order]
    order += [name for name in axes.extents if name not in order]
    summed = [name for dim in axes.lhs for name in dim if name in rhs and name not in out]
    inner = [name for dim in axes.rhs for name in dim if name in lhs and name not in out]
    return Roles(
        batch=[a for a in order if a in lhs and a in rhs and a in out],
        m=[a for a in order if a in lhs and a in out and a not in rhs],
        n=[a for a in order if a in rhs and a in out and a not in lhs],
        k=inner if len(inner) == len(set(inner)) else summed,
    )


def even(number: int, most: int) -> int:
    """The size of the parts, `most` or one at most, when `number` things are divided into few and nearly equal ones."""
    parts = -(-number // max(1, most))
    return -(-number // max(1, parts)) or 1


def strides(type: TensorType, dims: Sequence[Mapping[str, int]], skip: int | None = None) -> dict[str, int]:
    """Elements from one point of a named axis to the next, in an operand that is not tiled (except along `skip`)."""
    storage = Buffer.row_major("", type.dtype, type.storage)
    order = type.layout.order if type.layout else tuple(range(type.rank))
    step: dict[str, int] = {}
    for a, dim in enumerate(dims):
        if a == skip:
            continue
        for name, coefficient in dim.items():
            step[name] = step.get(name, 0) + coefficient * storage.strides[order.index(a)]
    return step


def block_step(type: TensorType, axis: int) -> int:
    """Elements from one panel of a tiled axis to the next."""
    assert type.layout is not None
    return Buffer.row_major("", type.dtype, type.storage).strides[type.layout.order.index(axis)]


def over_columns(var: str, columns: int, end: Expr | None, stores: Sequence[Store]) -> For:
    """A loop over the columns of a register tile from `column` on, some of which may lie beyond `end`.

    Where none do (None), its variable is `lane`, with a trip count that the vectorizer knows.
    """
    if end is None:
        return For("lane", Const(0, I64), Const(columns, I64), (Let(var, Var("column") + Var("lane")), *stores))
    return For(var, Var("column"), SCALAR.minimum(end, Var("column") + columns), tuple(stores))


def epilogue_stores(pull: Pull, index: tuple[Expr, ...]) -> list[Store]:
    """What stores the region's results, given the element of a contraction that lies at `index`."""
    places = [_transposed(v, index) for v in pull.body.outputs]
    return [
        Store(pull.result(k), physical(v.type, place), pull.at(v, place))
        for k, (v, place) in enumerate(zip(pull.body.outputs, places, strict=True))
    ]


def _transposed(v: Value, index: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """The index of an element in a result of the region, which may be a transpose of what lies at `index`."""
    if v.node is not None and v.node.op is transpose:
        return tuple(index[a] for a in v.node.attrs["perm"])
    return index


def table(rows: Buffer, step: int) -> list[Stmt]:
    """A local table of places, `step` elements apart, and what fills it."""
    (count,), r = rows.sizes, Var("r")
    return [Stack(rows, count), For("r", Const(0, I64), Const(count, I64), (Store(rows, (r,), r * step),))]


def flat(c: Buffer) -> Buffer:
    """A buffer as one row."""
    return Buffer(c.name, c.dtype, (math.prod(c.sizes),), (1,))


def affine(dim: Mapping[str, int]) -> Expr:
    """The place along an operand's axis that is a sum of coefficient * named axis."""
    total: Expr = Const(0, I64)
    for name, coefficient in dim.items():
        total = total + Var(name) * coefficient
    return total
