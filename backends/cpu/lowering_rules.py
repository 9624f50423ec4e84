"""What calls and operators mean in kernels: Numba's typing and lowering rules, looked up once for some types."""

# mypy: disable-error-code="attr-defined, misc, no-untyped-call"
# Numba types its public names, but not its compiler.

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import numba.cpython.builtins
import numba.cpython.numbers
import numba.cpython.tupleobj  # noqa: F401  # what these three declare is found by its types
from llvmlite import ir
from numba.core import callconv, cpu, errors, types
from numba.core.registry import cpu_target
from numba.cpython import cmathimpl, mathimpl
from numba.np import npyimpl

from tgc.backends.cpu.target import CpuTarget

RAISED = 1 << 32  # status of a kernel in which an exception was raised, beyond those that kernels return

Rule: TypeAlias = tuple[Any, Callable[..., Any]]  # a signature, and what appends the code of a call

_I64 = ir.IntType(64)


class _CallConvention(callconv.CPUCallConv):
    """That of functions which Numba compiles on its own, called from kernels: what they raise is a status."""

    def return_user_exc(self, builder: ir.IRBuilder, *_: Any, **__: Any) -> None:
        builder.ret(_I64(RAISED))

    def return_status_propagate(self, builder: ir.IRBuilder, status: Any) -> None:
        builder.ret(_I64(RAISED))


class _TargetContext(cpu.CPUContext):
    """Numba's context, with kernels' way to end, and a memory for the sizes of types, each of which takes LLVM a module
    to find.
    """

    links_micro_kernels = True  # see `micro.py`
    kernel_target: CpuTarget | None = None  # of the kernel that is being lowered
    _sizes: dict[str, int]

    @functools.cached_property
    def call_conv(self) -> _CallConvention:
        return _CallConvention(self)

    def load_additional_registries(self) -> None:
        """Those of scalars and tuples; Numba's own context loads all there are, and compiles its runtime library."""
        for registry in (npyimpl.registry, cmathimpl.registry, mathimpl.registry):
            self.install_registry(registry)

    def get_abi_sizeof(self, ty: ir.Type) -> int:
        text = str(ty)
        if text not in self._sizes:
            self._sizes[text] = super().get_abi_sizeof(ty)
        return self._sizes[text]


@functools.cache
def contexts() -> tuple[Any, _TargetContext]:
    """Contexts that share all declarations with Numba's own: what is declared there can be called here."""
    shared = cpu_target.target_context
    target = _TargetContext.__new__(_TargetContext)
    target.__dict__ = {name: value for name, value in shared.__dict__.items() if name != "call_conv"} | {"_sizes": {}}
    target.error_model = callconv.create_error_model("numpy", target)
    target.enable_nrt = False
    return cpu_target.typing_context, target


def rule(callee: Any, given: tuple[Any, ...]) -> Rule:
    """The rule of a call for types of operands; that they are literals' counts only where a rule asks for it.

    Raises:
        NumbaError: there is none.
    """
    return _plain_rule(callee, tuple(map(types.unliteral, given))) or _find_rule(callee, given)


@functools.lru_cache(1 << 14)
def _plain_rule(callee: Any, given: tuple[Any, ...]) -> Rule | None:
    try:
        return _find_rule(callee, given)
    except errors.NumbaError:
        return None


@functools.lru_cache(1 << 14)
def _find_rule(callee: Any, given: tuple[Any, ...]) -> Rule:
    typing_context, context = contexts()
    kind = typing_context.resolve_value_type(callee)
    signature = typing_context.resolve_function_type(kind, given, {})
    if signature is None:
        raise errors.TypingError(f"no {callee} of {', '.join(map(str, given))}")
    return signature, context.get_function(kind, signature)


@functools.lru_cache(1 << 10)
def number(callee: Any) -> Any:
    """The type of the numbers that a callee makes of others, as `np.float32` does; None if it is no such thing."""
    kind = contexts()[0].resolve_value_type(callee)
    return kind.instance_type if isinstance(kind, types.NumberClass) else None
