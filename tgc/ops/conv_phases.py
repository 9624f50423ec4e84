"""The input gradient of a convolution as convolutions of stride one.

Along one axis the cotangent at place h reaches x through place k of the kernel where x + low = h * stride +
k * dilation. With x + shift = q * stride + phase, all x of one phase are reached through the same k, every stride-th:
their gradient is a convolution of stride one of the cotangent with those places of the kernel, reversed. Phases whose
windows coincide are further filters of the same convolution. At the end the phases take turns along the axis; without
overlap (kernel <= stride) there is one window of one place, and the whole is a matrix product (Shi et al. 2016, "Is the
deconvolution layer the same as a convolutional layer?").
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tgc.ops.batch import primitive
from tgc.ops.creation import fill
from tgc.ops.movement import concat, pad, reshape, reverse, slice_, transpose

COLUMNS = 16  # of a result that cost as much as one: phases of few channels share a window, with zeros, to fill them


@dataclass(frozen=True)
class Axis:
    """One spatial axis: its size in the input and in the result, and the convolution's attributes.

    Stride and dilation have no divisor in common.
    """

    size: int
    result: int
    kernel: int
    stride: int
    low: int
    dilation: int


@dataclass(frozen=True)
class Run:
    """Neighbouring phases that share a window of the cotangent.

    Attributes:
        count: how many phases; several only if the dilation is one.
        taps: of the window; 0 if nothing reaches these phases.
        first: the place of its first tap, less q.
        place: what the first phase reads under the last tap, a place of the kernel; stride more at each earlier one.
    """

    count: int
    taps: int
    first: int = 0
    place: int = 0


@dataclass(frozen=True)
class Plan:
    """An axis cut into runs of phases, of which the first begins `shift` before the axis."""

    axis: Axis
    shift: int
    runs: tuple[Run, ...]

    @property
    def points(self) -> int:
        """Of each phase."""
        return -(-(self.axis.size + self.shift) // self.axis.stride)

    @property
    def first(self) -> int:
        """The first place of any window, less q."""
        return min(r.first for r in self.runs if r.taps)

    @property
    def last(self) -> int:
        """The last one, less q."""
        return max(r.first + (r.taps - 1) * self.axis.dilation for r in self.runs if r.taps)


def _plan(axis: Axis, shift: int, merge: bool) -> Plan:
    """Phases with equal windows together, or all that anything reaches, if `merge` and the dilation is one."""
    windows: list[list[tuple[int, int]]] = []  # of each phase: (place in the cotangent, less q, place in the kernel)
    for phase in range(axis.stride):
        reached = [(phase - shift + axis.low - k * axis.dilation, k) for k in reversed(range(axis.kernel))]
        windows.append([(at // axis.stride, k) for at, k in reached if at % axis.stride == 0])

    def window(w: list[tuple[int, int]]) -> Any:
        return bool(w) if merge or not w else (w[0][0], w[-1][0])

    runs = []
    together = [[w] for w in windows] if axis.dilation > 1 else [list(v) for _, v in itertools.groupby(windows, window)]
    for same in together:
        if not same[0]:
            runs.append(Run(len(same), 0))
            continue
        first, last = min(w[0][0] for w in same), max(w[-1][0] for w in same)
        at, k = same[0][-1]
        place = k - (last - at) // axis.dilation * axis.stride
        runs.append(Run(len(same), (last - first) // axis.dilation + 1, first, place))
    return Plan(axis, shift, tuple(runs))


def _cost(plans: Sequence[Plan], channels: int, columns: int) -> int:
    """Multiplications for each point of a phase, in register tiles of `columns`."""
    return sum(
        math.prod(r.taps for r in runs) * -(-math.prod(r.count for r in runs) * channels // columns) * columns
        for runs in itertools.product(*(p.runs for p in plans))
    )


def _alternating(a: Sequence[int], b: Sequence[int]) -> list[int]:
    """An entry of `a`, one of `b`, and so on."""
    return [x for pair in zip(a, b, strict=True) for x in pair]


def _filters(w: Any, plans: Sequence[Plan], runs: Sequence[Run], groups: int) -> Any:
    """[*kernel, c, g*o] -> [*taps, o, g*count*c]: what a part's taps read of the kernel."""
    *kernel, c, o = w.shape
    rank, o = len(kernel), o // groups
    strides, taps, counts = [p.axis.stride for p in plans], [r.taps for r in runs], [r.count for r in runs]
    if math.prod(counts) == 1:  # strided, as it lies in memory
        stop = [r.place + (r.taps - 1) * s + 1 for r, s in zip(runs, strides, strict=True)]
        w = slice_(w, start=(*(r.place for r in runs), 0, 0), stop=(*stop, *w.shape[-2:]), step=(*strides, 1, 1))
    else:
        low = [-r.place for r in runs]
        high = [r.place + r.taps * s - k for r, s, k in zip(runs, strides, kernel, strict=True)]
        w = pad(w, low=(*low, 0, 0), high=(*high, 0, 0), interior=(0,) * (rank + 2), value=0)
        w = reshape(w, shape=(*_alternating(taps, strides), *w.shape[-2:]))
        stop = [*_alternating(taps, counts), *w.shape[-2:]]
        w = slice_(w, start=(0,) * len(stop), stop=stop, step=(1,) * len(stop))
    if groups == 1 and math.prod(counts) == 1:
        return reverse(transpose(w, perm=(*range(rank), rank + 1, rank)), axes=tuple(range(rank)))
    w = reshape(w, shape=(*_alternating(taps, counts), c, groups, o))
    inner = 2 * rank  # the first axis that is not spatial
    perm = (*range(0, inner, 2), inner + 2, inner + 1, *range(1, inner, 2), inner)
    w = reverse(transpose(w, perm=perm), axes=tuple(range(rank)))
    return reshape(w, shape=(*taps, o, groups * math.prod(counts) * c))


