"""New tensors, in floatx unless a dtype is given; and windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras.src import backend

from tgc import numpy as tnp
from tgc.frontends.keras.ops.promotion import converted, is_number, result_type
from tgc.frontends.keras.ops.tensors import Tensor, cast, convert_to_tensor, numpy_dtype

__all__ = [
    "arange", "array", "bartlett", "blackman", "empty", "empty_like", "eye", "full", "full_like", "geomspace",
    "hamming", "hanning", "identity", "kaiser", "linspace", "logspace", "meshgrid", "ones", "ones_like", "tri",
    "vander", "view", "zeros", "zeros_like",
]  # fmt: skip


empty_like = converted(tnp.empty_like, parameters="x, dtype=None")
ones_like = converted(tnp.ones_like, parameters="x, dtype=None")
zeros_like = converted(tnp.zeros_like, parameters="x, dtype=None")
full_like = converted(tnp.full_like, parameters="x, fill_value, dtype=None")
vander = converted(tnp.vander)


def _filled(function: Callable[..., Any]) -> Callable[..., Any]:
    def make(shape: Any, dtype: Any = None) -> Tensor:
        return function(shape, dtype=numpy_dtype(dtype))

    return make


empty = _filled(tnp.empty)
ones = _filled(tnp.ones)
zeros = _filled(tnp.zeros)


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Tensor:
    """A tensor filled with a number, or with a tensor that broadcasts to `shape`."""
    return tnp.full(shape, convert_to_tensor(fill_value, numpy_dtype(dtype)))


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Tensor:
    """[N, M]: ones on diagonal `k`, zeros elsewhere."""
    return tnp.eye(N, M, k=k, dtype=numpy_dtype(dtype))


def identity(n: int, dtype: Any = None) -> Tensor:
    """[n, n]: ones on the main diagonal, zeros elsewhere."""
    return tnp.identity(n, numpy_dtype(dtype))


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Tensor:
    """[N, M]: ones on and below diagonal `k`, zeros elsewhere."""
    return tnp.tri(N, M, k, dtype=numpy_dtype(dtype))


def array(x: Any, dtype: Any = None) -> Tensor:
    """`x` as a new tensor."""
    return tnp.array(convert_to_tensor(x, dtype))


def view(x: Any, dtype: Any = None) -> Tensor:
    """The bytes of `x` as elements of another dtype; the last axis shrinks or grows with their size."""
    x = convert_to_tensor(x)
    return x if dtype is None else tnp.view(x, numpy_dtype(dtype))


def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None) -> Tensor:
    """start, start + step, ... below `stop`; from zero if only one number is given."""
    given = [x for x in (start, stop, step) if x is not None]
    to = result_type(*given) if dtype is None else dtype
    return tnp.arange(start, stop, 1 if step is None else step, dtype=numpy_dtype(to))


def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """`num` evenly spaced numbers from `start` to `stop`; with `retstep`, also the distance between them."""
    first, last = _ends(start, stop)
    to = result_type(start, stop, float) if dtype is None else dtype
    return tnp.linspace(first, last, num, endpoint, retstep, numpy_dtype(to), axis)


def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10, dtype: Any = None, axis: int = 0
) -> Tensor:
    """`num` numbers from base ** start to base ** stop, evenly spaced on a logarithmic scale."""
    first, last = _ends(start, stop)
    to = result_type(start, stop, float) if dtype is None else dtype
    base = base if is_number(base) else convert_to_tensor(base)
    return tnp.logspace(first, last, num, endpoint, base, numpy_dtype(to), axis)


def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Tensor:
    """`num` numbers from `start` to `stop`, each the same multiple of the one before."""
    first, last = _ends(start, stop)
    to = result_type(start, stop, float) if dtype is None else dtype
    return tnp.geomspace(first, last, num, endpoint, numpy_dtype(to), axis)


def _ends(start: Any, stop: Any) -> list[Tensor]:
    """Both ends in a dtype that spaces numbers well enough."""
    return [convert_to_tensor(x, result_type(start, stop, float, "float32")) for x in (start, stop)]


def meshgrid(*x: Any, indexing: str = "xy") -> list[Tensor]:
    """The coordinates of the points of a grid that vectors span."""
    return list(tnp.meshgrid(*map(convert_to_tensor, x), indexing=indexing))


def _window(function: Callable[..., Any]) -> Callable[..., Any]:
    """A window of a static size in floatx."""

    def window(x: Any) -> Tensor:
        return cast(function(x), backend.floatx())

    return window


bartlett = _window(tnp.bartlett)
blackman = _window(tnp.blackman)
hamming = _window(tnp.hamming)
hanning = _window(tnp.hanning)


def kaiser(x: Any, beta: Any) -> Tensor:
    """A window of `x` numbers whose main lobe widens with `beta`."""
    return cast(tnp.kaiser(x, beta), backend.floatx())
