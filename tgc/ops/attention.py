"""Scaled dot-product attention and its gradient, as ops of a kind of their own: no operand or result is T x S large.

    s = scale * q k^T, and `unseen` where a source may not be seen
    y = softmax(s) v            lse = log(sum(exp(s)))

The gradient computes the weights again from the scores and `lse`: Dao et al., "FlashAttention: fast and
memory-efficient exact attention with IO-awareness" (2022). `composed` and `composed_grad` are the same functions made
of other ops, for operands that no kernel takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from tgc.errors import DTypeError
from tgc.ir import Attr
from tgc.ops import arithmetic, creation
from tgc.ops.arithmetic import add, less_equal, multiply, negative, subtract, where
from tgc.ops.batch import in_front, order, size_of
from tgc.ops.contraction import dot
from tgc.ops.elementwise import bit_and, exp, is_finite, log
from tgc.ops.kinds import Batch, Primitive, integer, pairs, scalar
from tgc.ops.movement import broadcast, inverse, reshape, transpose
from tgc.ops.reduce import reduce_max, reduce_sum
from tgc.ops.samples import case, reals, samples
from tgc.types import BOOL, F32, F64, I64, DType, Shape, TensorType

FLOATS = frozenset({F32, F64})


def unseen(dtype: DType) -> float:
    """The score of a source that must not be seen: finite, so that a row without any other has finite gradients."""
    return -0.7 * float(np.finfo(dtype).max)


@dataclass(frozen=True, eq=False, repr=False)
class Attention(Primitive):
    """Attention of q [lead..., time, dim] to sources k [lead..., source, dim] and v [lead..., source, out].

    Attributes `before` and `after`: time i sees sources i - before to i + after (None: all). The last operand may be a
    mask, bool [lead..., time, source] with any of its axes 1, that is True where a source may be seen. A row that sees
    no source attends evenly to all. What v holds at sources that a row does not see must be finite.

    Attribute `orders` has for each operand and result the axes of the tensor in the order above; () if all have it.
    `shapes(operand shapes, ...)`, of tensors in that order, checks them but for the mask, and gives those of results.
    """

    _: KW_ONLY
    arity: int  # without the mask
    shapes: Callable[..., tuple[Shape, ...]]
    products: tuple[int, int]  # how many matrix products of the scores' size go over dim, and over out
    batch: Batch
    heavy = True

    def infer(self, operands: Sequence[TensorType], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
        self.expect(operands, *[FLOATS] * self.arity, *[frozenset({BOOL})] * (len(operands) == self.arity + 1))
        types = operands[: self.arity]
        if len({t.dtype for t in types}) > 1:
            raise DTypeError(f"{self.name}({', '.join(map(str, operands))}): operand dtypes differ")
        orders: Any = attrs["orders"]
        known = orders[: len(operands)] or [tuple(range(t.rank)) for t in operands]
        if any(sorted(axes) != list(range(t.rank)) for axes, t in zip(known, operands, strict=False)):
            raise self.refuse(f"orders {orders} are not those of the operands' axes", operands)
        given = [tuple(t.shape[a] for a in axes) for axes, t in zip(known, operands, strict=True)]
        q, k = given[:2]
        if len(q) < 2 or len(k) != len(q) or q[:-2] != k[:-2] or q[-1] != k[-1]:
            raise self.refuse("q and k must agree in all axes but the last but one", operands)
        results = self.shapes(self, operands, *given[: self.arity])
        scores = (*q[:-1], k[-2])
        for mask in given[self.arity :]:
            if len(mask) != len(scores) or any(m not in (1, n) for m, n in zip(mask, scores, strict=True)):
                raise self.refuse(f"the mask does not broadcast to the scores {scores}", operands)
        if orders and [sorted(a) for a in orders[len(operands) :]] != [list(range(len(s))) for s in results]:
            raise self.refuse(f"orders {orders} are not those of the results' axes", operands)
        places = orders[len(operands) :] or [tuple(range(len(s))) for s in results]
        stored = [tuple(s[axes.index(a)] for a in range(len(s))) for s, axes in zip(results, places, strict=True)]
        return tuple(TensorType(types[0].dtype, s) for s in stored)

    def flops(self, operands: Sequence[TensorType], attrs: Mapping[str, Any]) -> int:
        """Operations of the matrix products, for the scores that count by `before` and `after`."""
        q, _, v = (logical(t, attrs["orders"], k) for k, t in enumerate(operands[:3]))
        time, (source, out) = np.arange(q[-2]), v[-2:]
        before, after = (source + q[-2] if attrs[side] is None else attrs[side] for side in ("before", "after"))
        seen = np.minimum(time + after + 1, source) - np.maximum(time - before, 0)
        pairs = math.prod(q[:-2]) * int(np.maximum(seen, 0).sum())
        return 2 * pairs * (self.products[0] * q[-1] + self.products[1] * out)


def logical(type: TensorType, orders: tuple[tuple[int, ...], ...], k: int) -> Shape:
    """The shape of operand or result `k` with its axes in the order that the kind describes."""
    return tuple(type.shape[a] for a in orders[k]) if orders else type.shape


def _forward_shapes(op: Attention, operands: Sequence[TensorType], q: Shape, k: Shape, v: Shape) -> tuple[Shape, ...]:
    if v[:-1] != k[:-1]:
        raise op.refuse("k and v must agree in all axes but the last", operands)
    if not k[-2]:
        raise op.refuse("there is no source to attend to", operands)
    return (*q[:-1], v[-1]), q[:-1]


def _backward_shapes(
    op: Attention, operands: Sequence[TensorType], q: Shape, k: Shape, v: Shape, lse: Shape, g: Shape, delta: Shape
) -> tuple[Shape, ...]:
    y, kept = _forward_shapes(op, operands, q, k, v)
    if (lse, g, delta) != (kept, y, kept):
        raise op.refuse(f"lse, g and delta must have shapes {kept}, {y} and {kept}", operands)
    return q, k, v


# ------------------------------------------------------------------------------------------------------- references


def seen(shape: Shape, before: int | None, after: int | None, mask: np.ndarray | None = None) -> np.ndarray:
    """Where scores of a shape [..., time, source] count."""
    time, source = np.arange(shape[-2])[:, None], np.arange(shape[-1])
    found = np.ones(shape, np.bool_) if mask is None else np.broadcast_to(mask, shape)
    if after is not None:
        found = found & (source <= time + after)
    return found & (source >= time - before) if before is not None else found


def _scored(q: np.ndarray, k: np.ndarray, mask: Any, scale: float, before: Any, after: Any) -> tuple[Any, Any]:
    """Scores, and which of them count."""
    s = q * q.dtype.type(scale) @ k.swapaxes(-1, -2)
    counts = seen(s.shape, before, after, mask)
    return np.where(counts, s, s.dtype.type(unseen(s.dtype))), counts


def _ordered(f: Callable[..., tuple[np.ndarray, ...]]) -> Callable[..., tuple[np.ndarray, ...]]:
    """A reference of tensors in any order from one of tensors in the kind's."""

    def reference(*operands: np.ndarray, orders: Any, **attrs: Any) -> tuple[np.ndarray, ...]:
        if not orders:
            return f(*operands, **attrs)
        results = f(*(x.transpose(axes) for x, axes in zip(operands, orders, strict=False)), **attrs)
        return tuple(y.transpose(inverse(a)) for y, a in zip(results, orders[len(operands) :], strict=True))

    return reference


