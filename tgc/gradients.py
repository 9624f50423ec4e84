"""`grad` and `value_and_grad` as functions of functions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import optree

from tgc.autodiff import value_and_grad_flat
from tgc.errors import GradientError
from tgc.ir import recorder
from tgc.jit import Jit, argument_type
from tgc.trace import Tracer
from tgc.types import as_dtype, is_inexact


def value_and_grad(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns `f`'s value and its gradient.

    Args:
        f: returns a real scalar, or with `has_aux` a pair of one and anything else.
        argnums: the argument, or arguments, to differentiate by: pytrees of floating-point arrays.

    Returns:
        (value, gradient), or ((value, aux), gradient); the gradient has the structure of the argument, a tuple of
        such for several.
    Raises:
        GradientError: the value is no real scalar, an argument holds other than floats, or an op has no gradient.
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @functools.wraps(f)
    def traced(*args: Any, **kwargs: Any) -> Any:
        for n in numbers:
            if not -len(args) <= n < len(args):
                raise GradientError(f"argnums {n}: the function was called with {len(args)} arguments")
        chosen = tuple(args[n] for n in numbers)
        leaves: list[Any]
        leaves, structure = optree.tree_flatten(chosen)  # type: ignore[arg-type]
        for x in leaves:
            if not is_inexact(as_dtype(x.dtype) if hasattr(x, "dtype") else argument_type(x).dtype):
                raise GradientError(f"cannot differentiate by {x!r:.80}: not of a floating-point dtype")

        def flat(*marked: Tracer) -> tuple[Any, Any]:
            new = list(args)
            for n, x in zip(numbers, optree.tree_unflatten(structure, marked), strict=True):
                new[n] = x
            out = f(*new, **kwargs)
            return out if has_aux else (out, None)

        value, aux, grads = value_and_grad_flat(flat, leaves)
        gradient = optree.tree_unflatten(structure, grads)
        result = gradient[0] if isinstance(argnums, int) else gradient
        return ((value, aux) if has_aux else value), result

    compiled = Jit(traced, (), (), "cpu")

    @functools.wraps(f)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return traced(*args, **kwargs) if recorder() is not None else compiled(*args, **kwargs)

    return wrapper


def grad(f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns `f`'s gradient: see `value_and_grad`; with `has_aux` a pair (gradient, aux)."""
    both = value_and_grad(f, argnums, has_aux)

    @functools.wraps(f)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapper
