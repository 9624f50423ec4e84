"""Matrix and tensor products."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from tgc import numpy as tnp
from tgc.frontends.keras.ops import signatures
from tgc.frontends.keras.ops.promotion import floating, promoted, result_type
from tgc.frontends.keras.ops.tensors import Tensor, cast, convert_to_tensor

__all__ = [
    "correlate", "cross", "dot", "einsum", "inner", "kron", "matmul", "outer", "slogdet", "tensordot", "vdot",
]  # fmt: skip

_INT8 = "int8"


def _product(function: Callable[..., Any], *, widens: bool = False) -> Callable[..., Any]:
    """A product in the dtype in which its operands meet; if it `widens`, int8 with int8 in int32."""
    declared = signatures.parameters_of(function, 2, None)

    def op(*args: Any, **options: Any) -> Tensor:
        x1, x2, *rest = signatures.by_place(declared, args, options) if options else args
        return multiplied(lambda *xs: function(*xs, *rest, **options), x1, x2, widens=widens)

    return signatures.declare(op, function, declared)  # type: ignore[no-any-return]


def multiplied(function: Callable[..., Any], *operands: Any, widens: bool) -> Tensor:
    """`function` of the operands in their common dtype, or where a product is not formed in that, in int32."""
    xs = [convert_to_tensor(x) for x in operands]
    dtype = result_type(*xs)
    if widens and all(x.dtype == _INT8 for x in xs):
        dtype = "int32"
    work = "int32" if dtype == "bool" else dtype
    return cast(function(*(cast(x, work) for x in xs)), dtype)


dot = _product(tnp.dot)
inner = _product(tnp.inner)
matmul = _product(tnp.matmul, widens=True)
outer = _product(tnp.outer)
tensordot = _product(tnp.tensordot)
vdot = _product(tnp.vdot)
cross = promoted(tnp.cross)
kron = promoted(tnp.kron)
correlate = floating(tnp.correlate, 2)
slogdet = floating(lambda x: tuple(tnp.linalg.slogdet(x)))


def einsum(subscripts: str, *operands: Any, **kwargs: Any) -> Tensor:
    """Einstein's summation; the operands are contracted in a greedy order, whatever the option `optimize` says.

    Raises:
        TypeError: there is another option.
    """
    if unknown := kwargs.keys() - {"optimize"}:
        raise TypeError(f"einsum has no option {', '.join(sorted(unknown))} with the tgc backend, only `optimize`")
    return multiplied(functools.partial(tnp.einsum, subscripts), *operands, widens=True)
