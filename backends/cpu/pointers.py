"""Raw memory in generated kernels: typed pointers, pointer arithmetic and stack buffers.

Everything here is a *device function*: a plain Python function that numba also knows how to compile. Called from
compiled code it becomes a few LLVM instructions; called from Python (NUMBA_DISABLE_JIT=1, or a kernel's ``py_func``)
it runs on `Pointer`s, so that a kernel can be stepped through in a debugger. There is no switch: one name serves
both.

Pointers are ``types.CPointer(T)`` in compiled code and `Pointer` in Python; ``p[i]`` reads and writes the
i-th element in both, without bounds checks. bool arrays are addressed as u8, float16 and bfloat16 arrays as u16
(conversions: ``narrow.py``).
"""

import ctypes
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import lower_builtin, type_callable

Rule = Callable[..., tuple[Any, Callable[..., Any]] | None]
Twin = TypeVar("Twin", bound=Callable[..., Any])

SCALARS: dict[str, tuple[Any, Any]] = {  # code: (numba type, NumPy type)
    code: (getattr(types, name), getattr(np, name))
    for code, name in {
        "f32": "float32", "f64": "float64", "c64": "complex64", "c128": "complex128",
        "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
        "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64",
    }.items()
}  # fmt: skip
NUMPY: dict[Any, Any] = dict(SCALARS.values())

ALIGNMENT = 64  # bytes: one cache line, and the widest vector register of any supported target


class Pointer:
    """A pointer of compiled code, in Python: elements at an address, read as NumPy scalars.

    These wrap around, divide by zero and keep their precision as compiled ones do; what is written is cut to size.
    `owner` is kept alive with the pointer.
    """

    __slots__ = ("address", "dtype", "owner")

    def __init__(self, address: int, scalar: Any, owner: object = None) -> None:
        self.address, self.dtype, self.owner = address, np.dtype(scalar), owner

    def _element(self, i: int) -> Any:
        """A view of one element."""
        n = self.dtype.itemsize
        return np.frombuffer((ctypes.c_char * n).from_address(self.address + int(i) * n), self.dtype)

    def __getitem__(self, i: int) -> Any:
        return self._element(i)[0]

    def __setitem__(self, i: int, value: Any) -> None:
        self._element(i)[0] = np.asarray(value).astype(self.dtype)


def device(rule: Rule) -> Callable[[Twin], Twin]:
    """Teach numba to compile the decorated Python function, which itself stays as it is.

    ``rule(*argument_types)`` has the parameters of the function and returns ``(signature, codegen)``, exactly what the
    body of a ``numba.extending.intrinsic`` returns, or None where the types do not fit. It may be asked twice, with
    plain types first and then with literal ones, and must be a pure function of them.
    """

    def register(twin: Twin) -> Twin:
        def typing(context: Any) -> Callable[..., Any]:
            def resolve(*arguments: Any) -> Any:
                found = rule(*arguments)
                return found and found[0]

            resolve.__signature__ = inspect.signature(twin)  # type: ignore[attr-defined]  # numba folds arguments by it
            return resolve

        def lowering(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            found = rule(*signature.args)
            assert found is not None, f"{twin.__name__}{signature.args} was typed but has no lowering"
            return found[1](context, builder, signature, arguments)

        type_callable(twin)(typing)
        lower_builtin(twin, types.VarArg(types.Any))(lowering)
        return twin

    return register


def _constructor(code: str) -> Callable[[int], Any]:
    scalar, kind = SCALARS[code]

    def rule(address: Any) -> tuple[Any, Callable[..., Any]] | None:
        if not isinstance(address, types.Integer):
            return None
        return types.CPointer(scalar)(types.int64), lambda context, builder, signature, arguments: builder.inttoptr(
            arguments[0], context.get_value_type(signature.return_type)
        )

    def pointer(address: int) -> Any:
        return Pointer(address, kind)

    pointer.__name__ = pointer.__qualname__ = f"ptr_{code}"
    pointer.__doc__ = f"Pointer to the {scalar} elements that start at ``address`` (bytes)."
    return device(rule)(pointer)


ptr_f32 = _constructor("f32")
ptr_f64 = _constructor("f64")
ptr_c64 = _constructor("c64")
ptr_c128 = _constructor("c128")
ptr_i8 = _constructor("i8")
ptr_u8 = _constructor("u8")
ptr_i16 = _constructor("i16")
ptr_u16 = _constructor("u16")
ptr_i32 = _constructor("i32")
ptr_u32 = _constructor("u32")
ptr_i64 = _constructor("i64")
ptr_u64 = _constructor("u64")


def _offset_rule(p: Any, n: Any) -> tuple[Any, Callable[..., Any]] | None:
    if not (isinstance(p, types.CPointer) and isinstance(n, types.Integer)):
        return None
    return p(p, types.int64), lambda context, builder, signature, arguments: builder.gep(arguments[0], [arguments[1]])


@device(_offset_rule)
def offset(p: Any, n: int) -> Any:
    """``p`` moved by ``n`` elements (not bytes; may be negative)."""
    return Pointer(p.address + int(n) * p.dtype.itemsize, p.dtype, p)  # a buffer lives as long as any pointer


def _prefetching(written: bool) -> Rule:
    def rule(p: Any) -> tuple[Any, Callable[..., Any]] | None:
        if not isinstance(p, types.CPointer):
            return None

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            word, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
            kind, name = ir.FunctionType(ir.VoidType(), [pointer, word, word, word]), "llvm.prefetch.p0"
            fetch = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
            place = builder.bitcast(arguments[0], pointer)
            builder.call(fetch, [place, word(int(written)), word(3), word(1)])  # to the first level, data
            return context.get_dummy_value()

        return types.void(p), codegen

    return rule


@device(_prefetching(written=False))
def prefetch(p: Any) -> None:
    """Ask for the line of memory at ``p``, which will be read. It may point anywhere."""


@device(_prefetching(written=True))
def prefetch_to_write(p: Any) -> None:
    """Ask for the line of memory at ``p``, which will be written. It may point anywhere."""


def _stack_rule(n: Any, dtype: Any) -> tuple[Any, Callable[..., Any]] | None:
    if not (isinstance(n, types.IntegerLiteral) and isinstance(dtype, types.NumberClass)):
        raise TypingError(f"stack(n, dtype) needs a compile-time constant and a numba scalar type, not {n} and {dtype}")

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        with builder.goto_entry_block():  # elsewhere the stack would grow with every iteration of a loop
            buffer = builder.alloca(ir.ArrayType(context.get_data_type(dtype.dtype), n.literal_value), name="stack")
            buffer.align = ALIGNMENT
        return builder.bitcast(buffer, context.get_value_type(signature.return_type))

    return types.CPointer(dtype.dtype)(n, dtype), codegen


@device(_stack_rule)
def stack(n: int, dtype: Any) -> Any:
    """Uninitialised, 64-byte aligned buffer of ``n`` elements on the caller's stack, as a pointer.

    ``n`` is a compile-time constant (a literal or a global), ``dtype`` a numba scalar type such as ``float32``. Every
    call site owns one buffer, allocated when the kernel is entered: in a loop each iteration sees the same memory.
    """
    kind = np.dtype(NUMPY[dtype])
    memory = (ctypes.c_char * (n * kind.itemsize + ALIGNMENT))()
    start = ctypes.addressof(memory)
    return Pointer(start + -start % ALIGNMENT, kind, memory)
