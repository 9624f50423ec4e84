"""`jit`, `grad` and `value_and_grad`: what turns Python functions of arrays into compiled programs."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

from tgc.autodiff import value_and_grad_flat
from tgc.errors import GradientError, TraceError
from tgc.ir import Attr, Builder, Graph, recorder
from tgc.ops.kinds import Primitive, set_eager
from tgc.runtime.lowered import Lowered
from tgc.runtime.registry import Executable, get_backend
from tgc.trace import Tracer, trace
from tgc.types import BOOL, F64, I64, TensorType, as_dtype, is_float, type_of

Names = int | str | Sequence[int | str]
_WEAK: dict[type, np.dtype] = {bool: BOOL, int: I64, float: F64}


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a jitted function has become for one signature."""

    lowered: Lowered
    executable: Executable
    results: optree.PyTreeSpec


class Jit:
    """A function that is traced and compiled once for each structure, shapes and dtypes of its arguments."""

    def __init__(self, f: Callable[..., Any], donate: Names, static: Names, backend: str) -> None:
        functools.update_wrapper(self, f)
        self._f, self._backend = f, backend
        self._name = getattr(f, "__name__", "main").strip("<>")
        self._donate, self._static = _named(f, donate, "donate"), _named(f, static, "static")
        self._entries: dict[Any, _Entry] = {}
        self._lock = threading.RLock()
        get_backend(backend)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's results, computed by the compiled program; traced in place inside of another trace."""
        if recorder() is not None:
            return self._f(*args, **kwargs)
        dynamic, fixed = self._split(args, kwargs)
        leaves, structure = optree.tree_flatten(dynamic)
        arrays = [x if type(x) is np.ndarray else _array(x) for x in leaves]
        signature = [
            (a.dtype, a.shape) if type(x) is np.ndarray else (a.dtype, a.shape, type(x))
            for a, x in zip(arrays, leaves, strict=True)
        ]
        key = (structure, tuple(signature), fixed)
        entry = self._entries.get(key)
        if entry is None:
            with self._lock:
                entry = self._entries.get(key) or self._entries.setdefault(key, self._compile(dynamic, fixed))
        if entry.lowered.donated:
            _check_donated(arrays, leaves, entry.lowered.donated)
        arrays = [a if a.dtype.isnative else a.astype(a.dtype.newbyteorder("=")) for a in arrays]
        return optree.tree_unflatten(entry.results, entry.executable(arrays))

    def lower(self, *args: Any, **kwargs: Any) -> Lowered:
        """The traced graph for such arguments, with every stage of its compilation.

        Arrays may be given as types: anything with a dtype and a shape.
        """
        dynamic, fixed = self._split(args, kwargs)
        return self._trace(dynamic, fixed)[0]

    # ----------------------------------------------------------------------------------------------------- internals

    def _split(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Arguments to trace, and static ones in hashable form."""
        if not self._static:
            return (args, kwargs), ()
        fixed: dict[int | str, Any] = {i: a for i, a in enumerate(args) if i in self._static}
        fixed |= {k: v for k, v in kwargs.items() if k in self._static}
        for k, v in fixed.items():
            try:
                hash(v)
            except TypeError as error:
                raise TraceError(f"static argument {k} of {self._name} is not hashable: {v!r:.80}") from error
        rest = tuple(a for i, a in enumerate(args) if i not in fixed)
        return (rest, {k: v for k, v in kwargs.items() if k not in fixed}), tuple(
            (k, type(v), v) for k, v in fixed.items()
        )

    def _join(self, dynamic: Any, fixed: Any) -> tuple[list[Any], dict[str, Any]]:
        rest, kwargs = dynamic
        values = {k: v for k, _, v in fixed}
        others = iter(rest)
        n = len(rest) + sum(isinstance(k, int) for k in values)
        args = [values[i] if i in values else next(others) for i in range(n)]
        return args, {**kwargs, **{k: v for k, v in values.items() if isinstance(k, str)}}

    def _trace(self, dynamic: Any, fixed: Any) -> tuple[Lowered, optree.PyTreeSpec]:
        paths, leaves, structure = optree.tree_flatten_with_path(dynamic)
        statics = sum(1 for k, *_ in fixed if isinstance(k, int))
        names = _input_names(self._f, paths, {k for k, *_ in fixed}, statics)
        types = [_type(x) for x in leaves]
        result: list[optree.PyTreeSpec] = []

        def flat(*tracers: Tracer) -> list[Any]:
            for t, leaf in zip(tracers, leaves, strict=True):
                t.weak = type(leaf) in _WEAK
            args, kwargs = self._join(optree.tree_unflatten(structure, tracers), fixed)
            out, spec = optree.tree_flatten(self._f(*args, **kwargs))
            result.append(spec)
            return out

        graph = trace(flat, types, names, self._name)
        donated = tuple(i for i, name in enumerate(names) if name.split(".")[0] in self._donate)
        return Lowered(graph, donated, self._backend), result[0]

    def _compile(self, dynamic: Any, fixed: Any) -> _Entry:
        lowered, results = self._trace(dynamic, fixed)
        return _Entry(lowered, lowered.compile(), results)


def jit(f: Callable[..., Any] | None = None, *, donate: Names = (), static: Names = (), backend: str = "cpu") -> Any:
    """Compile a function of arrays.

    The function is traced once for each structure (pytree), shapes and dtypes of its arguments, NumPy arrays and
    numbers; results are NumPy arrays in the structure that it returns.

    Args:
        f: the function; without it, a decorator is returned.
        donate: positions or names of arguments whose arrays results may be written to, where types agree.
        static: positions or names of hashable arguments that are part of the program: another value, another trace.
        backend: the backend's name.

    Raises:
        BackendError: there is no such backend.
    """
    if f is None:
        return lambda f: Jit(f, donate, static, backend)
    return Jit(f, donate, static, backend)


def _named(f: Callable[..., Any], names: Names, what: str) -> frozenset[int | str]:
    """Positions and names of parameters, each in both forms."""
    listed = (names,) if isinstance(names, int | str) else tuple(names)
    parameters = _parameters(f)
    found: set[int | str] = set()
    for n in listed:
        if isinstance(n, str) and n not in parameters and parameters:
            raise TraceError(
                f"{what}={n!r} is no parameter of {getattr(f, '__name__', f)}; it has {', '.join(parameters)}"
            )
        if isinstance(n, int) and parameters and not 0 <= n < len(parameters):
            raise TraceError(f"{what}={n}: {getattr(f, '__name__', f)} has {len(parameters)} parameters")
        found |= {n, parameters[n] if isinstance(n, int) and parameters else n}
        if isinstance(n, str) and n in parameters:
            found.add(parameters.index(n))
    return frozenset(found)


def _parameters(f: Callable[..., Any]) -> list[str]:
    try:
        kinds = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return []
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in kinds):
        return []
    return [p.name for p in kinds]


def _input_names(
    f: Callable[..., Any], paths: Sequence[tuple[Any, ...]], fixed: set[int | str], statics: int
) -> list[str]:
    """A name for each leaf: its parameter's name, then its place in that argument."""
    parameters = _parameters(f)
    positions = [i for i in range(len(parameters) + statics + 64) if i not in fixed]
    names = []
    for side, first, *rest in paths:
        if side == 0:
            position = positions[first]
            head = parameters[position] if position < len(parameters) else f"arg{position}"
        else:
            head = str(first)
        names.append(".".join([head, *map(str, rest)]))
    return names


def _type(x: Any) -> TensorType:
    if type(x) in _WEAK:
        return TensorType(_WEAK[type(x)], ())
    if isinstance(x, np.ndarray | np.generic):
        return type_of(np.asarray(x))
    if hasattr(x, "dtype") and hasattr(x, "shape"):
        return TensorType(as_dtype(x.dtype), tuple(x.shape))
    raise TraceError(
        f"argument {x!r:.80} of type {type(x).__name__} is no array; make it static, or register it as a pytree"
    )


def _array(x: Any) -> np.ndarray:
    if type(x) in _WEAK:
        return np.asarray(x, _WEAK[type(x)])
    if isinstance(x, np.ndarray | np.generic):
        return np.asarray(x)
    if hasattr(x, "__array_interface__") or hasattr(x, "__dlpack__"):
        return np.asarray(x)
    raise TraceError(
        f"argument {x!r:.80} of type {type(x).__name__} is no array; make it static, or register it as a pytree"
    )


def _check_donated(arrays: Sequence[np.ndarray], leaves: Sequence[Any], donated: Sequence[int]) -> None:
    """Refuse to overwrite what cannot, or must not, be."""
    addresses = [a.__array_interface__["data"][0] for a in arrays]
    for i in donated:
        a = arrays[i]
        if not (a.flags.c_contiguous and a.flags.aligned and a.dtype.isnative):
            raise TraceError(f"donated argument {i} must be a C-contiguous, aligned array to be updated in place")
        if not a.flags.writeable:
            raise TraceError(f"donated argument {i} is read-only")
        if a.size and addresses.count(addresses[i]) > 1:
            raise TraceError(f"donated argument {i} shares its memory with another argument")


# ---------------------------------------------------------------------------------------------------------- gradients


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
            if not is_float(as_dtype(x.dtype) if hasattr(x, "dtype") else _type(x).dtype):
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


# -------------------------------------------------------------------------------------------------- eager application


@functools.lru_cache(maxsize=1024)
def _program(
    op: Primitive, types: tuple[TensorType, ...], attrs: tuple[tuple[str, Attr], ...]
) -> tuple[Graph, Executable]:
    builder = Builder(op.name)
    inputs = [builder.input(t, f"x{k}") for k, t in enumerate(types)]
    graph = builder.build(builder.emit(op, inputs, dict(attrs)))
    return graph, Lowered(graph).compile()


def _apply_compiled(op: Primitive, operands: Sequence[Any], attrs: Mapping[str, Any]) -> np.ndarray:
    """Apply one op to NumPy arrays by a cached program."""
    arrays = [np.asarray(x) for x in operands]
    checked = op.check_attrs(attrs)
    _, executable = _program(op, tuple(map(type_of, arrays)), tuple(sorted(checked.items())))
    return executable([np.ascontiguousarray(a) for a in arrays])[0]


set_eager(_apply_compiled)

__all__ = ["Jit", "grad", "jit", "value_and_grad"]
