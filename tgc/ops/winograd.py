"""Winograd's minimal filtering F(4x4, 3x3) and F(2x2, 3x3): convolution as products in a transformed domain.

Four by four outputs of a 3x3 convolution take 144 multiplications a pair of channels, but 36 if windows of 6x6 inputs
and the filter are transformed first (Winograd, 1980; Lavin and Gray, "Fast Algorithms for Convolutional Neural
Networks", 2016); two by two take 16 instead of 36, and filters that are not twice as large as those::

    y = A' [(G w G') * (B' x B)] A        summed over input channels between the transforms

All of them are transforms of windows, the filter's too, and the gradients are made of the same ops. The matrices are
those of Cook and Toom for some points and infinity. 0, +-5/8 and +-3/2 keep the error of F(4x4) in float32 near that of
the direct sum (1.3e-6 of the greatest result, against 5.5e-6 with the usual 0, +-1, +-2; see Barabasz et al., "Error
Analysis and Improving the Accuracy of Winograd Convolution", 2020). What is infinite or NaN in a window reaches all
outputs of its tile.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from tgc.errors import DTypeError
from tgc.ops.batch import from_front, to_front
from tgc.ops.contraction import dot
from tgc.ops.elementwise import add
from tgc.ops.kinds import Primitive, Ruled, integer, integers, text
from tgc.ops.movement import pad, reshape, slice_, transpose
from tgc.ops.samples import case, reals, samples
from tgc.types import F32, F64, TensorType

FILTER = 3  # elements of a filter along an axis


@dataclass(frozen=True)
class Filtering:
    """F(tile x tile, 3x3) by Cook and Toom: `tile` outputs along an axis, from `tile + 2` inputs; float64 matrices."""

    tile: int
    points: tuple[Fraction, ...]  # beside infinity, the last

    @property
    def window(self) -> int:
        """Inputs along an axis."""
        return self.tile + FILTER - 1

    @cached_property
    def matrices(self) -> Mapping[str, np.ndarray]:
        """By what they are for. Rows: the transformed axis; columns: a window."""
        others = [[q for q in self.points if q != p] for p in self.points]
        scale = [math.prod(p - q for q in rest) for p, rest in zip(self.points, others, strict=True)]
        a = _float64([[p**k for k in range(self.tile)] for p in self.points] + [[0] * (self.tile - 1) + [1]])
        rows = [[p**k / f for k in range(FILTER)] for p, f in zip(self.points, scale, strict=True)]
        g = _float64([*rows, [0] * (FILTER - 1) + [1]])
        b = _float64([[*_monic(rest), 0] for rest in others] + [_monic(self.points)])
        return {"data": b, "filter": g, "cotangent": a, "filter_cotangent": g.T}

    def tiles_of(self, size: int) -> int:
        """How many tiles cover `size` outputs."""
        return -(-size // self.tile)


def _float64(rows: Any) -> np.ndarray:
    return np.array([[float(x) for x in row] for row in rows])


def _monic(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients, lowest first, of the polynomial with these roots."""
    c = [Fraction(1)]
    for root in roots:
        c = [a - root * b for a, b in zip([Fraction(0), *c], [*c, Fraction(0)], strict=True)]
    return c


def _points(*magnitudes: Fraction) -> tuple[Fraction, ...]:
    return Fraction(0), *(p for m in magnitudes for p in (m, -m))


FILTERINGS: Mapping[int, Filtering] = {
    f.tile: f for f in (Filtering(2, _points(Fraction(1))), Filtering(4, _points(Fraction(5, 8), Fraction(3, 2))))
}  # by their tiles
MATRICES = tuple(FILTERINGS[4].matrices)  # names


def filtering_of(elements: int) -> Filtering | None:
    """The one whose transformed windows have so many elements."""
    return next((f for f in FILTERINGS.values() if f.window**2 == elements), None)


@dataclass(frozen=True, eq=False, repr=False)
class WindowTransform(Ruled):
    """out[(a, b), n, i, j, c] = sum over k, l of M[a, k] M[b, l] x[n, t i + k, t j + l, c].

    t = `tile`, M = FILTERINGS[tile].matrices[`matrix`].
    """

    heavy = True


@dataclass(frozen=True, eq=False, repr=False)
class TransformedProduct(Ruled):
    """out[n, t i + k, t j + l, o] = sum over a, b, c of A[a, k] A[b, l] v[(a, b), n, i, j, c] u[(a, b), c, o].

    The number of pairs (a, b) says which filtering it is: t is its tile, A its matrix "cotangent".
    """

    heavy = True


