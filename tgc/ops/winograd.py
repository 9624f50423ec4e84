"""Winograd's minimal filtering F(4x4, 3x3): convolution as products in a transformed domain.

Four by four outputs of a 3x3 convolution take 144 multiplications a pair of channels, but 36 if windows of 6x6 inputs
and the filter are transformed first (Winograd, 1980; Lavin and Gray, "Fast Algorithms for Convolutional Neural
Networks", 2016)::

    y = A' [(G w G') * (B' x B)] A        summed over input channels between the transforms

All of them are transforms of windows, the filter's too, and the gradients are made of the same ops. The matrices are
those of Cook and Toom for the points 0, +-5/8, +-3/2 and infinity, which keep the error in float32 near that of the
direct sum (1.3e-6 of the greatest result, against 5.5e-6 with the usual 0, +-1, +-2; see Barabasz et al., "Error
Analysis and Improving the Accuracy of Winograd Convolution", 2020). What is infinite or NaN in a window reaches all
outputs of its tile.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from tgc.errors import DTypeError
from tgc.ops.batch import from_front, to_front
from tgc.ops.contraction import dot
from tgc.ops.elementwise import add
from tgc.ops.kinds import Primitive, Ruled, integers, text
from tgc.ops.movement import pad, reshape, slice_, transpose
from tgc.ops.samples import case, reals, samples
from tgc.types import F32, F64, TensorType

TILE, FILTER = 4, 3  # outputs and filter elements along an axis
WINDOW = TILE + FILTER - 1
POINTS = (Fraction(0), Fraction(5, 8), Fraction(-5, 8), Fraction(3, 2), Fraction(-3, 2))


def _cook_toom() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A, G, B'): float64 [6, 4], [6, 3] and [6, 6]; the last of the points is infinity."""

    def monic(roots: Sequence[Fraction]) -> list[Fraction]:
        """Coefficients, lowest first, of the polynomial with these roots."""
        c = [Fraction(1)]
        for root in roots:
            c = [a - root * b for a, b in zip([Fraction(0), *c], [*c, Fraction(0)], strict=True)]
        return c

    others = [[q for q in POINTS if q != p] for p in POINTS]
    scale = [math.prod(p - q for q in rest) for p, rest in zip(POINTS, others, strict=True)]
    a = [[p**k for k in range(TILE)] for p in POINTS] + [[0] * (TILE - 1) + [1]]
    g = [[p**k / f for k in range(FILTER)] for p, f in zip(POINTS, scale, strict=True)] + [[0] * (FILTER - 1) + [1]]
    b = [[*monic(rest), 0] for rest in others] + [monic(POINTS)]
    return tuple(np.array([[float(x) for x in row] for row in m]) for m in (a, g, b))  # type: ignore[return-value]


_A, _G, _B = _cook_toom()
# rows: the transformed axis; columns: a window
MATRICES: Mapping[str, np.ndarray] = {"data": _B, "filter": _G, "cotangent": _A, "filter_cotangent": _G.T}


