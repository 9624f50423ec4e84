"""The signatures of ops: names, order and defaults of parameters as Keras has them, whose tests compare them.

An op made of a function of `tgc` has the parameters of that function, operands under Keras's names, unless a text says
otherwise: "x, axis=None".
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from inspect import Parameter, Signature
from typing import Any

_FRONTEND = __name__.rpartition(".")[0]
_BY_PLACE = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def parameters_of(function: Callable[..., Any], operands: int, text: str | None) -> list[Parameter]:
    """The parameters of an op that is made of `function`, whose first ones are operands."""
    if text is not None:
        return [_parameter(part) for part in text.split(", ")]
    found = [p for p in inspect.signature(function).parameters.values() if p.kind in _BY_PLACE]
    names = [p.name for p in found]
    if len(found) < operands or not function.__module__.startswith(_FRONTEND):  # which has Keras's names for operands
        names[:operands] = ["x"] if operands == 1 else [f"x{k + 1}" for k in range(operands)]
    defaults = [p.default for p in found] + [Parameter.empty] * (operands - len(found))
    return [
        Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=default)
        for name, default in zip(names, defaults, strict=True)
    ]


def _parameter(text: str) -> Parameter:
    name, equals, default = text.partition("=")
    value = ast.literal_eval(default) if equals else Parameter.empty
    return Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=value)


def declare(op: Any, function: Callable[..., Any], parameters: Sequence[Parameter]) -> Any:
    """`op` under the name and with the documentation of `function`."""
    functools.update_wrapper(op, function, ("__name__", "__qualname__", "__doc__"), ())
    op.__signature__ = Signature(parameters)
    return op


def by_place(parameters: Sequence[Parameter], args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    """The arguments by place, those among `options` (which they leave) included.

    Raises:
        TypeError: one before another that is given has no value.
    """
    last = max((k for k, p in enumerate(parameters) if p.name in options), default=-1)
    for p in parameters[len(args) : last + 1]:
        value = options.pop(p.name, p.default)
        if value is Parameter.empty:
            raise TypeError(f"missing a required argument: {p.name!r}")
        args = (*args, value)
    return args


def unannotate(ops: Iterable[Any]) -> None:
    """Leave annotations out of the signatures of the backend's functions, as Keras, which compares them, has none."""
    for op in ops:
        if inspect.isfunction(op) and op.__module__.startswith(_FRONTEND):
            signature = inspect.signature(op)
            plain = [p.replace(annotation=Parameter.empty) for p in signature.parameters.values()]
            op.__signature__ = Signature(plain)  # type: ignore[attr-defined]
