"""Evaluation of a function of arrays in every way it can be called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from tgc.composite import composed
from tgc.interpret import interpret
from tgc.ir import Graph
from tgc.trace import trace
from tgc.types import type_of


def graph_of(f: Callable[..., Any], *arrays: np.ndarray) -> Graph:
    """The graph of `f`, which returns one tensor or a sequence of them."""

    def listed(*xs: Any) -> list[Any]:
        out = f(*xs)
        return list(out) if isinstance(out, list | tuple) else [out]

    return trace(listed, [type_of(np.asarray(a)) for a in arrays])


def _wide(x: np.ndarray) -> np.ndarray:
    """`x` in double precision."""
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


def both(f: Callable[..., Any], *arrays: np.ndarray) -> list[np.ndarray]:
    """The results of `f`, applied to NumPy arrays; its trace must compute the same."""
    out = f(*arrays)
    eager = [np.asarray(y) for y in (out if isinstance(out, list | tuple) else [out])]
    traced = interpret(graph_of(f, *arrays), *map(np.asarray, arrays))
    assert [(y.dtype, y.shape) for y in traced] == [(y.dtype, y.shape) for y in eager]
    for a, b in zip(traced, eager, strict=True):
        rounding = 0 if a.dtype.kind in "biu" else 8 * float(ml_dtypes.finfo(a.dtype).eps)
        np.testing.assert_allclose(_wide(a), _wide(b), rtol=rounding, atol=rounding)
    return eager


def close(got: Any, want: Any, tolerance: float = 1e-12) -> None:
    """Equal up to `tolerance`, relative and absolute, and in shape."""
    want = np.asarray(want)
    assert got.shape == want.shape
    np.testing.assert_allclose(_wide(got), _wide(want), rtol=tolerance, atol=tolerance)


def ops_of(graph: Graph) -> list[str]:
    """Names of the ops of a graph and of its composites, those that only make or place constants aside."""
    names: list[str] = []
    for n in graph.nodes:
        names += ops_of(n.body) if n.op is composed else [n.op.name]
    return [name for name in names if name not in ("full", "broadcast", "reshape", "iota")]
