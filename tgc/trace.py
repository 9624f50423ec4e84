"""Python -> Graph: run a function on tracers and record what it does.

A `Tracer` stands for a value of the graph being recorded. Every primitive applied to one is emitted into the builder of
the trace; Python's control flow, NumPy arrays and numbers around it become part of the graph as constants.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from tgc.errors import ConcretizationError, LeakedTracerError, ShapeError, TgcError, TraceError
from tgc.ir import Attr, Builder, Graph, Loc, Op, Recorder, Value, recorder, recording
from tgc.ops import arithmetic, indexing
from tgc.ops.creation import fill
from tgc.sizes import Size, is_size
from tgc.types import I64, DType, Shape, TensorType, as_dtype

_PACKAGE = str(Path(__file__).parent)
_INTERNAL = (_PACKAGE, str(Path(__file__).resolve().parent), str((Path(_PACKAGE) / "backends").resolve()),
             str((Path(_PACKAGE) / "frontends").resolve()), "<")  # fmt: skip
_COMMANDS = str(Path(_PACKAGE) / "cli")  # what has called these is no code of users


def user_location() -> Loc:
    """The "file:line" of the innermost frame that is not tgc's own; empty if there is none."""
    frame = sys._getframe(1)
    while frame is not None:
        name = _users(frame.f_code.co_filename)
        if name:
            return (f"{name}:{frame.f_lineno}",)
        if name is None:
            break
        frame = frame.f_back  # type: ignore[assignment]
    return ()


@functools.lru_cache(maxsize=4096)
def _users(file: str) -> str | None:
    """The name of a file of users, empty for tgc's own; None for those of its commands."""
    if not file.startswith(_INTERNAL):
        return os.path.basename(file)
    return None if file.startswith(_COMMANDS) else ""


def _raised_at(error: BaseException) -> str:
    """The "file:line" of the innermost of the user's frames that an error came through; empty if it says so already."""
    place = ""
    at = error.__traceback__
    while at is not None:
        file = at.tb_frame.f_code.co_filename
        if not file.startswith(_INTERNAL):
            place = f"{os.path.basename(file)}:{at.tb_lineno}"
        at = at.tb_next
    said = "\n".join([str(error), *getattr(error, "__notes__", ())])
    return "" if place in said else place


class Trace(Recorder):
    """One recording in progress.

    Attributes:
        parent: the trace in which a region is traced, whose values may be used in it.
        captures: value of the parent -> the input of this trace that stands for it, in the order of these inputs.
        unmapped: what functions that have been mapped computed of single elements that are none: nobody may use it.
    """

    def __init__(self, name: str, loc: Loc | None = None, parent: Trace | None = None) -> None:
        super().__init__(bind=self._bind, builder=Builder(name))
        self.open = True
        self.loc = loc  # the place of everything that is recorded, if it is not the caller's
        self.parent = parent
        self.captures: dict[Value, Value] = {}
        self.unmapped: set[Value] = set()

    def _bind(self, op: Op, operands: Sequence[Any], attrs: Mapping[str, Attr]) -> Any:
        result = self.emit(op, [self.lift(x) for x in operands], attrs)
        if isinstance(result, Tracer) and op.name != "cast" and any(isinstance(x, Tracer) for x in operands):
            result.weak = all(x.weak if isinstance(x, Tracer) else np.ndim(x) == 0 for x in operands)
        return result

    def emit(self, op: Op, values: Sequence[Value], attrs: Mapping[str, Attr], *, unique: bool = False) -> Any:
        """Emit a node and wrap its results; errors of the type rule gain the user's place."""
        loc = user_location() if self.loc is None else self.loc
        results = self.builder.emit(op, values, attrs, loc, unique=unique)
        tracers = tuple(Tracer(self, v) for v in results)
        return tracers[0] if len(tracers) == 1 else tracers

    def tracer(self, value: Value) -> Tracer:
        """A tracer of a value of this trace."""
        return Tracer(self, value)

    def lift(self, x: Any) -> Value:
        """The value of a tracer, or a constant made of a number or an array."""
        if isinstance(x, Tracer):
            x.check()
            if x.trace is self:
                if x.value in self.unmapped:
                    raise LeakedTracerError(
                        f"{x!r} was used outside of the function that vmap maps{x.origin}; return it from that function"
                    )
                return x.value
            if self.parent is None:
                raise LeakedTracerError(f"{x!r} belongs to another trace{x.origin}")
            return self._capture(self.parent.lift(x))
        if isinstance(x, bool | int | float | complex | np.generic | Size) or (
            isinstance(x, np.ndarray) and x.ndim == 0
        ):
            array = None if is_size(x) else np.asarray(x)
            filled: Tracer = fill((), I64, x) if array is None else fill((), as_dtype(array.dtype), array.item())
            return filled.value
        if not isinstance(x, np.ndarray | list | tuple):
            raise TraceError(f"a {type(x).__name__} is no tensor: {x!r:.80}")
        array = np.asarray(x)
        return self.builder.constant(array.astype(as_dtype(array.dtype), copy=False))

    def _capture(self, value: Value) -> Value:
        if value not in self.captures:
            self.captures[value] = self.builder.input(value.type, value.name)
        return self.captures[value]


