"""The namespace `tgc.numpy` with every call compiled: arrays become tracers under `tgc.jit`, all else is static.

Functions that must see numbers (those whose result's shape depends on them), and what is no function of arrays, are
called as they are.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import optree

import tgc
import tgc.numpy

EAGER = {
    "__array_namespace_info__", "argwhere", "array_equal", "asarray", "astype", "can_cast", "extract", "finfo",
    "from_dlpack", "iinfo", "isdtype", "nonzero", "repeat", "result_type", "unique_all", "unique_counts",
    "unique_inverse", "unique_values",
}  # fmt: skip


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, each call of which is traced and compiled."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = optree.tree_flatten((args, kwargs), none_is_leaf=True)  # type: ignore[arg-type]
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, np.ndarray | np.generic)]

        def body(*arrays: Any) -> Any:
            given = list(leaves)
            for i, array in zip(places, arrays, strict=True):
                given[i] = array
            positional, named = optree.tree_unflatten(structure, given)
            return function(*positional, **named)

        return tgc.jit(body)(*(np.asarray(leaves[i]) for i in places))

    return call


for _name, _value in vars(tgc.numpy).items():
    globals()[_name] = compiled(_value) if inspect.isfunction(_value) and _name not in EAGER else _value
for _extension in ("linalg", "fft"):
    if hasattr(tgc.numpy, _extension):
        _space = type(_extension, (), {})()
        for _name, _value in vars(getattr(tgc.numpy, _extension)).items():
            setattr(_space, _name, compiled(_value) if inspect.isfunction(_value) else _value)
        globals()[_extension] = _space
