"""Keras's control flow, on tgc's: bodies are traced, and loops run in compiled programs outside of any trace too.

Branches on values that are known run in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from keras.src import tree

import tgc
from tgc import numpy as tnp
from tgc.frontends.keras.effects import (
    Loop,
    branches_with_effects,
    map_with_effects,
    scan_with_effects,
    without_effects,
)
from tgc.frontends.keras.ops.tensors import convert_to_tensor
from tgc.trace import Tracer

Function = Callable[..., Any]


def _tensors(values: Any) -> Any:
    """The same structure with tensors for variables and numbers."""
    return tree.map_structure(lambda x: None if x is None else convert_to_tensor(x), values)


def cond(pred: Any, true_fn: Function, false_fn: Function) -> Any:
    """`true_fn()` if `pred` is true, else `false_fn()`."""
    pred = convert_to_tensor(pred)
    if not isinstance(pred, Tracer):
        return true_fn() if pred else false_fn()
    return branches_with_effects(lambda *fs: tgc.cond(pred, *fs), [lambda: _tensors(true_fn()),
                                                                   lambda: _tensors(false_fn())])  # fmt: skip


def switch(index: Any, branches: Sequence[Function], *operands: Any) -> Any:
    """`branches[index](*operands)`, with the index brought into range."""
    index = convert_to_tensor(index, "int32")
    if not isinstance(index, Tracer):
        return branches[min(max(int(index), 0), len(branches) - 1)](*operands)
    given = _tensors(operands)
    return branches_with_effects(lambda *fs: tgc.switch(index, fs), [lambda f=f: _tensors(f(*given)) for f in branches])


def scan(
    f: Function, init: Any, xs: Any = None, length: int | None = None, reverse: bool = False, unroll: int | bool = 1
) -> tuple[Any, Any]:
    """`carry, ys[i] = f(carry, xs[i])` for each i in order; `unroll` is checked, and the compiler's to decide."""
    if not callable(f):
        raise TypeError(f"`f` should be a callable. Received: f={f}")
    if not isinstance(unroll, bool) and not (type(unroll) is int and unroll >= 1):
        raise ValueError(f"`unroll` must be an positive integer or boolean. Received: unroll={unroll}")
    if xs is None and length is None:
        raise ValueError("Got no `xs` to scan over and `length` not provided.")
    return scan_with_effects(
        lambda carry, x: tuple(_tensors(f(carry, x))), _tensors(init), _tensors(xs), length, reverse
    )


def map(f: Function, xs: Any) -> Any:
    """`f` of each row of the tensors of `xs`, stacked."""
    return scan_with_effects(lambda carry, x: (carry, _tensors(f(x))), None, _tensors(xs))[1]


def while_loop(cond: Function, body: Function, loop_vars: Any, maximum_iterations: int | None = None) -> Any:
    """`while cond(*loop_vars): loop_vars = body(*loop_vars)`, at most `maximum_iterations` times."""
    several = isinstance(loop_vars, tuple | list)

    def packed(values: Any) -> tuple[Any, ...]:
        return tuple(_tensors(values)) if several else (_tensors(values),)

    def goes_on(carry: tuple[Any, Any]) -> Any:
        count, values = carry
        more = tnp.reshape(tnp.astype(convert_to_tensor(cond(*values)), bool), ())
        return more if maximum_iterations is None else more & (count < maximum_iterations)

    start = (convert_to_tensor(0, "int64"), packed(loop_vars))
    loop = Loop("while_loop")
    test, step = loop.test(goes_on), loop.body(lambda carry: ((carry[0] + 1, packed(body(*carry[1]))), None))
    (_, values), _ = loop.run(lambda c: (tgc.while_loop(test, lambda c: step(c)[0], c), (None, [])), start)
    return values if several else values[0]


def fori_loop(lower: Any, upper: Any, body_fun: Function, init_val: Any) -> Any:
    """`for i in range(lower, upper): val = body_fun(i, val)`."""
    first, last = (x if isinstance(x, int) else convert_to_tensor(x, "int32") for x in (lower, upper))
    loop = Loop("fori_loop")
    step = loop.body(lambda val, i: (_tensors(body_fun(convert_to_tensor(i, "int32"), val)), None))
    return loop.run(
        lambda c: (tgc.fori_loop(first, last, lambda i, c: step(c, i)[0], c), (None, [])), _tensors(init_val)
    )[0]


def vectorized_map(function: Function, elements: Any) -> Any:
    """`function` of each of the elements along the first axis, all in one."""
    return map_with_effects(lambda x: _tensors(function(x)), _tensors(elements))


def associative_scan(f: Function, elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """All partial results of an associative function along an axis."""
    if not callable(f):
        raise TypeError(f"`f` should be a callable. Received: f={f}")
    elems = _tensors(elems)
    sizes = [x.shape[axis] for x in tree.flatten(elems)]
    if any(n != sizes[0] for n in sizes):
        shapes = [tuple(x.shape) for x in tree.flatten(elems)]
        raise ValueError(f"Array inputs to associative_scan must have the same first dimension. (saw: {shapes})")
    combine = without_effects("associative_scan", lambda a, b: _tensors(f(a, b)))
    return tgc.associative_scan(combine, elems, reverse, axis)


__all__ = ["associative_scan", "cond", "fori_loop", "map", "scan", "switch", "vectorized_map", "while_loop"]
