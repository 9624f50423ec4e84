"""The type of a tensor: dtype, logical shape, physical layout. Sizes are integers, or symbols (`tgc.sizes`)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

import ml_dtypes
import numpy as np

from tgc.errors import DTypeError, ShapeError
from tgc.sizes import Size, hints_of, integer, is_size, key_of

DType: TypeAlias = np.dtype
Shape: TypeAlias = tuple[int, ...]

BOOL, F16, BF16, F32, F64 = (np.dtype(t) for t in (np.bool_, np.float16, ml_dtypes.bfloat16, np.float32, np.float64))
F8E4M3, F8E5M2 = (np.dtype(t) for t in (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2))
C64, C128 = (np.dtype(t) for t in (np.complex64, np.complex128))
I8, I16, I32, I64 = (np.dtype(t) for t in (np.int8, np.int16, np.int32, np.int64))
U8, U16, U32, U64 = (np.dtype(t) for t in (np.uint8, np.uint16, np.uint32, np.uint64))

SHORT_NAMES: dict[DType, str] = {
    BOOL: "bool", U8: "u8", U16: "u16", U32: "u32", U64: "u64", I8: "i8", I16: "i16", I32: "i32", I64: "i64",
    F8E4M3: "f8e4m3", F8E5M2: "f8e5m2", F16: "f16", BF16: "bf16", F32: "f32", F64: "f64", C64: "c64", C128: "c128",
}  # fmt: skip
BY_SHORT_NAME: dict[str, DType] = {name: dtype for dtype, name in SHORT_NAMES.items()}

ALIGNMENT = 64  # bytes, at a multiple of which the arrays of programs begin: a cache line, the widest register
MAX_RANK = 32  # as far as NumPy broadcasts, and as Python nests loops

BOOLS = frozenset({BOOL})
UNSIGNED = frozenset({U8, U16, U32, U64})
INTS = frozenset({I8, I16, I32, I64}) | UNSIGNED
FLOATS = frozenset({F16, BF16, F32, F64})
COMPLEXES = frozenset({C64, C128})
FLOAT8S = frozenset({F8E4M3, F8E5M2})  # storage: cast, moved, selected and compared, never computed with
NARROW = frozenset({F16, BF16}) | FLOAT8S  # computed in float32, where computed with
INEXACT = FLOATS | COMPLEXES
REALS = INTS | FLOATS
NUMBERS = REALS | COMPLEXES
ORDERED = BOOLS | REALS | FLOAT8S
ALL = ORDERED | COMPLEXES


def as_dtype(dtype: object) -> DType:
    """The supported NumPy dtype named by `dtype` (a dtype, scalar type, or short or NumPy name).

    Raises:
        DTypeError: no such dtype, or tgc does not support it.
    """
    if isinstance(dtype, np.dtype) and dtype in SHORT_NAMES:
        return dtype
    if isinstance(dtype, str) and dtype in BY_SHORT_NAME:
        return BY_SHORT_NAME[dtype]
    try:
        found: DType = np.dtype(dtype)  # type: ignore[call-overload]
    except TypeError as error:
        raise DTypeError(f"{dtype!r} is no dtype") from error
    found = found.newbyteorder("=")
    if found not in SHORT_NAMES:
        raise DTypeError(f"dtype {found} is not supported; supported are {', '.join(str(d) for d in SHORT_NAMES)}")
    return found


def is_float(dtype: DType) -> bool:
    """Whether `dtype` is a floating-point dtype (bfloat16 and float8 included)."""
    return dtype in FLOATS or dtype in FLOAT8S


def is_inexact(dtype: DType) -> bool:
    """Whether `dtype` is of floating-point numbers, real or complex: what has gradients."""
    return dtype in INEXACT or dtype in FLOAT8S


def is_complex(dtype: DType) -> bool:
    """Whether `dtype` is of complex numbers."""
    return dtype in COMPLEXES


def real_dtype(dtype: DType) -> DType:
    """The dtype of the parts of complex numbers; any other one is itself."""
    return {C64: F32, C128: F64}.get(dtype, dtype)


def complex_dtype(dtype: DType) -> DType:
    """The dtype of complex numbers whose parts hold numbers of `dtype`."""
    return dtype if dtype in COMPLEXES else C64 if dtype in (F16, BF16, F32) else C128


@dataclass(frozen=True, slots=True)
class Layout:
    """How a logical tensor lies in memory.

    `order` lists the logical axes from slowest to fastest. Each tile `(axis, size)` then splits `axis` into
    ceil(n / size) blocks (which keep the axis's place in `order`) and an inner axis of `size`, placed after all others
    and padded with zeros. `Layout((1, 0), ((1, 64),))` of a [K, N] matrix is the packed form [N/64][K][64].
    """

    order: tuple[int, ...]
    tiles: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        tiles = "".join(f";{axis}:{size}" for axis, size in self.tiles)
        return "{" + ",".join(map(str, self.order)) + tiles + "}"


@dataclass(frozen=True, slots=True)
class TensorType:
    """dtype, logical shape and layout (None is row-major) of a tensor; printed as `f32[8,32]{1,0}`.

    Raises:
        ShapeError: more than MAX_RANK axes.
    """

    dtype: DType
    shape: Shape
    layout: Layout | None = None
    _hash: int | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.shape) > MAX_RANK:
            raise ShapeError(f"a tensor has at most {MAX_RANK} axes, not {len(self.shape)}")

    def __hash__(self) -> int:
        if self._hash is None:
            shape = key_of(self.shape) if self.symbolic else self.shape
            object.__setattr__(self, "_hash", hash((self.dtype, shape, self.layout)))
        return self._hash  # type: ignore[return-value]

    def __str__(self) -> str:
        shape = ",".join(map(str, hints_of(self.shape)))  # a text for readers decides nothing
        return f"{SHORT_NAMES[self.dtype]}[{shape}]{self.layout or ''}"

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def symbolic(self) -> bool:
        """Whether a size is a symbol."""
        return any(is_size(n) for n in self.shape)

    @property
    def size(self) -> int:
        """Number of logical elements."""
        return math.prod(self.shape)

    @property
    def storage(self) -> Shape:
        """The physical, row-major shape in memory, padding included."""
        if self.layout is None:
            return self.shape
        sizes = dict(self.layout.tiles)
        blocks = (-(-self.shape[a] // sizes.get(a, 1)) for a in self.layout.order)
        return (*blocks, *(size for _, size in self.layout.tiles))

    @property
    def nbytes(self) -> int:
        """Bytes in memory, padding included."""
        return math.prod(self.storage) * self.dtype.itemsize

    def with_layout(self, layout: Layout | None) -> TensorType:
        """The same logical tensor lying otherwise in memory; a row-major `layout` becomes None."""
        if layout is not None and not layout.tiles and layout.order == tuple(range(self.rank)):
            layout = None
        return TensorType(self.dtype, self.shape, layout)


def tensor_type(dtype: object, shape: Iterable[int]) -> TensorType:
    """A row-major `TensorType` from anything that names a dtype and a shape, both checked."""
    dims = []
    for n in shape:
        if isinstance(n, bool) or not isinstance(n, int | np.integer | Size):
            raise ShapeError(f"a shape holds integers, not {n!r}")
        if n < 0:
            raise ShapeError(f"a shape holds no negative sizes, got {n}")
        dims.append(integer(n))
    return TensorType(as_dtype(dtype), tuple(dims))


def type_of(array: np.ndarray) -> TensorType:
    """The row-major type of a NumPy array."""
    return tensor_type(array.dtype, array.shape)
