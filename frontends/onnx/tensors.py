"""Tensors of ONNX files as NumPy arrays: sizes are checked against the data that is there before any is allocated."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from onnx import SparseTensorProto, TensorProto, TypeProto, helper, numpy_helper

from tgc.frontends.onnx.errors import InvalidModelError
from tgc.frontends.onnx.structure import Info

MAX_DENSE = 2**26  # elements of what a sparse tensor becomes
STRING = TensorProto.STRING
_BITS = {
    **dict.fromkeys((TensorProto.UINT4, TensorProto.INT4, TensorProto.FLOAT4E2M1), 4),
    **dict.fromkeys((TensorProto.UINT2, TensorProto.INT2), 2),
}
_FIELDS = {
    "float_data": (TensorProto.FLOAT, TensorProto.COMPLEX64),
    "double_data": (TensorProto.DOUBLE, TensorProto.COMPLEX128),
    "int64_data": (TensorProto.INT64,),
    "uint64_data": (TensorProto.UINT64, TensorProto.UINT32),
    "string_data": (TensorProto.STRING,),
}
_FIELD = {elem: field for field, elems in _FIELDS.items() for elem in elems}
_COMPLEX = (TensorProto.COMPLEX64, TensorProto.COMPLEX128)
_ELEMS = frozenset(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}


def check_text(*names: Any) -> None:
    """Check that names are UTF-8: others come as bytes.

    Raises:
        InvalidModelError: they are not.
    """
    for name in names:
        if not isinstance(name, str):
            raise InvalidModelError(f"the name {name!r} is not UTF-8")


def dtype_of(elem_type: int, what: str) -> np.dtype[np.generic]:
    """NumPy's dtype for an element type; object for strings.

    Raises:
        InvalidModelError: there is no such type.
    """
    if elem_type not in _ELEMS:
        raise InvalidModelError(f"{what} has the element type {elem_type}, which ONNX does not have")
    return np.dtype(object) if elem_type == STRING else np.dtype(helper.tensor_dtype_to_np_dtype(elem_type))


def tensor(proto: TensorProto, folder: Path | None, what: str = "") -> np.ndarray:
    """The array of a tensor.

    Args:
        folder: that of the model's file, in which external data lies.
        what: what messages call the tensor.

    Raises:
        InvalidModelError: the data are not as many as the shape says, or lie outside of the folder.
    """
    check_text(proto.name)
    what = what or f'tensor "{proto.name}"'
    dtype = dtype_of(proto.data_type, what)
    dims = tuple(proto.dims)
    if any(n < 0 for n in dims) or math.prod(n or 1 for n in dims) >= 2**60 or len(dims) > 32:
        raise InvalidModelError(f"{what} has the shape {dims}")
    if proto.HasField("segment"):
        raise InvalidModelError(f"{what} is a segment of a tensor, which is not supported")
    n = math.prod(dims)
    bits = _BITS.get(proto.data_type, 8 * dtype.itemsize)
    size = -(-n * bits // 8)
    if proto.data_location == TensorProto.EXTERNAL:
        data = _external(proto, size, folder, what)
        proto = TensorProto(dims=dims, data_type=proto.data_type, raw_data=data)
    if proto.HasField("raw_data"):
        raw = proto.raw_data  # each look at it is a copy
        if proto.data_type == STRING or len(raw) != size:
            raise InvalidModelError(f"{what} of shape {dims} and type {dtype} has {len(raw)} bytes of data")
        if proto.data_type not in _BITS:
            return np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(dims)
    else:
        field = _FIELD.get(proto.data_type, "int32_data")
        held = len(getattr(proto, field))
        packed = -(-n * bits // 8) if proto.data_type in _BITS else n * (2 if proto.data_type in _COMPLEX else 1)
        if held != packed:
            raise InvalidModelError(f"{what} of shape {dims} and type {dtype} has {held} numbers of data in {field}")
    try:
        if proto.data_type == STRING:
            return np.array([s.decode() for s in proto.string_data], object).reshape(dims)
        with np.errstate(all="ignore"):
            return np.asarray(numpy_helper.to_array(proto)).reshape(dims)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidModelError(f"{what}: {error}") from error


def _external(proto: TensorProto, size: int, folder: Path | None, what: str) -> bytes:
    """The bytes of a tensor that lie in another file, which must be in the model's folder, links followed."""
    entries = {e.key: e.value for e in proto.external_data}
    check_text(*entries.keys(), *entries.values())
    location = entries.get("location", "")
    if folder is None:
        raise InvalidModelError(f"{what} lies in the file {location!r}: load the model by its path")
    root = folder.resolve()
    path = Path(location)
    if not location or "\0" in location or path.is_absolute() or ".." in path.parts:
        raise InvalidModelError(f"{what} lies outside of the model's folder, in {location!r}")
    found = (root / path).resolve()
    if not found.is_relative_to(root) or not found.is_file():
        raise InvalidModelError(f"{what} lies in {location!r}, which is no file in the model's folder")
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
    except ValueError as error:
        raise InvalidModelError(f"{what}: {error}") from error
    if offset < 0 or length != size or offset + length > found.stat().st_size:
        raise InvalidModelError(f"{what} needs {size} bytes; {location!r} has not {length} at {offset}")
    with found.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def sparse(proto: SparseTensorProto, folder: Path | None, what: str = "") -> np.ndarray:
    """The dense array of a sparse tensor: elements at linearized indices [n], or at coordinates [n, rank]."""
    what = what or f'sparse tensor "{proto.values.name}"'
    values, indices = tensor(proto.values, folder, what), tensor(proto.indices, folder, what)
    dims = tuple(proto.dims)
    if any(n < 0 for n in dims) or math.prod(n or 1 for n in dims) > MAX_DENSE:
        raise InvalidModelError(f"{what} has the shape {dims}")
    dense = np.zeros(dims, values.dtype)
    try:
        places = tuple(indices.T) if indices.ndim == 2 else np.unravel_index(indices, dims)
        if indices.dtype != np.int64 or indices.min(initial=0) < 0 or values.shape != indices.shape[:1]:
            raise ValueError(f"indices are {indices.dtype}{list(indices.shape)} for {values.shape} elements")
        dense[places] = values
    except (ValueError, IndexError, TypeError) as error:
        raise InvalidModelError(f"{what}: {error}") from error
    return dense


def info(name: str, proto: TypeProto) -> Info:
    """What a type says; of nested types, what the innermost one says."""
    check_text(name)
    kind = proto.WhichOneof("value")
    if kind is None:
        return Info(name)
    held = getattr(proto, kind)
    kind = kind.removesuffix("_type")
    if kind in ("sequence", "optional"):
        inner = info(name, held.elem_type)
        return Info(name, kind, inner.dtype, inner.shape)
    if kind in ("map", "opaque"):
        return Info(name, kind)
    dtype = dtype_of(held.elem_type, f'"{name}"') if held.elem_type else None
    if not held.HasField("shape"):
        return Info(name, kind, dtype)
    return Info(name, kind, dtype, tuple(_size(d, name) for d in held.shape.dim))


def _size(dim: object, name: str) -> int | str | None:
    which = dim.WhichOneof("value")  # type: ignore[attr-defined]
    if which is None:
        return None
    n: int | str = getattr(dim, which)
    if which == "dim_param":
        check_text(n)
    if isinstance(n, int) and n < 0:
        raise InvalidModelError(f'"{name}" has an axis of size {n}')
    return n
