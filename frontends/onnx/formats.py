"""Element types of ONNX that tgc has no dtype for: integers of 2 and 4 bits, floats of 4, 6 and 8.

A tensor of such a type is `Coded`: one u8 code an element, and the dtype of ml_dtypes that gives codes their numbers.
`Coded` is a pytree, so that `tgc.jit`, `tgc.control.cond` and `scan` take and return it. Arrays of ml_dtypes that enter
and leave a model are turned by `enter` and `leave`. Rules see `Coded` in three ways:

    casts               `convert(x, to)` goes from any numbers to any numbers, these types included
    arithmetic          `decoded(x)` gives float32 (or the dtype asked for), exactly, and any other tensor as it is
    movement            `by_codes` applies a rule to the codes; the operators of `MOVEMENT` may see no numbers

Decoding takes numbers from a table of at most 256. Encoding a float finds the edges, midway between two neighbours of
the table, that its magnitude lies between: ties go to the even code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np
import optree
from onnx import helper

from tgc import numpy as tnp
from tgc.frontends.onnx.errors import UnsupportedOperatorError
from tgc.frontends.onnx.values import Tensor
from tgc.types import F32, F64, FLOAT8S, I32, SHORT_NAMES, U8, DType

# Operators that move elements without looking at them.
MOVEMENT = frozenset({
    "CenterCropPad", "Compress", "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND",
    "Identity", "Pad", "Reshape", "ReverseSequence", "ScatterElements", "ScatterND", "Slice", "SpaceToDepth", "Split",
    "Squeeze", "Tile", "Transpose", "Trilu", "Unsqueeze", "Where",
})  # fmt: skip


@dataclass(frozen=True, eq=False)
class Format:
    """How the codes of one dtype of ml_dtypes are read.

    Attributes:
        bits: of a code.
        integer, signed: whether numbers are integers; whether the highest bit is a sign.
        clipped: whether there is no code for what lies beyond the largest number, so that all conversions saturate.
    """

    dtype: DType
    bits: int
    integer: bool
    signed: bool
    clipped: bool = False

    @cached_property
    def table(self) -> np.ndarray:
        """float32[2**bits]: the number of each code."""
        return np.arange(2**self.bits, dtype=np.uint8).view(self.dtype).astype(np.float32)

    @cached_property
    def magnitudes(self) -> np.ndarray:
        """float64: the finite numbers without a sign, ascending by code."""
        values = self.table[: 2 ** (self.bits - self.signed)].astype(np.float64)
        return values[: np.isfinite(values).argmin() or len(values)]

    @cached_property
    def other(self) -> int:
        """The code of what is no number; 0 where there is none."""
        return int(np.isnan(self.table).argmax())

    @property
    def limits(self) -> tuple[int, int]:
        """The least and largest of integers."""
        return int(self.table.min()), int(self.table.max())


def _float(name: str, bits: int, **attrs: bool) -> Format:
    return Format(np.dtype(getattr(ml_dtypes, name)), bits, integer=False, **{"signed": True, **attrs})


FORMATS = {
    f.dtype: f
    for f in (
        *(Format(np.dtype(getattr(ml_dtypes, f"uint{n}")), n, integer=True, signed=False) for n in (2, 4)),
        *(Format(np.dtype(getattr(ml_dtypes, f"int{n}")), n, integer=True, signed=True) for n in (2, 4)),
        _float("float4_e2m1fn", 4, clipped=True),
        _float("float6_e2m3fn", 6, clipped=True),
        _float("float6_e3m2fn", 6, clipped=True),
        _float("float8_e4m3fnuz", 8),
        _float("float8_e5m2fnuz", 8),
        _float("float8_e8m0fnu", 8, signed=False),
    )
}


@dataclass(frozen=True, eq=False)
class Coded:
    """A tensor of an element type that tgc has no dtype for: u8 `codes`, a tracer or a NumPy array, and a `dtype`."""

    codes: Tensor
    dtype: DType

    @property
    def format(self) -> Format:
        return FORMATS[self.dtype]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.codes.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)


def _flattened(x: Any) -> tuple[tuple[Tensor], DType]:
    return (x.codes,), x.dtype


def _unflattened(dtype: Any, children: Any) -> Any:
    (codes,) = children
    return Coded(codes, dtype)


_class: Any = Coded
optree.register_pytree_node(_class, _flattened, _unflattened, namespace=optree.registry.__GLOBAL_NAMESPACE)


def dtype_of(elem_type: int) -> DType:
    """The dtype, tgc's or one of `FORMATS`, that ONNX gives the number `elem_type`.

    Raises:
        UnsupportedOperatorError: it is that of no numbers.
    """
    dtype: DType = np.dtype(helper.tensor_dtype_to_np_dtype(elem_type))
    if dtype not in SHORT_NAMES and dtype not in FORMATS:
        raise UnsupportedOperatorError(f"element type {elem_type} ({dtype}) is not one of numbers")
    return dtype


def enter(x: Any) -> Any:
    """A NumPy array of one of `FORMATS` as `Coded`; anything else as it is."""
    if not isinstance(x, np.ndarray) or x.dtype not in FORMATS:
        return x
    bits = FORMATS[x.dtype].bits
    return Coded(np.ascontiguousarray(x).view(np.uint8).reshape(x.shape) & np.uint8(2**bits - 1), x.dtype)


def leave(x: Any) -> Any:
    """The NumPy array, of a dtype of ml_dtypes, that known `Coded` stands for; anything else as it is."""
    return np.asarray(x.codes).view(x.dtype) if isinstance(x, Coded) else x


def by_codes(function: Callable[..., Any], *operands: Any, **attributes: Any) -> Any:
    """What a rule of `MOVEMENT` makes of operands, those that are `Coded` moved as codes; the results are `Coded`."""
    dtypes = {x.dtype for x in operands if isinstance(x, Coded)}
    (dtype,) = dtypes
    made = function(*(x.codes if isinstance(x, Coded) else x for x in operands), **attributes)
    return tuple(Coded(y, dtype) for y in made) if isinstance(made, tuple) else Coded(made, dtype)


def decoded(x: Any, dtype: DType | None = None) -> Tensor:
    """The numbers of `Coded`, by default in float32, which holds them exactly; any other tensor as it is.

    A `dtype` asked for applies to both.
    """
    if not isinstance(x, Coded):
        return x if dtype is None else tnp.astype(x, dtype)
    return tnp.take(x.format.table.astype(F32 if dtype is None else dtype), x.codes)


def convert(x: Any, to: DType, *, saturate: bool = True, round_mode: str = "up") -> Any:
    """ONNX Cast between numbers: `x` in the dtype `to`, which may be one of `FORMATS`.

    Args:
        saturate: what lies beyond the largest float of 8 bits becomes that, else what is no number, or infinite. To
            integers, floats are cut towards zero and keep their low bits.
        round_mode: to float8e8m0: "up", "down" or "nearest" (ties up).
    """
    if isinstance(x, Coded) and x.dtype == to:
        return x
    x = decoded(x)
    if to in FLOAT8S:
        limit = float(ml_dtypes.finfo(to).max)  # type: ignore[no-untyped-call]
        return tnp.astype(tnp.clip(_wide(x), -limit, limit) if saturate else x, to)
    if to not in FORMATS:
        return tnp.astype(x, to)
    form = FORMATS[to]
    if form.integer:
        return encoded_integers(tnp.astype(x, I32), to)
    wide = _wide(x)
    return Coded(_exponents(form, wide, saturate, round_mode) if not form.signed else _floats(form, wide, saturate), to)


def encoded_integers(x: Tensor, to: DType) -> Coded:
    """The low bits of integers."""
    return Coded(tnp.astype(tnp.bitwise_and(x, 2 ** FORMATS[to].bits - 1), U8), to)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == F64 else tnp.astype(x, F32)


def _edges(form: Format, dtype: DType, saturate: bool) -> np.ndarray:
    """[codes]: a magnitude above the first k of these, and no more, has the code k; ties to even."""
    values = form.magnitudes
    if not saturate and not form.clipped:  # the next number, if there were one
        values = np.append(values, 2 * values[-1] - values[-2])
    edges: np.ndarray = ((values[1:] + values[:-1]) / 2).astype(dtype)
    edges[1::2] = np.nextafter(edges[1::2], dtype.type(0))  # below an odd code, a tie goes up
    return edges


def _floats(form: Format, x: Tensor, saturate: bool) -> Tensor:
    place = tnp.searchsorted(_edges(form, x.dtype, saturate), tnp.absolute(x))
    sign = tnp.where(tnp.signbit(x), 2 ** (form.bits - 1), 0)
    if form.other:  # -0 is the code of what is no number, so that there is no negative zero
        code = tnp.where(place == 0, 0, place + sign)
        beyond = tnp.logical_or(tnp.isnan(x), place == len(form.magnitudes))
        return tnp.astype(tnp.where(beyond, form.other, code), U8)
    return tnp.astype(tnp.where(tnp.isnan(x), 0, place) + sign, U8)


def _exponents(form: Format, x: Tensor, saturate: bool, round_mode: str) -> Tensor:
    """Powers of two, whose codes are their exponents."""
    values = form.magnitudes
    match round_mode:
        case "up":
            place = tnp.searchsorted(values.astype(x.dtype), x)
        case "down":
            place = tnp.maximum(tnp.searchsorted(values.astype(x.dtype), x, side="right") - 1, 0)
        case "nearest":
            edges = ((values[1:] + values[:-1]) / 2).astype(x.dtype)
            place = tnp.searchsorted(edges, x, side="right")
        case _:
            raise UnsupportedOperatorError(f"round_mode is 'up', 'down' or 'nearest', not {round_mode!r}")
    most = len(values) - 1
    beyond = tnp.isnan(x) if saturate else tnp.logical_or(tnp.isnan(x), x > values[-1])
    return tnp.astype(tnp.where(beyond, form.other, tnp.minimum(place, most)), U8)
