"""Micro-kernels: the functions in which kernels spend their time, each shape of them compiled once for all kernels.

In the text of a kernel they are made by a line of the module, such as `tile_6x64_k1 = tile(6, 4, 16, 1, 'f32')`, and
called as device functions (`pointers.device`). A kernel only declares what it calls; that line is compiled by itself,
to an object of its own, which the kernel is linked with (`loader.units_of`). Functions that Numba compiles have what
they call in their own module.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError

from tgc.backends.cpu.pointers import device

I1, I32, I64, POINTER = ir.IntType(1), ir.IntType(32), ir.IntType(64), ir.PointerType()


@dataclass(frozen=True, slots=True)
class MicroKernel:
    """The LLVM function of a micro-kernel.

    Attributes:
        symbol: its name in modules.
        parameters: types; tuples are spread out.
        body: appends the code of a function.
        attributes: for LLVM.
    """

    symbol: str
    parameters: tuple[Any, ...]
    body: Callable[[ir.Function], None]
    attributes: tuple[str, ...]

    def declare(self, module: ir.Module) -> ir.Function:
        """The function as a module sees it that calls it."""
        known = module.globals.get(self.symbol)
        return known or ir.Function(module, ir.FunctionType(ir.VoidType(), self.parameters), self.symbol)

    def define(self, module: ir.Module) -> ir.Function:
        """The function in a module that has none of it."""
        function = self.declare(module)
        function.attributes = ir.values.FunctionAttributes(self.attributes)
        self.body(function)
        return function


def micro_kernel(
    symbol: str,
    signature: Any,
    twin: Callable[..., None],
    body: Callable[[ir.Function], None],
    attributes: tuple[str, ...] = ("noinline", "nounwind"),
) -> Callable[..., None]:
    """A device function that calls what `body` is the code of; `twin` says what it computes.

    Its arguments must be those of `signature`, by the names of the twin's parameters, and it is named by what precedes
    the first dot of the symbol.
    """
    name = symbol.partition(".")[0]
    made = MicroKernel(symbol, tuple(t for kind in signature.args for t in _llvm_types(kind)), body, attributes)

    def rule(*given: Any) -> tuple[Any, Callable[..., Any]]:
        for parameter, have, want in zip(inspect.signature(twin).parameters, given, signature.args, strict=True):
            if not _accepts(want, have):
                raise TypingError(f"{name}: {parameter} must be {want}, not {have}")
        return signature, codegen

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = builder.module.globals.get(symbol)
        if function is None and getattr(context, "links_micro_kernels", False):
            function = made.declare(builder.module)
        elif function is None:
            function = made.define(builder.module)
            function.linkage = "internal"
        flat: list[Any] = []
        for value, kind in zip(arguments, signature.args, strict=True):
            tuple_of = kind.count if isinstance(kind, types.UniTuple) else 0
            flat += [builder.extract_value(value, i) for i in range(tuple_of)] or [value]
        builder.call(function, flat)
        return context.get_dummy_value()

    twin.__name__ = twin.__qualname__ = name
    twin.micro_kernel = made  # type: ignore[attr-defined]
    return device(rule)(twin)


def _llvm_types(kind: Any) -> list[ir.Type]:
    match kind:
        case types.UniTuple():
            return [I64] * kind.count
        case types.CPointer():
            return [POINTER]
        case types.Boolean():
            return [I1]
        case _:
            return [I64]


def _accepts(want: Any, have: Any) -> bool:
    match want:
        case types.CPointer():
            return bool(have == want)
        case types.UniTuple():
            kinds = list(have) if isinstance(have, types.UniTuple | types.Tuple) else []
            return len(kinds) == len(want) and all(isinstance(kind, types.Integer) for kind in kinds)
        case _:
            return isinstance(have, types.Integer | types.Boolean)
