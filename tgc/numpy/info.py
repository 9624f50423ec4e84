"""What a program may ask about an array, and, by the array API standard, about a namespace.

https://data-apis.org/array-api/2024.12/API_specification/inspection.html
"""

from __future__ import annotations

import math
from typing import Any

from tgc.numpy.base import ArrayLike, as_array, axes_of, check_device
from tgc.numpy.dtypes import isdtype
from tgc.types import F64, I64, SHORT_NAMES, DType, as_dtype

__all__ = ["__array_api_version__", "__array_namespace_info__", "ndim", "shape", "size"]

__array_api_version__ = "2024.12"
STANDARD = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64", "complex64",
    "complex128",
)  # fmt: skip


class Info:
    """Capabilities, devices and dtypes."""

    def capabilities(self) -> dict[str, Any]:
        """What depends on values works on arrays, not on tracers; tensors have at most 32 axes."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 32}

    def default_device(self) -> str:
        """The device of eager arrays."""
        return "cpu"

    def devices(self) -> list[str]:
        """The devices of eager arrays."""
        return ["cpu"]

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType]:
        """What creation functions make without a dtype."""
        check_device("default_dtypes", device)
        defaults = {"real floating": F64, "complex floating": "complex128", "integral": I64, "indexing": I64}
        return {kind: as_dtype(dtype) for kind, dtype in defaults.items()}

    def dtypes(self, *, device: Any = None, kind: str | tuple[str, ...] | None = None) -> dict[str, DType]:
        """The standard's dtypes by name, those of a kind (see `isdtype`) if one is given."""
        check_device("dtypes", device)
        found = {d.name: d for d in SHORT_NAMES if d.name in STANDARD}
        return {
            name: found[name] for name in STANDARD if name in found and (kind is None or isdtype(found[name], kind))
        }


def __array_namespace_info__() -> Info:  # noqa: N807
    """Capabilities, devices and dtypes of this namespace."""
    return Info()


def ndim(a: ArrayLike) -> int:
    """The number of axes."""
    return len(shape(a))


def shape(a: ArrayLike) -> tuple[int, ...]:
    """The sizes of the axes."""
    return tuple(as_array(a).shape)


def size(a: ArrayLike, axis: int | None = None) -> int:
    """The number of elements, or the size of one axis."""
    x = as_array(a)
    return math.prod(x.shape[i] for i in axes_of("size", x, axis))
