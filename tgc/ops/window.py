"""Pooling windows over any axes, unrolled. Attributes have one entry an axis, 1 or no padding where nothing slides."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from tgc.ops.batch import by_attrs, first, sized
from tgc.ops.creation import full_like
from tgc.ops.kinds import Movement, Primitive, integers, no_gradient, pairs
from tgc.ops.movement import pad
from tgc.ops.samples import Draw, case, distinct, indices, reals, samples
from tgc.types import BF16, F16, F32, I32, I64, INTS, REALS, TensorType

_ATTRS = {"window": integers, "stride": integers, "padding": pairs, "dilation": integers}
_LEADING = {"window": first(1), "stride": first(1), "padding": first((0, 0)), "dilation": first(1)}


def window_shape(
    shape: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[Sequence[int]],
    dilation: Sequence[int],
) -> tuple[int, ...]:
    """Sizes of the windows' grid: floor((n + low + high - (w-1)*d - 1) / s) + 1 along each axis; may be negative."""
    return tuple(
        (n + p[0] + p[1] - (w - 1) * d - 1) // s + 1
        for n, w, s, p, d in zip(shape, window, stride, padding, dilation, strict=True)
    )


def _check(op: Primitive, x: TensorType, operands: Sequence[TensorType], attrs: Mapping[str, Any]) -> tuple[int, ...]:
    if any(len(attrs[name]) != x.rank for name in _ATTRS) or any(len(p) != 2 for p in attrs["padding"]):
        raise op.refuse("window, stride, padding (low, high) and dilation need one entry an axis", operands)
    if any(k < 1 for name in ("window", "stride", "dilation") for k in attrs[name]):
        raise op.refuse("window, stride and dilation must be positive", operands)
    for (low, high), w, d in zip(attrs["padding"], attrs["window"], attrs["dilation"], strict=True):
        if not (0 <= low <= (w - 1) * d and 0 <= high <= (w - 1) * d):
            raise op.refuse(f"padding {low}, {high} is negative or as wide as the window {w}", operands)
    shape = window_shape(x.shape, **attrs)
    if any(n < 0 for n in shape) or any(n == 0 and m > 0 for n, m in zip(shape, x.shape, strict=True)):
        raise op.refuse(f"the window {attrs['window']} is larger than the padded operand", operands)
    return shape


def _grid_type(op: Primitive, operands: Sequence[TensorType], **attrs: Any) -> TensorType:
    op.expect(operands, REALS)
    return TensorType(operands[0].dtype, _check(op, operands[0], operands, attrs))


def _offsets(window: Sequence[int]) -> Iterator[tuple[int, ...]]:
    return itertools.product(*(range(w) for w in window))


def _views(x: np.ndarray, fill: Any, *, window: Any, stride: Any, padding: Any, dilation: Any) -> np.ndarray:
    """[volume, *grid]: the element of every window at each offset."""
    grid = window_shape(x.shape, window, stride, padding, dilation)
    padded = np.pad(x, padding, constant_values=fill)
    at = (
        tuple(
            slice(k * d, k * d + (n - 1) * s + 1 if n else k * d, s)
            for k, d, n, s in zip(o, dilation, grid, stride, strict=True)
        )
        for o in _offsets(window)
    )
    return np.stack([padded[a] for a in at])


def _both(s: Any, a: Any, b: Any) -> Any:
    """The conjunction of two conditions, None being one that always holds."""
    return b if a is None else a if b is None else s.bit_and(a, b)


def _place(s: Any, index: Sequence[Any], offset: Sequence[int], attrs: Mapping[str, Any]) -> tuple[list[Any], Any]:
    """Where in the operand the window at `index` has its element `offset`, and whether that is no padding (or None)."""
    places, inside = [], None
    for axis, i in enumerate(index):
        low, high = attrs["padding"][axis]
        place = i * attrs["stride"][axis] + (offset[axis] * attrs["dilation"][axis] - low)
        inside = _both(s, inside, place >= 0 if low else None)
        inside = _both(s, inside, place < s.dim(0, axis) if high else None)
        places.append(place)
    return places, inside