class Tracer:
    """A tensor that is being traced. Immutable; has NumPy's operators, shape and dtype, but no numbers."""

    __slots__ = ("__weakref__", "trace", "value", "weak")
    __array_priority__ = 1000
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, trace: Trace, value: Value, weak: bool = False) -> None:
        self.trace = trace
        self.value = value
        self.weak = weak  # made of Python numbers alone: its dtype yields to that of what it meets (NEP 50)

    shape: Shape = property(lambda self: self.value.type.shape)  # type: ignore[assignment]
    dtype: DType = property(lambda self: self.value.type.dtype)  # type: ignore[assignment]
    ndim: int = property(lambda self: self.value.type.rank)  # type: ignore[assignment]
    size: int = property(lambda self: self.value.type.size)  # type: ignore[assignment]
    T = property(lambda self: arithmetic.transpose(self))

    @property
    def origin(self) -> str:
        """Where in the user's code the value was made, for messages."""
        loc = self.value.node.loc if self.value.node else ()
        what = f" by {self.value.node.op.name}" if self.value.node else f" as input {self.value.name}"
        return f", made{what}" + (f" at {loc[0]}" if loc else "")

    def check(self) -> None:
        """Raise LeakedTracerError if the trace has ended."""
        if not self.trace.open:
            raise LeakedTracerError(
                f"{self!r} was used after its trace had ended{self.origin}; return it from the traced function "
                "instead of storing it elsewhere"
            )

    def __repr__(self) -> str:
        return f"Tracer<{self.value.type}>"

    def _no(self, what: str, instead: str) -> NoReturn:
        self.check()
        loc = user_location()
        raise ConcretizationError(
            f"{what} needs the numbers of {self!r}{self.origin}, which are unknown while tracing"
            + (f" (at {loc[0]})" if loc else "")
            + f"; {instead}"
        )

    def __bool__(self) -> NoReturn:  # noqa: PLE0304
        self._no("a truth value (Python if, while, and, or, not)", "use tgc.numpy.where, or a static argument")

    def __int__(self) -> NoReturn:
        self._no("int()", "use .astype, or a static argument")

    def __float__(self) -> NoReturn:
        self._no("float()", "use .astype, or a static argument")

    def __complex__(self) -> NoReturn:
        self._no("complex()", "use .astype, or a static argument")

    def __index__(self) -> NoReturn:  # noqa: PLE0305
        self._no("an index or a size", "make it a static argument")

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        self._no("a NumPy array (a NumPy function was called?)", "use the function of tgc.numpy")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """NumPy's operators on an array and a tracer record the op; other functions of NumPy's are refused.

        `array += tracer` is a new tensor too, as `tracer += array` is: the array stays as it was.
        """
        function = getattr(arithmetic, ufunc.__name__, None)
        in_place = kwargs.keys() == {"out"} and kwargs["out"][0] is inputs[0]
        if method == "__call__" and function is not None and (in_place or not kwargs):
            return function(*inputs)
        return self._no(f"numpy.{ufunc.__name__}", f"use tgc.numpy.{ufunc.__name__}")

    def item(self) -> NoReturn:
        """Refused: a traced tensor has no numbers."""
        self._no("item()", "return the value from the traced function")

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        loc = user_location()
        raise TraceError(
            f"{self!r} cannot be changed in place"
            + (f" (at {loc[0]})" if loc else "")
            + "; make a new one, with x.at[key].set(value) or tgc.numpy.where"
        )

    def __iadd__(self, other: Any) -> Any:
        return self + other

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> Any:
        return indexing.index(self, key)

    def astype(self, dtype: Any) -> Any:
        """The tensor converted to `dtype`."""
        return arithmetic.astype(self, dtype)

    def reshape(self, *shape: Any) -> Any:
        """The same elements, row-major, under another shape; one size may be -1."""
        return arithmetic.reshape(self, shape[0] if len(shape) == 1 and not isinstance(shape[0], int | Size) else shape)

    def transpose(self, *axes: int) -> Any:
        """Axes permuted, reversed by default."""
        return arithmetic.transpose(self, axes or None)


