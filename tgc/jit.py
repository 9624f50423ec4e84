"""`jit`: what turns Python functions of arrays into compiled programs."""

from __future__ import annotations

import functools
import inspect
import itertools
import operator
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import optree

from tgc.collector import collector_paused
from tgc.compiled import WEAK, Compiled, LoweredFunction, argument_type, array_of
from tgc.errors import TraceError
from tgc.families import Family, RecompilationWarning, Sizes
from tgc.ir import recorder
from tgc.locks import Lock
from tgc.runtime.cache import content_key
from tgc.runtime.registry import get_backend
from tgc.sizes import Symbols
from tgc.trace import Tracer, trace
from tgc.types import TensorType, type_of

if TYPE_CHECKING:
    from tgc.runtime.profile import Profile

Names = int | str | Sequence[int | str]
INSTANCES = 256  # of programs for many sizes, that are kept for the sizes of the latest calls; up to twice as many are


class Jit:
    """A function that is traced and compiled once for each structure and dtypes of its arguments, and for few of their
    sizes: see `tgc.families`.

    Programs are kept here, so that those of another `Jit` of the same function, with another limit, are others.
    """

    def __init__(
        self,
        f: Callable[..., Any],
        donate: Names,
        static: Names,
        backend: str,
        memory_limit: int | None = None,
        autotune: bool = False,
    ) -> None:
        functools.update_wrapper(self, f)
        if not isinstance(autotune, bool):
            raise TraceError(f"autotune={autotune!r} is neither True nor False")
        self._autotune = autotune
        self._f, self._backend, self._memory_limit = f, backend, _limit(memory_limit)
        self._name = getattr(f, "__name__", "main").strip("<>")
        self._donate, self._static = _named(f, donate, "donate"), _named(f, static, "static")
        self._entries: dict[Any, Compiled] = {}  # those in use, by all that a call must have in common with them
        self._instances: dict[Any, Compiled] = {}  # those of them that are cheap to make again
        self._older: dict[Any, Compiled] = {}  # the same, not used for some time
        self._families: dict[Any, Family[Compiled]] = {}
        self._lock = Lock()
        get_backend(backend)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's results, computed by the compiled program; traced in place inside of another trace."""
        if recorder() is not None:
            return self._f(*args, **kwargs)
        entry, arrays = self._compiled(args, kwargs)
        return entry.run(arrays)

    def _compiled(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Compiled, list[np.ndarray]]:
        """The program for such arguments, compiled if it has not been, and their arrays."""
        dynamic, fixed = self._split(args, kwargs)
        leaves: Sequence[Any]
        structure: Any
        if not kwargs and all(type(x) is np.ndarray for x in dynamic[0]):
            leaves, structure = dynamic[0], None  # what optree would find out in longer
        else:
            leaves, structure = optree.tree_flatten(dynamic)
        arrays = [x if type(x) is np.ndarray else array_of(x) for x in leaves]
        signature = [
            (a.dtype, a.shape) if type(x) is np.ndarray else (a.dtype, a.shape, type(x))
            for a, x in zip(arrays, leaves, strict=True)
        ]
        key = (structure, tuple(signature), fixed)
        entry = self._entries.get(key)
        if entry is None:
            with self._lock:
                entry = self._entries.get(key)
                if entry is None:
                    entry = self._made(key, arrays, dynamic, fixed)
        return entry, arrays

    def _made(self, key: Any, arrays: Sequence[np.ndarray], dynamic: Any, fixed: Any) -> Compiled:
        """The program for arguments that none is at hand for: an instance of one for many sizes, if there is one."""
        if key in self._older:
            return self._keep(key, self._older.pop(key))
        if self._memory_limit is not None or self._autotune:  # what is computed again, or measured, is for one size
            return self._compiled_alone(key, dynamic, fixed)
        structure, signature, _ = key
        kind = structure, tuple((dtype, len(shape), *rest) for dtype, shape, *rest in signature), fixed
        family = self._families.setdefault(kind, Family())
        sizes = tuple(n for a in arrays for n in a.shape)
        found = family.find(sizes)
        if found is None:
            family.learn(sizes)
            symbols, named = family.symbols(sizes)
            if not symbols.hints:
                return self._compiled_alone(key, dynamic, fixed)
            if (error := self._learned(family, symbols, named, dynamic, fixed)) is not None:
                made = self._compiled_alone(key, dynamic, fixed)  # or an error, if it is the function's own
                family.give_up()
                what = f"{self._name} is compiled for each size of its arguments: with sizes that are symbols"
                warnings.warn(f"{what} it raised {error!r}", RecompilationWarning, stacklevel=4)
                return made
            found = family.find(sizes)
            assert found is not None, "guards hold for the sizes that they were made for"
        return self._keep(key, found)

    def _compiled_alone(self, key: Any, dynamic: Any, fixed: Any) -> Compiled:
        """A program for these sizes alone."""
        structure, signature, _ = key  # what is static may have no name that is the same in other processes
        function = (getattr(self._f, name, "") for name in ("__module__", "__qualname__", "__name__"))
        call = content_key(*function, str(structure), str(signature))
        with get_backend(self._backend).expect(call) as arrived:
            with collector_paused():
                made = self._entries[key] = self._trace(dynamic, fixed).compile()
            arrived(made.executable)
        return made

    def _learned(
        self, family: Family[Compiled], symbols: Symbols, sizes: Sizes, dynamic: Any, fixed: Any
    ) -> Exception | None:
        """Give a family a program for many sizes; why it cannot be made, if so: some functions need plain numbers."""
        try:
            with collector_paused():
                lowered = self._trace(dynamic, fixed, sizes)
                asked = symbols.asked
                str(lowered.results)
                if symbols.asked > asked:
                    raise TraceError("what the results are structured by holds sizes")
                family.add(lowered.template(symbols), symbols, sizes)
        except Exception as error:  # noqa: BLE001 -- user code may raise anything where it meets a symbol
            return error
        return None

    def _keep(self, key: Any, entry: Compiled) -> Compiled:
        """Keep an instance; those that have not been used while `INSTANCES` others came are dropped."""
        if len(self._instances) >= INSTANCES:
            self._older, self._instances = self._instances, {}
            for old in self._older:
                self._entries.pop(old, None)
        self._entries[key] = self._instances[key] = entry
        return entry

    def compiled(self, *args: Any, **kwargs: Any) -> Compiled:
        """The program that such a call runs, for arguments of exactly these types."""
        entry, arrays = self._compiled(args, kwargs)
        inputs = tuple(replace(v, type=type_of(a)) for v, a in zip(entry.inputs, arrays, strict=True))
        return replace(entry, inputs=inputs, again=self._again(*self._split(args, kwargs)))

    def profile(self, *args: Any, **kwargs: Any) -> Profile:
        """The profile of such a call: see `Compiled.profile`."""
        entry, arrays = self._compiled(args, kwargs)
        return entry.profile_of(arrays)

    def lower(self, *args: Any, **kwargs: Any) -> LoweredFunction:
        """The traced graph for such arguments, with every stage of its compilation.

        Arrays may be given as types: anything with a dtype and a shape.
        """
        dynamic, fixed = self._split(args, kwargs)
        return replace(self._trace(dynamic, fixed), again=self._again(dynamic, fixed))

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

    def _trace(self, dynamic: Any, fixed: Any, sizes: Sizes | None = None) -> LoweredFunction:
        """The function on tracers of the arguments' types, or of `sizes` in their place."""
        paths, leaves, structure = optree.tree_flatten_with_path(dynamic)
        names = _input_names(self._f, paths, {k for k, *_ in fixed})
        types = [argument_type(x) for x in leaves]
        if sizes is not None:
            rest = iter(sizes)
            types = [TensorType(t.dtype, tuple(itertools.islice(rest, t.rank))) for t in types]
        result: list[optree.PyTreeSpec] = []

        def flat(*tracers: Tracer) -> list[Any]:
            for t, leaf in zip(tracers, leaves, strict=True):
                t.weak = type(leaf) in WEAK
            args, kwargs = self._join(optree.tree_unflatten(structure, tracers), fixed)
            out, spec = optree.tree_flatten(self._f(*args, **kwargs))
            result.append(spec)
            return out

        graph = trace(flat, types, names, self._name)
        donated = tuple(i for i, name in enumerate(names) if name.split(".")[0] in self._donate)
        settings = self._backend, self._memory_limit, self._autotune
        return LoweredFunction(graph, donated, *settings, arguments=structure, results=result[0])

    def _again(self, dynamic: Any, fixed: Any) -> Callable[[], LoweredFunction]:
        """What traces the function for such arguments once more, and does not keep their arrays."""
        types = optree.tree_map(lambda x: x if type(x) in WEAK else argument_type(x), dynamic)
        return lambda: self._trace(types, fixed)


