"""Kernel source text -> object code, by way of LLVM IR (`lowering.py`) and LLVM's optimizer.

A kernel source is a Python module that imports what it uses and defines the kernel as a function:

    from tgc.backends.cpu.vmath import exp

    def scaled_exp(x: f32[:], out: f32[:], scale: f32, n: i64, lo, hi, part):
        for i in range(lo, hi):
            for j in range(n):
                out[i * n + j] = exp(x[i * n + j] * scale)

It becomes `int64 symbol(int64* args, int64 lo, int64 hi, int64 part)`, which works on the tiles lo..hi of a launch;
`part` numbers the chunk of the launch that those tiles are. The parameters before `lo, hi, part` are taken from `args`
in order, by their annotations (never evaluated, so the names need no import):

    f32[:]   args[k] is the address of an array. In the kernel it is a pointer: x[i] is element i, with no bounds
             check and no wrap-around. bool arrays are u8, and f16 and bf16 arrays u16: their bits.
    i64      args[k] is the number itself; narrower integers are in its low bits
    f32      args[k] has the bits of the number in its low bits

**Pointers do not alias.** Each is `noalias` for LLVM, so loops are vectorized without checks however many buffers they
touch. Where a kernel works in place, the buffer must be one parameter, read and written, not two parameters.

The kernel returns None (success) or an integer status, 0 for success. It cannot raise; where something that it calls
does, such as range() with a step of 0, the status is `lowering_rules.RAISED`.

Kernels are written in a part of Numba's nopython Python: numbers, pointers and tuples of numbers; assignments, loops
over range(), `while`, `if`, `return`; operators, and calls of device functions and intrinsics, of what Numba knows of
NumPy on scalars, and of njit functions. A variable has one type: assigned both an integer and a float, it is a float
throughout. Floating point is strict: what may be reordered or fused says so itself (`scalars.fold_add`, the tiles of
`tile.py`); integers wrap, and division by zero follows NumPy.
"""

# mypy: disable-error-code="assignment, attr-defined, misc, name-defined, no-untyped-call"
# Numba types its public names, but not its compiler.

from __future__ import annotations

import functools
import linecache
import types as python_types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import types
from numba.core.codegen import CPUCodeLibrary
from numba.core.compiler_lock import global_compiler_lock

from tgc.backends.cpu.loader import kernel_symbol, units_of
from tgc.backends.cpu.lowering import HINT, lower
from tgc.backends.cpu.lowering_rules import contexts
from tgc.backends.cpu.target import CpuTarget
from tgc.errors import BackendError
from tgc.runtime.cache import content_key

SCALARS: dict[str, Any] = {
    "i8": types.int8, "i16": types.int16, "i32": types.int32, "i64": types.int64,
    "u8": types.uint8, "u16": types.uint16, "u32": types.uint32, "u64": types.uint64,
    "f32": types.float32, "f64": types.float64, "c64": types.complex64, "c128": types.complex128,
}  # fmt: skip
TILE_RANGE = ("lo", "hi", "part")

_I64 = ir.IntType(64)
_ABI = ir.FunctionType(_I64, [_I64.as_pointer(), _I64, _I64, _I64])


@dataclass(frozen=True, slots=True)
class KernelObject:
    """A compiled kernel: the symbol of its entry point, and an object file (ELF, Mach-O) that defines it."""

    symbol: str
    code: bytes


def compile_kernel(source: str, name: str, target: CpuTarget) -> KernelObject:
    """Compile the kernel, or the micro-kernel, `name` of a kernel source (see the module's text).

    Raises:
        BackendError: the source is no kernel, or Numba cannot compile it; the cause is chained.
    """
    symbol = kernel_symbol(source, name, target)
    return KernelObject(symbol, _emit(_lower(source, name, target), target))


def kernel_llvm(source: str, name: str, target: CpuTarget, *, optimized: bool = True) -> str:
    """The LLVM IR of a kernel, as text."""
    lowered = _lower(source, name, target)
    return str(_optimize(lowered, target)) if optimized else lowered.text


def kernel_assembly(source: str, name: str, target: CpuTarget) -> str:
    """The assembly of a kernel."""
    lowered = _lower(source, name, target)
    module = _optimize(lowered, target)
    with _emitting(lowered, target) as machine:
        return str(machine.emit_assembly(module))


def kernel_function(source: str, name: str) -> python_types.FunctionType:
    """The kernel `name` of `source` as a Python function; tracebacks and debuggers show the text of `source`.

    Raises:
        BackendError: the text is not Python, or does not define a function of that name.
    """
    filename = f"<kernel {name} {content_key(source)[:12]}>"
    namespace: dict[str, Any] = {"__name__": f"tgc.kernels.{name}"}
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    try:
        exec(compile(source, filename, "exec", annotations.compiler_flag, dont_inherit=True), namespace)
    except SyntaxError as error:
        raise BackendError(f"the source of kernel {name} is not Python: {error}") from error
    function = namespace.get(name)
    if not isinstance(function, python_types.FunctionType):
        raise BackendError(f"the source of kernel {name} defines no function of that name")
    return function


# --- Python function -> LLVM IR -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Lowered:
    """Unoptimized LLVM IR of a kernel or a micro-kernel.

    Attributes:
        links: symbols that it is linked with.
        libraries: of what Numba compiled for it.
        dense: whether its loops do much with what they read: micro-kernels, and those that call functions of `vmath`.
    """

    symbol: str
    text: str
    links: frozenset[str] = frozenset()
    libraries: tuple[Any, ...] = ()
    dense: bool = False


