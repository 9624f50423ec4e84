"""Reductions, places of extremes, and cumulative sums and products."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tgc import nn
from tgc import numpy as tnp
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Array, Tensor

Axes = tuple[int, ...]
Reduction = Callable[[Tensor, Axes, bool], Tensor]


def _floating(reduction: Reduction) -> Reduction:
    """A reduction that is computed in floats: of integers in float64, of half precision in float32."""

    def rule(x: Tensor, axes: Axes, keepdims: bool) -> Tensor:
        half = x.dtype.itemsize == 2 and x.dtype.kind not in "iu"
        wide = tnp.astype(x, np.float64 if x.dtype.kind in "iu" else np.float32 if half else x.dtype)
        return tnp.astype(reduction(wide, axes, keepdims), x.dtype)

    return rule


def _extreme(fold: Reduction, of_booleans: Reduction, sign: int) -> Reduction:
    """An extreme, of no elements the one that is beyond all others."""

    def rule(x: Tensor, axes: Axes, keepdims: bool) -> Tensor:
        if x.dtype == bool:
            return of_booleans(x, axes, keepdims)
        if any(x.shape[a] == 0 for a in axes):
            info = np.iinfo(x.dtype) if x.dtype.kind in "iu" else None
            last = sign * np.inf if info is None else info.min if sign < 0 else info.max
            x = tnp.full(tuple(1 if a in axes else n for a, n in enumerate(x.shape)), last, dtype=x.dtype)
        return fold(x, axes, keepdims)

    return rule


def _sum(x: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    return tnp.sum(x, axes, x.dtype, keepdims=keepdims)


_REDUCTIONS: dict[str, Reduction] = {
    "ReduceSum": _sum,
    "ReduceProd": lambda x, axes, keepdims: tnp.prod(x, axes, x.dtype, keepdims=keepdims),
    "ReduceMean": _floating(lambda x, axes, keepdims: tnp.mean(x, axes, keepdims=keepdims)),
    "ReduceMax": _extreme(
        lambda x, axes, keepdims: tnp.max(x, axes, keepdims=keepdims),
        lambda x, axes, keepdims: tnp.any(x, axes, keepdims=keepdims),
        -1,
    ),
    "ReduceMin": _extreme(
        lambda x, axes, keepdims: tnp.min(x, axes, keepdims=keepdims),
        lambda x, axes, keepdims: tnp.all(x, axes, keepdims=keepdims),
        1,
    ),
    "ReduceL1": lambda x, axes, keepdims: _sum(tnp.abs(x), axes, keepdims),
    "ReduceL2": _floating(lambda x, axes, keepdims: tnp.sqrt(_sum(tnp.square(x), axes, keepdims))),
    "ReduceSumSquare": lambda x, axes, keepdims: _sum(tnp.square(x), axes, keepdims),
    "ReduceLogSum": _floating(lambda x, axes, keepdims: tnp.log(_sum(x, axes, keepdims))),
    "ReduceLogSumExp": _floating(
        lambda x, axes, keepdims: (
            tnp.log(_sum(tnp.exp(x), axes, keepdims)) if x.size == 0 else nn.logsumexp(x, axes, keepdims)
        )
    ),
}


def _enter(name: str, reduction: Reduction) -> None:
    """Enter the rules of a reduction: axes were an attribute until opset 17, of ReduceSum until 12."""

    def reduced(data: Tensor, axes: Sequence[int], keepdims: int, whole: bool) -> Tensor:
        chosen = sorted({int(a) % data.ndim for a in axes}) if len(axes) else range(data.ndim) if whole else ()
        return reduction(data, tuple(chosen), bool(keepdims))

    @converts(name, since=13 if name == "ReduceSum" else 18, static=["axes"])
    def by_input(
        data: Tensor, axes: Array | None = None, /, *, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Tensor:
        return reduced(data, () if axes is None else axes.tolist(), keepdims, not noop_with_empty_axes)

    @converts(name)
    def by_attribute(data: Tensor, /, *, axes: tuple[int, ...] = (), keepdims: int = 1) -> Tensor:
        return reduced(data, axes, keepdims, True)


for _name, _reduction in _REDUCTIONS.items():
    _enter(_name, _reduction)


def _enter_place(name: str, place: Callable[..., Tensor]) -> None:
    @converts(name)
    def rule(data: Tensor, /, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
        if not select_last_index:
            return place(data, axis, keepdims=bool(keepdims))
        return data.shape[axis] - 1 - place(tnp.flip(data, axis), axis, keepdims=bool(keepdims))


for _name, _place in {"ArgMax": tnp.argmax, "ArgMin": tnp.argmin}.items():
    _enter_place(_name, _place)


def _enter_cumulative(name: str, since: int, cumulative: Callable[..., Tensor], neutral: int) -> None:
    @converts(name, since=since, static=["axis"])
    def rule(x: Tensor, axis: Array, /, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
        along = int(axis.item()) % x.ndim
        y = tnp.flip(x, along) if reverse else x
        if exclusive:
            first = tuple(min(n, 1) if a == along else n for a, n in enumerate(x.shape))
            before = y[(slice(None),) * along + (slice(-1),)]
            y = tnp.concatenate([tnp.full(first, neutral, dtype=x.dtype), before], along)
        y = cumulative(y, along, x.dtype)
        return tnp.flip(y, along) if reverse else y


_enter_cumulative("CumSum", 11, tnp.cumsum, 0)
_enter_cumulative("CumProd", 26, tnp.cumprod, 1)
