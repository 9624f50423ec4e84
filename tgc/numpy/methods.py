"""NumPy's array methods on tracers, from the functions of this package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tgc.numpy
from tgc.errors import AttributeSpecError
from tgc.numpy import (
    complexes,
    cumulative,
    elementwise,
    indexing,
    manipulation,
    matrices,
    products,
    reductions,
    searching,
    sorting,
    updates,
)
from tgc.numpy.base import check_device
from tgc.trace import Tracer

METHODS: dict[str, Callable[..., Any]] = {
    name: getattr(module, name)
    for module, names in {
        reductions: ("all", "any", "argmax", "argmin", "max", "mean", "min", "prod", "ptp", "std", "sum", "var"),
        sorting: ("argpartition", "argsort", "partition", "searchsorted", "sort"),
        cumulative: ("cumprod", "cumsum"),
        complexes: ("conj", "conjugate"),
        elementwise: ("clip", "round"),
        manipulation: ("ravel", "repeat", "squeeze", "swapaxes"),
        matrices: ("diagonal",),
        products: ("dot",),
        searching: ("choose", "compress", "nonzero"),
        indexing: ("take",),
    }.items()
    for name in names
} | {"flatten": manipulation.ravel, "copy": lambda x: x}


def _namespace(x: Tracer, /, *, api_version: str | None = None) -> Any:
    """`tgc.numpy`, which follows the array API standard."""
    if api_version not in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
        raise AttributeSpecError(f"tgc.numpy follows version 2024.12 of the array API standard, not {api_version!r}")
    return tgc.numpy


def _to_device(x: Tracer, device: Any, /, *, stream: Any = None) -> Tracer:
    """`x` itself: there is one device."""
    check_device("to_device", device)
    return x


def _divmod(x: Any, y: Any) -> Any:
    return elementwise.divmod(x, y)


def install() -> None:
    """Give tracers the methods."""
    for name, function in METHODS.items():
        setattr(Tracer, name, function)
    added: dict[str, Any] = {
        "__array_namespace__": _namespace,
        "to_device": _to_device,
        "real": property(complexes.real),
        "imag": property(complexes.imag),
        "device": property(lambda x: "cpu"),
        "mT": property(manipulation.matrix_transpose),
        "itemsize": property(lambda x: x.dtype.itemsize),
        "nbytes": property(lambda x: x.size * x.dtype.itemsize),
        "__divmod__": _divmod,
        "__rdivmod__": lambda x, y: _divmod(y, x),
        "at": property(updates.at),
    }
    for name, value in added.items():
        setattr(Tracer, name, value)