def tiles_of(size: int) -> int:
    """How many tiles cover `size` outputs."""
    return -(-size // TILE)


@dataclass(frozen=True, eq=False, repr=False)
class WindowTransform(Ruled):
    """out[(a, b), n, i, j, c] = sum over k, l of M[a, k] M[b, l] x[n, 4 i + k, 4 j + l, c], M = MATRICES[matrix]."""

    heavy = True


@dataclass(frozen=True, eq=False, repr=False)
class TransformedProduct(Ruled):
    """out[n, 4 i + k, 4 j + l, o] = sum over a, b, c of A[a, k] A[b, l] v[(a, b), n, i, j, c] u[(a, b), c, o]."""

    heavy = True


_DOMAIN = frozenset({F32, F64})


def _tiles_type(op: Primitive, operands: Sequence[TensorType], *, matrix: Any) -> TensorType:
    op.expect(operands, _DOMAIN)
    (x,) = operands
    if matrix not in MATRICES:
        raise op.refuse(f"no matrix {matrix!r}; there are {', '.join(MATRICES)}", operands)
    size = MATRICES[matrix].shape[1]
    if x.rank != 4 or any(n < size or (n - size) % TILE for n in x.shape[1:3]):
        raise op.refuse(f"the operand must be [n, h, w, c], h and w {size} and multiples of {TILE}", operands)
    n, h, w, c = x.shape
    return TensorType(x.dtype, (len(MATRICES[matrix]) ** 2, n, (h - size) // TILE + 1, (w - size) // TILE + 1, c))


def _tiles_reference(x: np.ndarray, *, matrix: str) -> np.ndarray:
    m = MATRICES[matrix].astype(x.dtype)
    windows = np.lib.stride_tricks.sliding_window_view(x, (m.shape[1],) * 2, (1, 2))[:, ::TILE, ::TILE]
    made = np.einsum("ak,bl,nijckl->abnijc", m, m, windows, optimize=True)
    return np.reshape(made, (len(m) ** 2, *made.shape[2:]))


def _tiles_grad(g: Any, x: Any, *, out: Any, matrix: str) -> tuple[Any]:
    """Each element of a window back to its place, those of overlapping windows added."""
    m = MATRICES[matrix]
    size = m.shape[1]
    back = dot(g, np.kron(m, m).astype(x.dtype), batch=((), ()), contract=((0,), (0,)))  # [n, i, j, c, (k, l)]
    n, rows, columns, c = back.shape[:4]
    total = None
    for k, l in itertools.product(range(size), repeat=2):  # noqa: E741
        at = k * size + l
        part = slice_(back, start=(0, 0, 0, 0, at), stop=(n, rows, columns, c, at + 1), step=(1,) * 5)
        part = reshape(part, shape=(n, rows, columns, c))
        high = (0, size - 1 - k, size - 1 - l, 0)
        spread = pad(part, low=(0, k, l, 0), high=high, interior=(0, TILE - 1, TILE - 1, 0), value=0)
        total = spread if total is None else add(total, spread)
    return (total,)


def _tiles_batch(operands: Sequence[Any], batched: Sequence[bool], *, matrix: str) -> Any:
    (x,) = operands
    made = tiles(reshape(x, shape=(x.shape[0] * x.shape[1], *x.shape[2:])), matrix=matrix)
    return to_front(reshape(made, shape=(made.shape[0], *x.shape[:2], *made.shape[2:])), 1)


tiles: WindowTransform = WindowTransform(
    "winograd_tiles",
    attrs={"matrix": text},
    type_rule=_tiles_type,
    reference=_tiles_reference,
    batch=_tiles_batch,
    grad=_tiles_grad,
    samples=samples(
        reals(-2, 2), ulps=64,
        cases=(
            case((2, 6, 10, 3), matrix="data"),
            case((1, 10, 6, 16), matrix="data"),
            case((1, 8, 4, 5), matrix="cotangent"),
            case((1, 3, 3, 40), matrix="filter"),
            case((1, 6, 6, 7), matrix="filter_cotangent"),
            case((0, 6, 6, 2), matrix="data"),
            case((1, 6, 6, 0), matrix="data"),
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
    if v.shape[0] != WINDOW**2 or len(shape) != 2 or tuple(map(tiles_of, shape)) != v.shape[2:4]:
        raise op.refuse(f"{v.shape[2:4]} tiles of {v.shape[0]} do not make a result of {tuple(shape)}", operands)
    return TensorType(v.dtype, (v.shape[1], *shape, u.shape[2]))


def _product_reference(v: np.ndarray, u: np.ndarray, *, shape: Sequence[int]) -> np.ndarray:
    n, rows, columns = v.shape[1:4]
    m = np.einsum("qnijc,qco->nijqo", v, u, optimize=True)
    y: np.ndarray = np.einsum("qp,nijqo->nijpo", np.kron(_A, _A).astype(v.dtype), m, optimize=True)
    y = y.reshape(n, rows, columns, TILE, TILE, u.shape[2]).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(n, rows * TILE, columns * TILE, u.shape[2])[:, : shape[0], : shape[1]]


def _product_grad(g: Any, v: Any, u: Any, *, out: Any, shape: Sequence[int]) -> tuple[Any, Any]:
    high = [tiles_of(n) * TILE - n for n in shape]
    d = tiles(pad(g, low=(0,) * 4, high=(0, *high, 0), interior=(0,) * 4, value=0), matrix="cotangent")
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
    y = dot(m, np.kron(_A, _A).astype(v.dtype), batch=((), ()), contract=((1,), (0,)))  # [b, n, i, j, o, p]
    b, n, rows, columns, o, _ = y.shape
    y = reshape(y, shape=(b, n, rows, columns, o, TILE, TILE))
    y = transpose(y, perm=(0, 1, 2, 5, 3, 6, 4))
    y = reshape(y, shape=(b, n, rows * TILE, columns * TILE, o))
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
        ),
    ),
)  # fmt: skip

__all__ = ["MATRICES", "TransformedProduct", "WindowTransform", "product", "tiles", "tiles_of"]
