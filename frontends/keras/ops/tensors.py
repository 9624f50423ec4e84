"""Tensors: NumPy arrays, or tracers while something is being traced; what makes them and tells about them."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras.src import tree
from keras.src.backend.common import standardize_dtype
from keras.src.backend.common.dtypes import result_type
from keras.src.backend.common.variables import Variable as KerasVariable

from tgc import numpy as tnp
from tgc.sizes import is_size
from tgc.trace import Tracer

Tensor = Any  # np.ndarray | Tracer
BACKEND = "the tgc backend"


def is_tensor(x: Any) -> bool:
    """Whether `x` is an eager or a traced tensor; arrays of texts or objects are none."""
    return isinstance(x, Tracer) or (isinstance(x, np.ndarray | np.generic) and x.dtype.kind not in "OSU")


def convert_to_tensor(x: Any, dtype: Any = None, sparse: bool | None = None, ragged: bool | None = None) -> Tensor:
    """`x` as a tensor; by default arrays keep their dtype, and numbers get Keras's (floatx, int32, bool).

    Raises:
        ValueError: it is to be sparse or ragged.
    """
    for name, wanted in (("sparse", sparse), ("ragged", ragged)):
        if wanted:
            raise ValueError(f"`{name}=True` is not supported with {BACKEND}: it has dense tensors only")
    if x is None:
        raise ValueError("Attempt to convert a value (None) to a tensor")
    if isinstance(x, KerasVariable):
        x = x.value
    if isinstance(x, np.ndarray | Tracer) and (dtype is None or x.dtype == dtype):
        return x
    name = _dtype_of(x) if dtype is None else standardize_dtype(dtype)
    if isinstance(x, Tracer) or is_size(x):
        return tnp.astype(tnp.asarray(x), np.dtype(name))
    if isinstance(x, list | tuple) and any(isinstance(leaf, Tracer) or is_size(leaf) for leaf in tree.flatten(x)):
        return tnp.stack([convert_to_tensor(part, name) for part in x])
    if isinstance(x, np.ndarray):
        return x if x.dtype == name else x.astype(name)
    if name == "bfloat16" and not isinstance(x, np.generic):
        return np.asarray(x).astype(name)  # an h5py data set does not convert itself
    return np.asarray(x, dtype=name)


def numpy_dtype(dtype: Any) -> np.dtype[Any]:
    """NumPy's dtype for what Keras takes for one; floatx for None."""
    return np.dtype(str(standardize_dtype(dtype)))


def _dtype_of(x: Any) -> str:
    """Keras's dtype for a number, or for lists of numbers and tensors."""
    return str(result_type(*(int if is_size(leaf) else getattr(leaf, "dtype", type(leaf)) for leaf in tree.flatten(x))))


def convert_to_numpy(x: Any) -> np.ndarray:
    """A NumPy array of its own."""
    return np.array(x.value if isinstance(x, KerasVariable) else x)


def shape(x: Tensor) -> tuple[int, ...]:
    """The sizes of the axes; those that are symbols in a trace can be computed with like integers."""
    return tuple(x.shape)


def cast(x: Any, dtype: Any) -> Tensor:
    """`x` converted to `dtype`."""
    return convert_to_tensor(x, dtype)


__all__ = ["Tensor", "cast", "convert_to_numpy", "convert_to_tensor", "is_tensor", "shape"]
