"""Keras's dtype rules, as decorators that make a function of `tgc` an op of Keras.

An op is a line of a table, `exp = floating(tnp.exp)`: the rule says which dtype the operands, the leading positional
arguments, are brought to, and which dtype the result gets. Python numbers stay what they are: in `tgc` as in Keras they
take the dtype of what they meet.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from keras.src import backend
from keras.src.backend.common import dtypes, standardize_dtype

from tgc.frontends.keras.ops import signatures
from tgc.frontends.keras.ops.tensors import Tensor, cast, convert_to_tensor
from tgc.numpy.dtypes import kind_of as letter_of
from tgc.sizes import is_size
from tgc.types import SHORT_NAMES

Function: TypeAlias = Callable[..., Any]
Kind: TypeAlias = "str | type"  # the name of a dtype, or of a Python number: int, float
Instead: TypeAlias = Mapping[str, str]  # dtypes -> those that take their place

SAME: Instead = MappingProxyType({})
COUNTED: Instead = MappingProxyType({"bool": "int32"})
ACCUMULATED: Instead = MappingProxyType(
    {"bool": "int32", "int8": "int32", "int16": "int32", "uint8": "uint32", "uint16": "uint32"}
)
_NAMES = {dtype: dtype.name for dtype in SHORT_NAMES}  # looked up, as NumPy makes them anew
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}
_WIDE = {"int32": "int64", "uint32": "uint64", "float32": "float64", "complex64": "complex128"}


def is_number(x: Any) -> bool:
    """Whether `x` is a Python number, or a size: something without a dtype of its own."""
    return (isinstance(x, bool | int | float | complex) and not isinstance(x, np.generic)) or is_size(x)


def kind_of(x: Any) -> Kind:
    """What decides the dtype that `x` (a tensor, a number, a sequence of these, a dtype) meets others in."""
    if is_number(x):
        weak = int if is_size(x) else next((kind for kind in (bool, int, float) if isinstance(x, kind)), complex)
        return weak if weak in (int, float) else str(standardize_dtype(weak))
    if x is None or isinstance(x, str | type):
        return x if x in (int, float) else str(standardize_dtype(x))
    dtype = x.dtype if hasattr(x, "dtype") else convert_to_tensor(x).dtype
    return _NAMES[dtype] if dtype in _NAMES else str(standardize_dtype(dtype))


def result_type(*operands: Any) -> str:
    """Keras's dtype for operands that meet, which may also be dtypes, and `int` and `float` for Python's numbers.

    Keras has 32 bits where JAX, whose rules these are, has no 64. Here tensors of 64 bits stay such, unless they meet
    narrower ones of their kind.
    """
    return _result_type(tuple(map(kind_of, operands)), backend.floatx())


@functools.lru_cache(maxsize=4096)
def _result_type(kinds: tuple[Kind, ...], floatx: str) -> str:
    found = str(dtypes.result_type(*kinds))
    if found not in _WIDE:
        return found
    letter = letter_of(_DTYPES[found])
    alike = {k for k in kinds if isinstance(k, str) and letter_of(_DTYPES[k]) == letter}
    if not alike and letter == "f":
        alike = {floatx}
    return _WIDE[found] if alike == {_WIDE[found]} else found


def promote(*operands: Any, meets: tuple[Kind, ...] = (), instead: Instead = SAME) -> list[Any]:
    """The operands as tensors of the dtype in which they meet each other and `meets`; numbers remain, unless all are.

    Args:
        instead: what takes the place of dtypes in which the op does not compute.
    """
    xs = [x if is_number(x) else convert_to_tensor(x) for x in operands]
    dtype = result_type(*xs, *meets)
    dtype = instead.get(dtype, dtype)
    numbers = [is_number(x) for x in xs]
    if all(numbers):
        return [convert_to_tensor(x, dtype) for x in xs]
    wanted = _DTYPES[dtype]
    return [x if n or x.dtype == wanted else cast(x, dtype) for x, n in zip(xs, numbers, strict=True)]


def _with_result(out: Any, dtype: str | None) -> Any:
    if dtype is None:
        return out
    return tuple(cast(x, dtype) for x in out) if isinstance(out, tuple) else cast(out, dtype)


def _made(
    function: Function,
    prepared: Callable[[tuple[Any, ...]], list[Any]],
    count: int,
    result: str | None,
    parameters: str | None,
) -> Function:
    declared = signatures.parameters_of(function, count, parameters)

    def op(*args: Any, **options: Any) -> Any:
        if options:
            args = signatures.by_place(declared, args, options)
        return _with_result(function(*prepared(args[:count]), *args[count:], **options), result)

    return signatures.declare(op, function, declared)  # type: ignore[no-any-return]


def converted(
    function: Function, operands: int = 1, *, result: str | None = None, parameters: str | None = None
) -> Function:
    """An op whose operands become tensors, each in its own dtype.

    Args:
        function: what is computed; further arguments are handed on.
        operands: how many of the leading arguments are tensors.
        result: the dtype of the results, if not that which `function` returns.
        parameters: Keras's, as a text (see `tgc.frontends.keras.ops.signatures`), if not those of `function`.
    """
    return _made(function, lambda xs: [convert_to_tensor(x) for x in xs], operands, result, parameters)


def promoted(
    function: Function,
    operands: int = 2,
    *,
    meets: tuple[Kind, ...] = (),
    instead: Instead = SAME,
    result: str | None = None,
    parameters: str | None = None,
) -> Function:
    """An op that computes in the dtype in which its operands meet (see `promote`); otherwise as `converted`."""
    return _made(function, lambda xs: promote(*xs, meets=meets, instead=instead), operands, result, parameters)


def floating(
    function: Function, operands: int = 1, *, result: str | None = None, parameters: str | None = None
) -> Function:
    """An op that computes in floats (or complex numbers): integers become floatx; otherwise as `converted`."""
    return promoted(function, operands, meets=(float,), result=result, parameters=parameters)


def joined(function: Function, parameters: str = "xs") -> Function:
    """An op of a sequence of operands that meet in one dtype."""

    def join(xs: tuple[Any, ...]) -> list[Any]:
        return [promote(*(convert_to_tensor(x) for x in xs[0]))]

    return _made(function, join, 1, None, parameters)


def accumulated(function: Function, instead: Instead = ACCUMULATED, *, parameters: str | None = None) -> Function:
    """An op that sums or multiplies in the dtype that it is told: that of its operand, but for small integers."""
    declared = signatures.parameters_of(function, 1, parameters)
    before = len(declared) - 1 - (declared[-1].name == "dtype")  # how many arguments are between `x` and the dtype

    def op(*args: Any, **options: Any) -> Any:
        x, *rest = signatures.by_place(declared, args, options) if options else args
        x = convert_to_tensor(x)
        dtype = rest.pop() if len(rest) > before else None
        name = standardize_dtype(x.dtype if dtype is None else dtype)
        return function(x, *rest, dtype=np.dtype(instead.get(name, name)), **options)

    return signatures.declare(op, function, declared)  # type: ignore[no-any-return]


def reduction(function: Function, *others: str) -> Function:
    """`function`, of NumPy's arguments, with Keras's: `axis`, `keepdims` and `others`, None by default, by place."""
    text = ", ".join(("x, axis=None, keepdims=False", *(f"{name}=None" for name in others)))

    def op(x: Tensor, axis: Any = None, keepdims: bool = False, *values: Any, **options: Any) -> Any:
        named = dict(zip(others, values, strict=False))
        return function(x, axis, keepdims=keepdims, **named, **options)

    return signatures.declare(op, function, signatures.parameters_of(function, 1, text))  # type: ignore[no-any-return]