def jit(
    f: Callable[..., Any] | None = None,
    *,
    donate: Names = (),
    static: Names = (),
    backend: str = "cpu",
    memory_limit: int | None = None,
    autotune: bool = False,
) -> Any:
    """Compile a function of arrays.

    The function is traced once for each structure (pytree) and dtypes of its arguments, NumPy arrays and numbers, and
    for few of their sizes: those that differ from call to call become symbols, on which the traced function can do
    arithmetic as on integers. What it makes a plain number of (by `range`, `float`, as a key or in a text, or to cut a
    NumPy array) it is traced for anew. Results are NumPy arrays in the structure that it returns.

    Args:
        f: the function; without it, a decorator is returned.
        donate: positions or names of arguments whose arrays results may be written to, where types agree.
        static: positions or names of hashable arguments that are part of the program: another value, another trace.
        backend: the backend's name.
        memory_limit: bytes that each program's arena may take: all values between arguments and results, with the
            gaps between them, at the moment at which they need most. Arguments, constants and results do not count
            (donated arguments and what is written over them neither), and each call that runs at the same time has an
            arena of its own. Where more is needed, kernels run in an order that needs less, and values are dropped and
            computed again before their next use, which takes time and changes no result. `lower(...).explain()` says
            how much the arena takes.
        autotune: whether to measure on this machine how kernels are best made: the sizes of register tiles, the blocks
            in which operands go by, the parts that threads share. Each kernel whose call takes 20 us or more runs by
            itself, on random data, in some tens of ways, which takes seconds a kernel; what is chosen is kept in the
            kernel cache and not measured again, in other processes neither. Results differ by rounding. The machine
            should have nothing else to do. `lower(...).explain()` says what was measured and chosen.

    Raises:
        BackendError: there is no such backend.
        TraceError: `memory_limit` is no positive integer, or `autotune` no bool.
        OutOfMemoryError: (at the first call) the program cannot do with `memory_limit`.
    """
    if f is None:
        return lambda f: Jit(f, donate, static, backend, memory_limit, autotune)
    return Jit(f, donate, static, backend, memory_limit, autotune)


def _limit(memory_limit: int | None) -> int | None:
    """The limit as an int."""
    if memory_limit is None:
        return None
    try:
        limit = operator.index(memory_limit)
    except TypeError:
        limit = 0
    if limit <= 0:
        raise TraceError(f"memory_limit={memory_limit!r} is no positive integer, the bytes of an arena")
    return limit


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


def _input_names(f: Callable[..., Any], paths: Sequence[tuple[Any, ...]], fixed: set[int | str]) -> list[str]:
    """A name for each leaf: its parameter's name, then its place in that argument."""
    parameters = _parameters(f)
    most = max((first for side, first, *_ in paths if side == 0), default=0)
    positions = [i for i in range(1 + most + len(fixed)) if i not in fixed]
    names = []
    for side, first, *rest in paths:
        if side == 0:
            position = positions[first]
            head = parameters[position] if position < len(parameters) else f"arg{position}"
        else:
            head = str(first)
        names.append(".".join([head, *map(str, rest)]))
    return names


__all__ = ["Compiled", "Jit", "LoweredFunction", "argument_type", "jit"]