def _lower(source: str, name: str, target: CpuTarget) -> _Lowered:
    symbol, function = kernel_symbol(source, name, target), kernel_function(source, name)
    typing_context, context = contexts()
    if made := getattr(function, "micro_kernel", None):
        module = context.create_module(symbol)
        made.define(module).name = symbol
        return _Lowered(symbol, str(module), dense=True)
    parameters = (*_argument_types(function), types.int64, types.int64, types.int64)
    library = _Library(context.codegen(), symbol)
    with global_compiler_lock, context.push_code_library(library):
        typing_context.refresh()  # the source may have declared something
        context.refresh()
        context.kernel_target = target
        body = lower(function, parameters, symbol)
        _add_entry(context, body, parameters, symbol)
    units = {function.__globals__[unit[1]].micro_kernel.symbol: unit for unit in units_of(source)}
    links = {kernel_symbol(*unit, target): body.module.globals.get(called) for called, unit in units.items()}
    for link, declared in links.items():
        if declared is not None:
            declared.name = link
    text = str(body.module)
    return _Lowered(symbol, text, frozenset(links), tuple(dict.fromkeys(library.linked)), dense=HINT in text)


def _argument_types(function: python_types.FunctionType) -> Iterator[Any]:
    """Numba types of the parameters that come from `args`."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    if names[-3:] != TILE_RANGE:
        raise BackendError(f"kernel {function.__name__} must end its parameters with lo, hi, part, not {names[-3:]}")
    for name in names[:-3]:
        annotation = function.__annotations__.get(name, "")
        scalar = SCALARS.get(annotation.removesuffix("[:]"))
        if scalar is None:
            raise BackendError(
                f"parameter {name} of kernel {function.__name__} is annotated {annotation!r}, "
                f"not as one of {', '.join(SCALARS)} or an array of them, such as f32[:]"
            )
        yield types.CPointer(scalar) if annotation.endswith("[:]") else scalar


class _Library(CPUCodeLibrary):
    """Collects what a rule of Numba's has compiled on its own to be called; Numba's own libraries optimize at once."""

    def __init__(self, codegen: Any, name: str) -> None:
        self._codegen = codegen
        self._name = name
        self._reload_init: set[Any] = set()
        self.linked: list[Any] = []

    def add_linking_library(self, library: Any) -> None:
        library._ensure_finalized()
        self.linked.append(library)


def _add_entry(context: Any, body: ir.Function, parameters: Sequence[Any], symbol: str) -> None:
    """Define `symbol`, which has the C ABI of kernels, as a call of the kernel's body."""
    entry = ir.Function(body.module, _ABI, symbol)
    entry.args[0].name = "args"
    builder = ir.IRBuilder(entry.append_basic_block())
    arguments = []
    for k, kind in enumerate(parameters[: -len(TILE_RANGE)]):
        word = builder.load(builder.gep(entry.args[0], [_I64(k)]))
        arguments.append(_from_word(context, builder, word, kind))
    builder.ret(builder.call(body, [*arguments, *entry.args[1:]]))


def _from_word(context: Any, builder: ir.IRBuilder, word: ir.Value, kind: Any) -> ir.Value:
    """The argument of type `kind` that the 64 bits of `word` stand for."""
    form = context.get_value_type(kind)
    if isinstance(kind, types.CPointer):
        return builder.inttoptr(word, form)
    if isinstance(kind, types.Float):
        return builder.bitcast(builder.trunc(word, ir.IntType(kind.bitwidth)), form)
    return builder.trunc(word, form)


# --- LLVM: IR -> object code ----------------------------------------------------------------------------------------


@functools.cache
def _target_machine(target: CpuTarget) -> Any:
    """An LLVM target machine. Threads may share it, for llvmlite lets one of them at a time into LLVM."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    if target.triple != llvm.get_process_triple():
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.llvm_features, opt=3, reloc="pic", codemodel="small"
    )


def _optimize(lowered: _Lowered, target: CpuTarget) -> Any:
    machine = _target_machine(target)
    module = llvm.parse_assembly(lowered.text)
    module.triple = target.triple
    module.data_layout = str(machine.target_data)
    for library in lowered.libraries:
        module.link_in(library._get_module_for_linking(), preserve=True)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=1)  # more finds nothing in kernels' plain loops
    options.loop_vectorization = options.slp_vectorization = True
    options.loop_unrolling = False  # kernels unroll what it is worth for; a tenth of the time of compilations
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    for function in module.functions:
        name = function.name
        known = name.startswith("llvm.") or name in lowered.links
        if function.is_declaration and not known and llvm.address_of_symbol(name) is None:
            raise BackendError(f"the code of {lowered.symbol} calls {name}, which this process lacks")
    return module


@contextmanager
def _emitting(lowered: _Lowered, target: CpuTarget) -> Iterator[Any]:
    """The target machine, for what has been optimized; without LLVM's strength reduction for kernels on x86.

    That takes two fifths of the time to emit code, to find cheaper ways to the places of a loop. An access on x86 adds
    a base and a scaled index anyway, and kernels gain nothing; micro-kernels, which have many rows at once, do. LLVM
    has one option for all code of the process: other kernels, and what else Numba compiles, wait.
    """
    plain = not lowered.dense and target.vector_bits >= 512
    with global_compiler_lock:
        llvm.set_option("", f"-disable-lsr={str(plain).lower()}")
        try:
            yield _target_machine(target)
        finally:
            llvm.set_option("", "-disable-lsr=false")


def _emit(lowered: _Lowered, target: CpuTarget) -> bytes:
    module = _optimize(lowered, target)
    with _emitting(lowered, target) as machine:
        return bytes(machine.emit_object(module))
