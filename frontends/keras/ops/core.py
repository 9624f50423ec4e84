"""Keras's core ops."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras.src import tree
from keras.src.backend.common import standardize_dtype
from keras.src.backend.common.keras_tensor import KerasTensor
from keras.src.backend.common.name_scope import name_scope as name_scope
from keras.src.backend.common.stateless_scope import StatelessScope
from keras.src.backend.common.symbolic_scope import SymbolicScope

import tgc
from tgc import numpy as tnp
from tgc.frontends.keras.ops.tensors import Tensor as Tensor
from tgc.frontends.keras.ops.tensors import cast as cast
from tgc.frontends.keras.ops.tensors import convert_to_numpy as convert_to_numpy
from tgc.frontends.keras.ops.tensors import convert_to_tensor as convert_to_tensor
from tgc.frontends.keras.ops.tensors import is_tensor as is_tensor
from tgc.frontends.keras.ops.tensors import shape as shape
from tgc.frontends.keras.variable import Variable as Variable

SUPPORTS_SPARSE_TENSORS = False
SUPPORTS_RAGGED_TENSORS = False
SUPPORTS_COMPLEX_DTYPES = True
IS_THREAD_SAFE = True

_SIZES = (83, 89)  # what unknown sizes are taken for: primes, so that results tell them from those that are known


def compute_output_spec(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What `fn` returns for `KerasTensor`s, as such: by tracing, so that nothing is computed.

    A size of the result is unknown if it differs between two traces with different numbers for the unknown sizes of the
    arguments.
    """
    leaves = tree.flatten((args, kwargs))
    symbolic = [x for x in leaves if isinstance(x, KerasTensor)]
    found: list[Any] = []

    def traced(size: int) -> list[tgc.TensorType]:
        def flat(tensors: list[Tensor]) -> list[Tensor]:
            rest = iter(tensors)
            given = [next(rest) if isinstance(x, KerasTensor) else x for x in leaves]
            inner, named = tree.pack_sequence_as((args, kwargs), given)
            found[:] = [fn(*inner, **named)]
            return [x for x in tree.flatten(found[0]) if is_tensor(x)]

        sizes = [[size if n is None else n for n in x.shape] for x in symbolic]
        types = [tgc.tensor_type(np.dtype(x.dtype), s) for x, s in zip(symbolic, sizes, strict=True)]
        with StatelessScope(), SymbolicScope():
            return list(tgc.eval_shape(flat, types))

    made = [traced(_SIZES[0])]
    if any(None in x.shape for x in symbolic):
        made.append(traced(_SIZES[1]))
    specs = iter(
        KerasTensor(
            tuple(sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*(t.shape for t in types), strict=True)),
            standardize_dtype(types[0].dtype),
        )
        for types in zip(*made, strict=True)
    )
    return tree.map_structure(lambda x: next(specs) if is_tensor(x) else x, found[0])


def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """`true_fn()` or `false_fn()`."""
    return tgc.cond(pred, true_fn, false_fn)


def vectorized_map(function: Callable[..., Any], elements: Any) -> Any:
    """`function` of each of the elements along the first axis, in one go."""
    return tgc.vmap(function)(elements)


def scatter(indices: Tensor, values: Tensor, shape: Any) -> Tensor:
    """Zeros, to which `values` are added at `indices`."""
    indices, values = convert_to_tensor(indices), convert_to_tensor(values)
    zeros = tnp.zeros(tuple(shape), dtype=values.dtype)
    return zeros.at[tuple(tnp.moveaxis(indices, -1, 0))].add(values)


def stop_gradient(variable: Any) -> Tensor:
    """The same tensor, through which no gradient passes."""
    return tgc.stop_gradient(convert_to_tensor(variable))


def random_seed_dtype() -> str:
    """The dtype of the two words of a seed."""
    return "uint32"


@contextlib.contextmanager
def device_scope(device_name: Any) -> Iterator[None]:
    """No other device than the CPU can be chosen."""
    yield