def _load(s: Any, places: Sequence[Any], inside: Any, fill: Any) -> Any:
    return s.load(0, places) if inside is None else s.guard(inside, lambda: s.load(0, places), fill)


def _lowest(dtype: np.dtype) -> Any:
    return -np.inf if dtype.kind not in "iu" else np.iinfo(dtype).min


_GROUP = 32  # elements of a window that are folded one after the other


def _fold(step: str, fill: Callable[[np.dtype], Any]) -> Callable[..., Any]:
    def element(s: Any, index: Sequence[Any], **attrs: Any) -> Any:
        other = s.const(fill(s.out_dtype), s.out_dtype)
        parts = [_load(s, *_place(s, index, o, attrs), other) for o in _offsets(attrs["window"])]
        while len(parts) > 1:  # in groups: expressions are walked recursively
            parts = [reduce(getattr(s, step), parts[k : k + _GROUP]) for k in range(0, len(parts), _GROUP)]
        return parts[0]

    return element


def _volume(*, window: Any, **attrs: Any) -> int:
    return math.prod(window)


def _reads(x: TensorType, *, window: Sequence[int], stride: Sequence[int], **attrs: Any) -> float:
    return math.prod(-(-w // s) for w, s in zip(window, stride, strict=True))


def _cases() -> tuple[Any, ...]:
    plain = {"padding": ((0, 0),) * 4, "dilation": (1,) * 4}
    return (
        case((2, 4, 6, 3), window=(1, 2, 2, 1), stride=(1, 2, 2, 1), **plain),
        case((1, 5, 5, 2), window=(1, 3, 2, 1), stride=(1, 2, 1, 1), **plain),
        case(
            (2, 5, 4, 1),
            window=(1, 3, 3, 1),
            stride=(1, 2, 1, 1),
            padding=((0, 0), (1, 1), (1, 0), (0, 0)),
            dilation=(1,) * 4,
        ),
        case((9,), window=(3,), stride=(2,), padding=((2, 1),), dilation=(2,)),
        case((0, 4), window=(1, 2), stride=(1, 2), padding=((0, 0), (0, 0)), dilation=(1, 1)),
    )


def _sum_reference(x: np.ndarray, **attrs: Any) -> np.ndarray:
    """Half precision folds in float32, as everywhere in tgc."""
    held = F32 if x.dtype in (F16, BF16) else x.dtype
    return np.asarray(_views(x.astype(held), 0, **attrs).sum(0, dtype=held)).astype(x.dtype)


def _sum_grad(g: Any, x: Any, *, out: Any, window: Any, stride: Any, padding: Any, dilation: Any) -> tuple[Any]:
    """Each operand element collects the cotangents of the windows that hold it: again a sum over windows."""
    if 0 in x.shape:
        return (full_like(x, 0),)
    reach = [(w - 1) * d for w, d in zip(window, dilation, strict=True)]
    spread = [max(n - 1, 0) * s + (n > 0) for n, s in zip(g.shape, stride, strict=True)]
    low = [r - p[0] for r, p in zip(reach, padding, strict=True)]
    high = [n + r - m - a for n, r, m, a in zip(x.shape, reach, spread, low, strict=True)]
    whole = pad(g, low=low, high=high, interior=[s - 1 for s in stride], value=0)
    none = ((0, 0),) * len(window)
    return (window_sum(whole, window=window, stride=(1,) * len(window), padding=none, dilation=dilation),)


def _window(name: str, *, reference: Any, element: Any, grad: Any, draw: Draw, type_rule: Any = _grid_type) -> Movement:
    return Movement(
        name, attrs=_ATTRS, type_rule=type_rule, reference=reference, element=element, reads=_reads, loads=_volume,
        cheap=False, grad=grad, batch=by_attrs(name, **_LEADING), samples=samples(draw, cases=_cases(), ulps=8),
    )  # fmt: skip


window_sum = _window(
    "window_sum",
    reference=_sum_reference,
    element=_fold("add", lambda dtype: 0),
    grad=_sum_grad,
    draw=reals(),
)
window_max = _window(
    "window_max",
    reference=lambda x, **attrs: _views(x, _lowest(x.dtype), **attrs).max(0),
    element=_fold("maximum", _lowest),
    grad=lambda g, x, *, out, **attrs: (window_scatter(g, window_argmax(x, **attrs), shape=x.shape, **attrs),),
    draw=distinct(),
)


def _argmax_type(op: Primitive, operands: Sequence[TensorType], **attrs: Any) -> TensorType:
    return TensorType(I32, _grid_type(op, operands, **attrs).shape)


def _argmax_reference(x: np.ndarray, **attrs: Any) -> np.ndarray:
    views, real = _views(x, _lowest(x.dtype), **attrs), _views(np.ones(x.shape, bool), False, **attrs)
    largest = views.max(0)
    hits = real & ((views == largest) | (np.isnan(views) & np.isnan(largest)))
    return np.asarray(hits.argmax(0), I32)


def _argmax_element(s: Any, index: Sequence[Any], **attrs: Any) -> Any:
    """Padding never wins, not even against the lowest number: its place is outside of the operand."""
    dtype = s.operand_dtype(0)
    lowest = s.const(_lowest(dtype), dtype)
    best = at = real = None  # real: whether `best` is no padding
    for k, offset in enumerate(_offsets(attrs["window"])):
        places, inside = _place(s, index, offset, attrs)
        x, here = _load(s, places, inside, lowest), s.const(k, I32)
        if best is None:
            best, at, real = x, here, inside
            continue
        wins = s.gt(x, best)
        if dtype.kind not in "iu":
            wins = s.bit_or(wins, s.bit_and(s.is_nan(x), s.bit_not(s.is_nan(best))))
        if real is not None:
            wins = s.bit_or(wins, s.bit_not(real))
        wins = _both(s, wins, inside)
        best, at = s.select(wins, x, best), s.select(wins, here, at)
        real = None if real is None or inside is None else s.bit_or(real, inside)
    return at


window_argmax: Movement = _window(
    "window_argmax",
    reference=_argmax_reference,
    element=_argmax_element,
    grad=no_gradient,
    draw=distinct(),
    type_rule=_argmax_type,
)


# ----------------------------------------------------------------- the gradient of window_max, and that one's gradient


def _scatter_type(op: Primitive, operands: Sequence[TensorType], *, shape: Any, **attrs: Any) -> TensorType:
    op.expect(operands, REALS, INTS)
    x = op.made(operands, operands[0].dtype, shape)
    if _check(op, x, operands, attrs) != operands[0].shape or operands[0].shape != operands[1].shape:
        raise op.refuse(f"operands are no window grid of {x}", operands)
    return x


def _places(
    index: np.ndarray, shape: Sequence[int], *, window: Any, stride: Any, padding: Any, dilation: Any
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """For every window the place in an operand of `shape` of its element number `index`, and whether that is inside."""
    grid = np.indices(index.shape)
    offset = np.unravel_index(index, window)
    places = [g * s - p[0] + o * d for g, o, s, p, d in zip(grid, offset, stride, padding, dilation, strict=True)]
    inside = [(at >= 0) & (at < n) for at, n in zip(places, shape, strict=True)]
    return tuple(places), np.logical_and.reduce(inside, axis=0)


def _scatter_reference(g: np.ndarray, index: np.ndarray, *, shape: Any, **attrs: Any) -> np.ndarray:
    out = np.zeros(shape, F32 if g.dtype in (F16, BF16) else g.dtype)
    places, inside = _places(index, shape, **attrs)
    np.add.at(out, tuple(at[inside] for at in places), g[inside].astype(out.dtype))
    return out.astype(g.dtype)


def _gather_reference(x: np.ndarray, index: np.ndarray, **attrs: Any) -> np.ndarray:
    out = np.zeros(index.shape, x.dtype)
    places, inside = _places(index, x.shape, **attrs)
    out[inside] = x[tuple(at[inside] for at in places)]
    return out


def _scatter_element(
    s: Any, index: Sequence[Any], *, shape: Any, window: Any, stride: Any, padding: Any, dilation: Any
) -> Any:
    zero = s.const(0, s.out_dtype)
    held = I32 if np.can_cast(s.operand_dtype(1), I32) else I64
    total = None
    for k, offset in enumerate(_offsets(window)):
        inside, places = None, []
        for axis, i in enumerate(index):
            place = i + (padding[axis][0] - offset[axis] * dilation[axis])
            if stride[axis] > 1:
                inside = _both(s, inside, s.eq(place % stride[axis], s.const(0, I64)))
            if window[axis] > 1 or stride[axis] > 1:
                inside = _both(s, inside, place >= 0)
                place = place // stride[axis]
                inside = _both(s, inside, place < s.dim(0, axis))
            places.append(place)

        def part(places: Any = places, k: int = k) -> Any:
            return s.select(s.eq(s.cast(s.load(1, places), held), s.const(k, held)), s.load(0, places), zero)

        term = part() if inside is None else s.guard(inside, part, zero)
        total = term if total is None else s.add(total, term)
    return total


def _gather_type(op: Primitive, operands: Sequence[TensorType], **attrs: Any) -> TensorType:
    op.expect(operands, REALS, INTS)
    if _check(op, operands[0], operands, attrs) != operands[1].shape:
        raise op.refuse("operand 1 is no window grid of operand 0", operands)
    return TensorType(operands[0].dtype, operands[1].shape)


def _gather_element(s: Any, index: Sequence[Any], *, window: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    k = s.cast(s.load(1, index), I64)
    places, inside = [], None
    for axis, i in enumerate(index):
        offset = (k // math.prod(window[axis + 1 :])) % window[axis]
        place = i * stride[axis] - padding[axis][0] + offset * dilation[axis]
        inside = _both(s, inside, place >= 0 if padding[axis][0] else None)
        inside = _both(s, inside, place < s.dim(0, axis) if padding[axis][1] else None)
        places.append(place)
    return _load(s, places, inside, s.const(0, s.out_dtype))


_SMALL = {"window": (1, 2, 2), "stride": (1, 2, 1), "padding": ((0, 0),) * 3, "dilation": (1, 1, 1)}
_PADDED = {"window": (2,), "stride": (2,), "padding": ((1, 1),), "dilation": (1,)}
window_scatter: Movement = Movement(
    "window_scatter",
    attrs={"shape": integers, **_ATTRS},
    type_rule=_scatter_type,
    reference=_scatter_reference,
    element=_scatter_element,
    reads=lambda g, index, *, window, stride, **attrs: math.prod(window),
    loads=_volume,
    cheap=False,
    batch=by_attrs("window_scatter", shape=sized, **_LEADING),
    grad=lambda t, g, index, *, out, shape, **attrs: (window_gather(t, index, **attrs), None),
    samples=samples(
        reals(),
        indices(2),
        cases=(case((2, 2, 4), (2, 2, 4), shape=(2, 4, 5), **_SMALL), case((4,), (4,), shape=(6,), **_PADDED)),
    ),
)
window_gather: Movement = Movement(
    "window_gather",
    attrs=_ATTRS,
    type_rule=_gather_type,
    reference=_gather_reference,
    element=_gather_element,
    batch=by_attrs("window_gather", **_LEADING),
    grad=lambda g, x, index, *, out, **attrs: (window_scatter(g, index, shape=x.shape, **attrs), None),
    samples=samples(reals(), indices(2), cases=(case((2, 4, 5), (2, 2, 4), **_SMALL), case((6,), (4,), **_PADDED))),
)

POOLS = frozenset({window_max, window_sum, window_argmax})  # what a window makes of its elements