# All else that has reflected operators of its own computes with tracers by these.
_OPERANDS = (Tracer, np.ndarray, np.generic, bool, int, float, complex, Size, list, tuple)


def _install_operators() -> None:
    binary = {
        "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide",
        "mod": "remainder", "pow": "power", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or",
        "xor": "bitwise_xor", "lshift": "left_shift", "rshift": "right_shift",
    }  # fmt: skip
    compare = {
        "eq": "equal",
        "ne": "not_equal",
        "lt": "less",
        "le": "less_equal",
        "gt": "greater",
        "ge": "greater_equal",
    }
    unary = {"neg": "negative", "abs": "absolute", "invert": "invert", "pos": "positive"}

    def forward(f: Callable[..., Any], reflected: str) -> Callable[..., Any]:
        def operator(self: Tracer, other: Any) -> Any:
            known = isinstance(other, _OPERANDS)
            return f(self, other) if known or not hasattr(type(other), reflected) else NotImplemented

        return operator

    def backward(f: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self, other: f(other, self)

    for name, function in binary.items():
        setattr(Tracer, f"__{name}__", forward(getattr(arithmetic, function), f"__r{name}__"))
    for name, function in compare.items():
        setattr(Tracer, f"__{name}__", forward(getattr(arithmetic, function), "__radd__"))
    for name, function in binary.items():
        setattr(Tracer, f"__r{name}__", backward(getattr(arithmetic, function)))
    for name, function in unary.items():
        f = getattr(arithmetic, function)
        setattr(Tracer, f"__{name}__", lambda self, f=f: f(self))


_install_operators()


def current() -> Trace:
    """The trace being recorded.

    Raises:
        TraceError: there is none.
    """
    trace = recorder()
    if not isinstance(trace, Trace):
        raise TraceError("no trace is being recorded")
    return trace


def trace(
    f: Callable[..., Sequence[Any]], types: Sequence[TensorType], names: Sequence[str] = (), name: str = "main"
) -> Graph:
    """The graph of `f`, a function of as many tensors as there are `types`, which returns a sequence of tensors."""
    return _record(Trace(name), f, types, names)


def trace_region(
    f: Callable[..., Sequence[Any]], types: Sequence[TensorType], names: Sequence[str] = (), name: str = "body"
) -> tuple[Graph, tuple[Tracer, ...]]:
    """The graph of a region of the current trace, and the tracers of that trace that `f` closes over.

    The inputs of the graph are the parameters of `f`, as many as there are `types`, then one for each captured tracer.
    """
    outer = current()
    record = Trace(name, outer.loc, outer)
    graph = _record(record, f, types, names)
    return graph, tuple(Tracer(outer, v) for v in record.captures)


def _record(record: Trace, f: Callable[..., Sequence[Any]], types: Sequence[TensorType], names: Sequence[str]) -> Graph:
    labels = list(names) or [""] * len(types)
    inputs = [Tracer(record, record.builder.input(t, label)) for t, label in zip(types, labels, strict=True)]
    try:
        with recording(record):
            outputs = f(*inputs)
            values = [record.lift(x) for x in outputs]
        return record.builder.build(values)
    except TgcError as error:
        if place := _raised_at(error):
            error.add_note(f"at {place}")
        raise
    finally:
        record.open = False