_DOMAIN = frozenset({F32, F64})


def _tiles_type(op: Primitive, operands: Sequence[TensorType], *, matrix: Any, tile: Any) -> TensorType:
    op.expect(operands, _DOMAIN)
    (x,) = operands
    if tile not in FILTERINGS:
        raise op.refuse(f"no filtering has tiles of {tile}; there are {', '.join(map(str, FILTERINGS))}", operands)
    if matrix not in MATRICES:
        raise op.refuse(f"no matrix {matrix!r}; there are {', '.join(MATRICES)}", operands)
    elements, size = FILTERINGS[tile].matrices[matrix].shape
    if x.rank != 4 or any(n < size or (n - size) % tile for n in x.shape[1:3]):
        raise op.refuse(f"the operand must be [n, h, w, c], h and w {size} and multiples of {tile}", operands)
    n, h, w, c = x.shape
    return TensorType(x.dtype, (elements**2, n, (h - size) // tile + 1, (w - size) // tile + 1, c))


def _tiles_reference(x: np.ndarray, *, matrix: str, tile: int) -> np.ndarray:
    m = FILTERINGS[tile].matrices[matrix].astype(x.dtype)
    windows = np.lib.stride_tricks.sliding_window_view(x, (m.shape[1],) * 2, (1, 2))[:, ::tile, ::tile]
    made = np.einsum("ak,bl,nijckl->abnijc", m, m, windows, optimize=True)
    return np.reshape(made, (len(m) ** 2, *made.shape[2:]))


def _tiles_grad(g: Any, x: Any, *, out: Any, matrix: str, tile: int) -> tuple[Any]:
    """Each element of a window back to its place, those of overlapping windows added."""
    m = FILTERINGS[tile].matrices[matrix]
    size = m.shape[1]
    back = dot(g, np.kron(m, m).astype(x.dtype), batch=((), ()), contract=((0,), (0,)))  # [n, i, j, c, (k, l)]
    n, rows, columns, c = back.shape[:4]
    total = None
    for k, l in itertools.product(range(size), repeat=2):  # noqa: E741
        at = k * size + l
        part = slice_(back, start=(0, 0, 0, 0, at), stop=(n, rows, columns, c, at + 1), step=(1,) * 5)
        part = reshape(part, shape=(n, rows, columns, c))
        high = (0, size - 1 - k, size - 1 - l, 0)
        spread = pad(part, low=(0, k, l, 0), high=high, interior=(0, tile - 1, tile - 1, 0), value=0)
        total = spread if total is None else add(total, spread)
    return (total,)


def _tiles_batch(operands: Sequence[Any], batched: Sequence[bool], **attrs: Any) -> Any:
    (x,) = operands
    made = tiles(reshape(x, shape=(x.shape[0] * x.shape[1], *x.shape[2:])), **attrs)
    return to_front(reshape(made, shape=(made.shape[0], *x.shape[:2], *made.shape[2:])), 1)


tiles: WindowTransform = WindowTransform(
    "winograd_tiles",
    attrs={"matrix": text, "tile": integer},
    type_rule=_tiles_type,
    reference=_tiles_reference,
    batch=_tiles_batch,
    grad=_tiles_grad,
    samples=samples(
        reals(-2, 2), ulps=64,
        cases=(
            case((2, 6, 10, 3), matrix="data", tile=4),
            case((1, 10, 6, 16), matrix="data", tile=4),
            case((1, 8, 4, 5), matrix="cotangent", tile=4),
            case((1, 3, 3, 40), matrix="filter", tile=4),
            case((1, 6, 6, 7), matrix="filter_cotangent", tile=4),
            case((0, 6, 6, 2), matrix="data", tile=4),
            case((1, 6, 6, 0), matrix="data", tile=4),
            case((2, 6, 4, 3), matrix="data", tile=2),
            case((1, 4, 8, 17), matrix="cotangent", tile=2),
            case((1, 4, 4, 5), matrix="filter_cotangent", tile=2),
            case((1, 3, 3, 33), matrix="filter", tile=2),
        ),
    ),
)  # fmt: skip


def _product_type(op: Primitive, operands: Sequence[TensorType], *, shape: Any) -> TensorType:
    op.expect(operands, _DOMAIN, _DOMAIN)
    v, u = operands
    if v.dtype != u.dtype:
        raise DTypeError(f"{op.name}({v}, {u}): operand dtypes differ")
    if v.rank != 5 or u.rank != 3 or (v.shape[0], v.shape[4]) != u.shape[:2]:
        raise op.refuse("operands must be [q, n, i, j, c] and [q, c, o]", operands)
    filtering = filtering_of(v.shape[0])
    if filtering is None or len(shape) != 2 or tuple(map(filtering.tiles_of, shape)) != v.shape[2:4]:
        raise op.refuse(f"{v.shape[2:4]} tiles of {v.shape[0]} do not make a result of {tuple(shape)}", operands)
    return TensorType(v.dtype, (v.shape[1], *shape, u.shape[2]))


def _filtering(v: Any) -> tuple[int, np.ndarray]:
    """The tile, and the matrix from a tile's transformed sums to its outputs, [(a, b), (k, l)]."""
    filtering = filtering_of(v.shape[0])
    assert filtering is not None
    a = filtering.matrices["cotangent"]
    return filtering.tile, np.kron(a, a).astype(v.dtype)


def _product_reference(v: np.ndarray, u: np.ndarray, *, shape: Sequence[int]) -> np.ndarray:
    n, rows, columns = v.shape[1:4]
    tile, back = _filtering(v)
    m = np.einsum("qnijc,qco->nijqo", v, u, optimize=True)
    y: np.ndarray = np.einsum("qp,nijqo->nijpo", back, m, optimize=True)
    y = y.reshape(n, rows, columns, tile, tile, u.shape[2]).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(n, rows * tile, columns * tile, u.shape[2])[:, : shape[0], : shape[1]]


def _product_grad(g: Any, v: Any, u: Any, *, out: Any, shape: Sequence[int]) -> tuple[Any, Any]:
    tile, _ = _filtering(v)
    high = [-n % tile for n in shape]
    padded = pad(g, low=(0,) * 4, high=(0, *high, 0), interior=(0,) * 4, value=0)
    d = tiles(padded, matrix="cotangent", tile=tile)
    over_v = dot(d, u, batch=((0,), (0,)), contract=((4,), (2,)))
    over_u = dot(v, d, batch=((0,), (0,)), contract=((1, 2, 3), (1, 2, 3)))
    return over_v, over_u


def _product_batch(operands: Sequence[Any], batched: Sequence[bool], *, shape: Any) -> Any:
    """Mapped over v alone, its axis joins the batch; filters that are mapped make a product of their own each."""
    v, u = operands
    if not batched[1]:
        b, q, n, *rest = v.shape
        made = product(reshape(from_front(v, 1), shape=(q, b * n, *rest)), u, shape=shape)
        return reshape(made, shape=(b, n, *made.shape[1:]))
    if batched[0]:  # [b, q, n, i, j, o]
        m = dot(v, u, batch=((0, 1), (0, 1)), contract=((5,), (2,)))
    else:
        m = to_front(dot(v, u, batch=((0,), (1,)), contract=((4,), (2,))), 4)
    tile, back = _filtering(m[0])
    y = dot(m, back, batch=((), ()), contract=((1,), (0,)))  # [b, n, i, j, o, p]
    b, n, rows, columns, o, _ = y.shape
    y = reshape(y, shape=(b, n, rows, columns, o, tile, tile))
    y = transpose(y, perm=(0, 1, 2, 5, 3, 6, 4))
    y = reshape(y, shape=(b, n, rows * tile, columns * tile, o))
    return slice_(y, start=(0,) * 5, stop=(b, n, *shape, o), step=(1,) * 5)


product: TransformedProduct = TransformedProduct(
    "winograd_product",
    attrs={"shape": integers},
    type_rule=_product_type,
    reference=_product_reference,
    batch=_product_batch,
    grad=_product_grad,
    samples=samples(
        reals(-2, 2), reals(-2, 2), ulps=256,
        cases=(
            case((36, 2, 1, 2, 3), (36, 3, 5), shape=(4, 7)),
            case((36, 1, 2, 2, 16), (36, 16, 32), shape=(7, 5)),
            case((36, 3, 1, 1, 2), (36, 2, 40), shape=(2, 3)),
            case((36, 0, 1, 1, 2), (36, 2, 3), shape=(4, 4)),
            case((36, 1, 1, 1, 2), (36, 2, 0), shape=(4, 4)),
            case((16, 2, 2, 3, 5), (16, 5, 9), shape=(3, 6)),
            case((16, 1, 2, 2, 16), (16, 16, 32), shape=(4, 4)),
        ),
    ),
)  # fmt: skip

__all__ = [
    "FILTER",
    "FILTERINGS",
    "Filtering",
    "TransformedProduct",
    "WindowTransform",
    "filtering_of",
    "product",
    "tiles",
]
