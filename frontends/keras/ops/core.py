"""Keras's core ops."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from keras.src import tree
from keras.src.backend.common import is_float_dtype, standardize_dtype
from keras.src.backend.common.keras_tensor import KerasTensor
from keras.src.backend.common.name_scope import name_scope as name_scope
from keras.src.backend.common.stateless_scope import StatelessScope
from keras.src.backend.common.symbolic_scope import SymbolicScope

import tgc
from tgc.frontends.keras.effects import region_with_effects
from tgc.frontends.keras.ops.control import associative_scan as associative_scan
from tgc.frontends.keras.ops.control import cond as cond
from tgc.frontends.keras.ops.control import fori_loop as fori_loop
from tgc.frontends.keras.ops.control import map as map
from tgc.frontends.keras.ops.control import scan as scan
from tgc.frontends.keras.ops.control import switch as switch
from tgc.frontends.keras.ops.control import vectorized_map as vectorized_map
from tgc.frontends.keras.ops.control import while_loop as while_loop
from tgc.frontends.keras.ops.tensors import BACKEND
from tgc.frontends.keras.ops.tensors import Tensor as Tensor
from tgc.frontends.keras.ops.tensors import cast as cast
from tgc.frontends.keras.ops.tensors import convert_to_numpy as convert_to_numpy
from tgc.frontends.keras.ops.tensors import convert_to_tensor as convert_to_tensor
from tgc.frontends.keras.ops.tensors import is_tensor as is_tensor
from tgc.frontends.keras.ops.tensors import shape as shape
from tgc.frontends.keras.ops.updates import scatter as scatter
from tgc.frontends.keras.ops.updates import scatter_update as scatter_update
from tgc.frontends.keras.ops.updates import slice as slice
from tgc.frontends.keras.ops.updates import slice_update as slice_update
from tgc.frontends.keras.ops.updates import unstack as unstack
from tgc.frontends.keras.variable import Variable as Variable
from tgc.trace import Tracer

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


def stop_gradient(variable: Any) -> Tensor:
    """The same tensor, through which no gradient passes."""
    return tgc.stop_gradient(convert_to_tensor(variable))


def custom_gradient(fun: Callable[..., Any]) -> Callable[..., Any]:
    """`fun` with a backward pass of its own.

    Args:
        fun: returns its result and a function from the cotangent of that to those of the arguments, a tuple unless
            there is one argument.
    """

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = tree.map_structure(lambda x: x.value if isinstance(x, Variable) else x, (args, kwargs))
        leaves = tree.flatten((args, kwargs))
        traced = [i for i, x in enumerate(leaves) if isinstance(x, Tracer)]

        def call(tensors: Sequence[Tensor]) -> tuple[Any, Callable[..., Any]]:
            new = dict(zip(traced, tensors, strict=True))
            inner, named = tree.pack_sequence_as((args, kwargs), [new.get(i, x) for i, x in enumerate(leaves)])
            return fun(*inner, **named)  # type: ignore[no-any-return]

        def pull(tensors: tuple[Tensor, ...], cotangent: Any) -> tuple[Any, ...]:
            found = call(tensors)[1](cotangent)  # what this computes again is merged with what was computed before
            grads = tree.flatten(found if isinstance(found, tuple | list) else (found,))
            if len(grads) != len(leaves):
                raise ValueError(
                    f"custom_gradient: {fun.__name__} has {len(leaves)} arguments, but {len(grads)} gradients"
                )
            return tuple(
                None
                if grads[i] is None or not is_float_dtype(leaves[i].dtype)
                else convert_to_tensor(grads[i], leaves[i].dtype)
                for i in traced
            )

        forward = tgc.custom_vjp(lambda *tensors: call(tensors)[0])
        forward.defvjp(lambda *tensors: (call(tensors)[0], tensors), pull)
        return forward(*(leaves[i] for i in traced)) if traced else call(())[0]

    return wrapper


def remat(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f`, whose intermediate values are computed again in the backward pass instead of being kept for it."""
    return region_with_effects(tgc.checkpoint, f)


def random_seed_dtype() -> str:
    """The dtype of the two words of a seed."""
    return "uint32"


@contextlib.contextmanager
def device_scope(device_name: str) -> Iterator[None]:
    """A scope in which tensors live on a device.

    Raises:
        ValueError: it is not the CPU.
    """
    if str(device_name).lower().split(":")[0] != "cpu":
        raise ValueError(f"Invalid device {device_name!r}: {BACKEND} knows 'cpu' and 'cpu:0'")
    yield