@_ordered
def _reference(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: Any = None, **attrs: Any
) -> tuple[np.ndarray, np.ndarray]:
    s, _ = _scored(q, k, mask, **attrs)
    largest = s.max(-1, keepdims=True)
    e = np.exp(s - largest)
    total = e.sum(-1, keepdims=True)
    return e / total @ v, (np.log(total) + largest)[..., 0]


@_ordered
def _grad_reference(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, lse: np.ndarray, g: np.ndarray, delta: np.ndarray, mask: Any = None,
    *, scale: float, before: Any, after: Any,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    s, counts = _scored(q, k, mask, scale, before, after)
    none = (lse < unseen(lse.dtype) / 2) & np.isfinite(lse)
    p = np.where(none[..., None], s.dtype.type(1 / s.shape[-1]), np.exp(s - lse[..., None]))
    d = np.where(counts, p * (g @ v.swapaxes(-1, -2) - delta[..., None]), s.dtype.type(0))
    factor = q.dtype.type(scale)
    return d @ k * factor, d.swapaxes(-1, -2) @ q * factor, p.swapaxes(-1, -2) @ g


# --------------------------------------------------------------------------------------------------- composed of ops


def allowed(shape: Shape, before: int | None, after: int | None, mask: Any = None) -> Any:
    """bool `shape` [..., time, source]: which sources may be seen; None where all may."""
    found = [] if mask is None else [arithmetic.broadcast_to(mask, shape)]
    if before is not None or after is not None:
        time, source = (creation.iota(shape=shape[-2:], dtype=I64, axis=axis) for axis in (0, 1))
        if after is not None:
            found.append(arithmetic.broadcast_to(less_equal(source, time + after if after else time), shape))
        if before is not None:
            found.append(arithmetic.broadcast_to(less_equal(time, source + before), shape))
    both = found[0] if found else None
    for other in found[1:]:
        both = bit_and(both, other)
    return both


def _product(x: Any, y: Any, last: int, axis: int) -> Any:
    """x [lead..., ...] and y [lead..., ...] contracted over one of their last two axes: -1 or -2 of each."""
    rank = len(x.shape)
    lead = tuple(range(rank - 2))
    return dot(x, y, batch=(lead, lead), contract=((rank + last,), (rank + axis,)))


def _spread(x: Any, shape: Shape) -> Any:
    """x [..., time] along the sources of scores [..., time, source]."""
    return broadcast(x, axes=tuple(range(len(shape) - 1)), shape=shape)


def _total(x: Any) -> Any:
    return reduce_sum(x, axes=(len(x.shape) - 1,), chunks=0)


def _scores(q: Any, k: Any, mask: Any, scale: float, before: int | None, after: int | None) -> tuple[Any, Any]:
    s = _product(multiply(q, scale), k, -1, -1)
    counts = allowed(s.shape, before, after, mask)
    return s if counts is None else where(counts, s, unseen(s.dtype)), counts


def composed(q: Any, k: Any, v: Any, mask: Any = None, **attrs: Any) -> tuple[Any, Any]:
    """`attention`, made of other ops."""
    s, _ = _scores(q, k, mask, **attrs)
    largest = reduce_max(s, axes=(len(s.shape) - 1,), chunks=0)
    e = exp(subtract(s, _spread(largest, s.shape)))
    total = _total(e)
    return _product(arithmetic.divide(e, _spread(total, s.shape)), v, -1, -2), add(log(total), largest)


def _weights(q: Any, k: Any, mask: Any, lse: Any, **attrs: Any) -> tuple[Any, Any]:
    """The weights again, and a function that puts zeros where scores do not count."""
    s, counts = _scores(q, k, mask, **attrs)
    p = exp(subtract(s, _spread(lse, s.shape)))
    if counts is None:
        return p, lambda x: x
    none = bit_and(arithmetic.less(lse, unseen(s.dtype) / 2), is_finite(lse))
    return where(_spread(none, s.shape), 1 / s.shape[-1], p), lambda x: where(counts, x, 0)


def composed_grad(
    q: Any, k: Any, v: Any, lse: Any, g: Any, delta: Any, mask: Any = None, *, scale: float, **attrs: Any
) -> tuple[Any, Any, Any]:
    """`attention_grad`, made of other ops."""
    p, counted = _weights(q, k, mask, lse, scale=scale, **attrs)
    d = counted(multiply(p, subtract(_product(g, v, -1, -1), _spread(delta, p.shape))))
    return multiply(_product(d, k, -1, -2), scale), multiply(_product(d, q, -2, -2), scale), _product(p, g, -2, -2)


# -------------------------------------------------------------------------------------------------- rules of the ops


def _in_order(rule: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """A gradient rule for tensors in any order from one for tensors in the kind's."""

    def grad(g: Sequence[Any], *operands: Any, out: Sequence[Any], orders: Any, **attrs: Any) -> tuple[Any, ...]:
        if not orders:
            return rule(g, *operands, out=out, **attrs)
        behind = orders[len(operands) :]
        inner = [transpose(x, perm=axes) for x, axes in zip(operands, orders, strict=False)]
        g = [None if c is None else transpose(c, perm=axes) for c, axes in zip(g, behind, strict=True)]
        results = [transpose(y, perm=axes) for y, axes in zip(out, behind, strict=True)]
        found = rule(g, *inner, out=results, **attrs)
        return tuple(
            None if c is None else transpose(c, perm=inverse(axes)) for c, axes in zip(found, orders, strict=False)
        )

    return grad


def _grad(g: Sequence[Any], q: Any, k: Any, v: Any, *mask: Any, out: Sequence[Any], **attrs: Any) -> tuple[Any, ...]:
    """The softmax takes the mean of the weights' cotangents off, which is y . g; lse adds its own."""
    gy, gl = g
    y, lse = out
    gy = creation.full_like(y, 0) if gy is None else gy
    delta = _total(multiply(gy, y))
    delta = delta if gl is None else subtract(delta, gl)
    found = attention_grad(q, k, v, lse, gy, delta, *mask, orders=(), **attrs)
    return (*found, *(None for _ in mask))


def _second(
    cotangents: Sequence[Any], q: Any, k: Any, v: Any, lse: Any, g: Any, delta: Any, *mask: Any,
    out: Sequence[Any], scale: float, **attrs: Any,
) -> tuple[Any, ...]:  # fmt: skip
    """The gradient of `composed_grad`, line by line from its last one."""
    a, b, c = (creation.full_like(x, 0) if h is None else h for h, x in zip(cotangents, (q, k, v), strict=True))
    p, counted = _weights(q, k, mask[0] if mask else None, lse, scale=scale, **attrs)
    slope = subtract(_product(g, v, -1, -1), _spread(delta, p.shape))
    d = counted(multiply(p, slope))
    d_bar = counted(multiply(add(_product(a, k, -1, -1), _product(q, b, -1, -1)), scale))
    p_bar = add(multiply(d_bar, slope), _product(g, c, -1, -1))
    slope_bar = multiply(d_bar, p)
    s_bar = counted(multiply(p_bar, p))
    found = (
        multiply(add(_product(s_bar, k, -1, -2), _product(d, b, -1, -2)), scale),
        multiply(add(_product(s_bar, q, -2, -2), _product(d, a, -2, -2)), scale),
        _product(slope_bar, g, -2, -2),
        negative(_total(s_bar)),
        add(_product(slope_bar, v, -1, -2), _product(p, c, -1, -2)),
        negative(_total(slope_bar)),
    )
    return (*found, *(None for _ in mask))


def _batch(name: str, arity: int) -> Batch:
    """One more of the leading axes; a mask without it has it once."""

    def rule(operands: Sequence[Any], batched: Sequence[bool], *, orders: Any, **attrs: Any) -> Any:
        size = size_of(operands, batched)
        whole = [in_front(x, b, size) for x, b in zip(operands[:arity], batched, strict=False)]
        for mask, mapped in zip(operands[arity:], batched[arity:], strict=True):
            whole.append(mask if mapped else reshape(mask, shape=(1, *mask.shape)))
        op = {"attention": attention, "attention_grad": attention_grad}[name]
        return op(*whole, orders=tuple(order(axes, size) for axes in orders), **attrs)

    return rule


def _reach(x: Any) -> int | None:
    """Attribute check: an int, or None."""
    return None if x is None else integer(x)


_ATTRS = {"scale": scalar, "before": _reach, "after": _reach, "orders": pairs}
_SEES = {"scale": 0.5, "before": None, "after": None, "orders": ()}
_HEADS = (0, 2, 1, 3)  # of tensors [batch, time, heads, dim]
_POINTS = (0, 2, 1)


def _cases(n: int, results: tuple[tuple[int, ...], ...]) -> tuple[Any, ...]:
    """Operands of `attention` (n = 3) or `attention_grad` (n = 6)."""

    def made(lead: Shape, time: int, source: int, dim: int, out: int, *mask: Shape, **attrs: Any) -> Any:
        shapes = [(*lead, time, dim), (*lead, source, dim), (*lead, source, out)]
        shapes += [(*lead, time), (*lead, time, out), (*lead, time)]
        return case(*shapes[:n], *mask, **{**_SEES, **attrs})

    heads = [(2, 37, 3, 8), (2, 50, 3, 8), (2, 50, 3, 5), (2, 37, 3), (2, 37, 3, 5), (2, 37, 3)]
    orders = (*(_POINTS if len(s) == 3 else _HEADS for s in heads[:n]), (0, 1, 2, 3), *results)
    return (
        made((2,), 19, 23, 5, 7, (2, 1, 23), before=12, after=9),
        made((2, 1), 130, 70, 33, 16),
        case(*heads[:n], (1, 1, 37, 50), **{**_SEES, "after": 20, "orders": orders}),
        made((2,), 1, 4, 5, 2, after=1),
        made((0,), 3, 4, 5, 2),
    )


attention: Attention = Attention(
    "attention",
    attrs=_ATTRS,
    arity=3,
    products=(1, 1),
    shapes=_forward_shapes,
    reference=_reference,
    grad=_in_order(_grad),
    batch=_batch("attention", 3),
    samples=samples(*[reals(-2, 2)] * 4, cases=_cases(3, (_HEADS, _POINTS)), ulps=64),
)
attention_grad: Attention = Attention(
    "attention_grad",
    attrs=_ATTRS,
    arity=6,
    products=(3, 2),
    shapes=_backward_shapes,
    reference=_grad_reference,
    grad=_in_order(_second),
    batch=_batch("attention_grad", 6),
    samples=samples(*[reals(-2, 2)] * 3, reals(2, 5), *[reals(-2, 2)] * 3, cases=_cases(6, (_HEADS,) * 3), ulps=64),
)

__all__ = ["Attention", "allowed", "attention", "attention_grad", "composed", "composed_grad", "logical", "unseen"]