def _around(g: Any, plans: Sequence[Plan]) -> Any:
    """All places of the cotangent that any window has, with zeros beyond its ends."""
    low = [-p.first for p in plans]
    high = [p.points + p.last - p.axis.result for p in plans]
    return pad(g, low=(0, *low, 0), high=(0, *high, 0), interior=(0,) * len(g.shape), value=0)


def _part(g: Any, w: Any, plans: Sequence[Plan], runs: Sequence[Run], groups: int) -> Any:
    """[n, points, count, ..., channels]: the gradient at some phases of each axis."""
    n, channels = g.shape[0], w.shape[-2] * groups
    rank, counts = len(plans), [r.count for r in runs]
    if not all(r.taps for r in runs):
        return fill((n, *_alternating([p.points for p in plans], counts), channels), g.dtype, 0)
    attrs = dict(stride=(1,) * rank, padding=((0, 0),) * rank, dilation=tuple(p.axis.dilation for p in plans))
    part = primitive("conv")(_around(g, plans), _filters(w, plans, runs, groups), groups=groups, **attrs)
    points = part.shape[1:-1]  # some more than the plan's where other runs have longer windows
    if math.prod(counts) > 1:
        outer = (groups,) * (groups > 1)
        part = reshape(part, shape=(n, *points, *outer, *counts, channels // groups))
        first = 1 + rank + len(outer)  # of the axes of phases
        spatial = _alternating(range(1, 1 + rank), range(first, first + rank))
        part = transpose(part, perm=(0, *spatial, *range(1 + rank, first), first + rank))
    part = reshape(part, shape=(n, *_alternating(points, counts), channels))
    start = [r.first - p.first for r, p in zip(runs, plans, strict=True)]
    stop = _alternating([a + p.points for a, p in zip(start, plans, strict=True)], counts)
    start = _alternating(start, (0,) * rank)
    return slice_(part, start=(0, *start, 0), stop=(n, *stop, channels), step=(1,) * len(part.shape))


def _interleaved(g: Any, w: Any, plans: Sequence[Plan], groups: int, runs: tuple[Run, ...] = ()) -> Any:
    """The parts of all phases beside each other, those of the axes after `runs`."""
    axis = len(runs)
    if axis == len(plans):
        return _part(g, w, plans, runs, groups)
    parts = [_interleaved(g, w, plans, groups, (*runs, run)) for run in plans[axis].runs]
    return concat(*parts, axis=2 + 2 * axis) if len(parts) > 1 else parts[0]


def conv_input_grad(g: Any, w: Any, *, shape: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """Cotangent of a convolution's input of `shape`, where `g` is that of its result."""
    dilation = [s if k == 1 else d for k, s, d in zip(w.shape[:-2], stride, dilation, strict=True)]
    common = [math.gcd(s, d) for s, d in zip(stride, dilation, strict=True)]
    # nothing reaches other places than start, start + common, ...
    start = [-p[0] % c for p, c in zip(padding, common, strict=True)]
    sizes = [-(-max(n - a, 0) // c) for n, a, c in zip(shape[1:-1], start, common, strict=True)]
    if 0 in (*shape, *g.shape, *sizes):
        return fill(shape, g.dtype, 0)
    axes = [
        Axis(n, m, k, s // c, (p[0] + a) // c, d // c)
        for n, m, k, s, p, a, d, c in zip(
            sizes, g.shape[1:-1], w.shape[:-2], stride, padding, start, dilation, common, strict=True
        )
    ]
    reached = _input_grad(g, w, axes, groups)
    if all(c == 1 for c in common):
        return reached
    high = [n - a - (m - 1) * c - 1 for n, a, m, c in zip(shape[1:-1], start, sizes, common, strict=True)]
    return pad(reached, low=(0, *start, 0), high=(0, *high, 0), interior=(0, *(c - 1 for c in common), 0), value=0)


def _input_grad(g: Any, w: Any, axes: Sequence[Axis], groups: int) -> Any:
    """The gradient for axes whose stride and dilation have no divisor in common, by the cheapest plans."""
    n, channels = g.shape[0], w.shape[-2]
    columns = 1 if channels == 1 and groups > 1 else COLUMNS  # depthwise: lanes are groups

    def cut(shifts: Sequence[int], merge: bool) -> list[Plan]:
        return [_plan(axis, shift, merge) for axis, shift in zip(axes, shifts, strict=True)]

    starts = itertools.product(*(dict.fromkeys((0, a.low % a.stride)) for a in axes))
    choices = [cut(shifts, merge) for shifts in starts for merge in (False, True)]
    plans = min(choices, key=lambda plans: _cost(plans, channels, columns))
    phases = _interleaved(g, w, plans, groups)
    whole = reshape(phases, shape=(n, *(p.points * p.axis.stride for p in plans), channels * groups))
    start, stop = [p.shift for p in plans], [p.shift + p.axis.size for p in plans]
    return slice_(whole, start=(0, *start, 0), stop=(n, *stop, channels * groups), step=(1,) * len(whole.shape))


__all__ = ["conv_input_grad"]
