"""Traced functions of pytrees on their way to machine code, and compiled ones."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optree

from tgc.errors import DTypeError, ShapeError, TraceError
from tgc.ir import Value
from tgc.runtime.address import address_of
from tgc.runtime.lowered import Lowered
from tgc.runtime.registry import Executable, get_backend
from tgc.runtime.structures import result_names, to_json
from tgc.sizes import Symbols
from tgc.types import BOOL, C128, F64, I64, TensorType, as_dtype, type_of

if TYPE_CHECKING:
    from tgc.runtime.profile import Profile

WEAK: dict[type, np.dtype] = {bool: BOOL, int: I64, float: F64, complex: C128}  # numbers of Python: their dtypes


@dataclass(frozen=True)
class LoweredFunction(Lowered):
    """A traced function on its way to machine code: `Lowered`, and the structures of arguments and results.

    Attributes:
        again: traces it once more: what is compiled of it keeps this, not the stages.
    """

    arguments: optree.PyTreeSpec | None = None
    results: optree.PyTreeSpec | None = None
    again: Callable[[], LoweredFunction] | None = None

    def compile(self) -> Compiled:
        """Machine code, behind a function of the same arguments (static ones left out)."""
        return self._wrapper()(super().compile())

    def save(self, path: str | os.PathLike[str], *, targets: Sequence[str] = ("native",), add: bool = False) -> None:
        """Write what it compiles to into a file: see `Compiled.save`."""
        from tgc.runtime.artifact import Program, merged, read, write  # of no use to those who save nothing

        assert self.arguments is not None
        assert self.results is not None
        arguments, results = to_json(self.arguments, "arguments"), to_json(self.results, "results")
        made = Program.of(self, arguments, results, result_names(self.results), targets)
        write(path, merged(read(path)[1] if add else (), [made]))

    def view(self, html: str | os.PathLike[str] | None = None, *, profile: Profile | None = None) -> None:
        """The explorer: every stage, kernel and the memory plan, and a profile if there is one, as a web page.

        It is served on this machine, and opened in a browser, until interrupted; or written to a file.

        Args:
            html: the file to write, which needs neither a server nor the network.
            profile: of a call, as `Compiled.profile` measures it.
        """
        from tgc.view import Model, page, serve  # of no use to those who only run programs

        text = page(Model.of(self, profile))
        if html is None:
            serve(text)
        else:
            Path(html).write_text(text, encoding="utf-8")

    def template(self, symbols: Symbols) -> Callable[[Sequence[int]], Compiled]:
        """A function of the values of `symbols`, which are sizes in the graph, that makes what `compile` does."""
        backend = get_backend(self.backend)
        with backend.ahead(self.graph):
            made = backend.template(self.compilation.result, self.donated, symbols)
        wrapped = self._wrapper()
        return lambda values: wrapped(made(values))

    def _wrapper(self) -> Callable[[Executable], Compiled]:
        """What makes compiled functions of executables; it keeps no stage of the compilation."""
        inputs, structures = self.graph.inputs, (self.arguments, self.results)
        donated, backend, again = self.donated, self.backend, self.again
        return lambda executable: Compiled(executable, inputs, *structures, donated, backend, again)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled function of arrays of exactly the types that it was lowered for.

    It keeps no stage of its compilation: their constants would take as much memory again as the program's.
    """

    executable: Executable
    inputs: tuple[Value, ...]
    arguments: optree.PyTreeSpec | None
    results: optree.PyTreeSpec | None
    donated: tuple[int, ...]
    backend: str
    again: Callable[[], LoweredFunction] | None = None

    def save(self, path: str | os.PathLike[str], *, targets: Sequence[str] = ("native",), add: bool = False) -> None:
        """Write the program into a file, for `tgc.load` in any process.

        The function is traced once more, as it is now; the file has the traced graph with its constants, and for each
        of `targets` every stage, the kernels' sources and object code. It is written at once: there is the old file or
        the new one. It holds no pickle, but machine code: files from others are to be trusted like programs of theirs.

        Args:
            path: of the file, by convention `*.tgc`.
            targets: kinds of machines to compile for: "native" is this one, or what TGC_TARGET makes of it; others are
                levels that the backend knows (of x86-64: "avx512", "avx2", "baseline"). Elsewhere `tgc.load` compiles.
            add: to what the file has: a program for other arguments goes beside those that are there, and one for other
                targets joins those of the same graph.

        Raises:
            BackendError: the backend has no such target.
            TraceError: arguments or results hold containers other than tuples, lists and dictionaries; or there is no
                function to trace, but a `LoweredFunction` that can be saved.
            ArtifactError: there is something else in the file that is to be added to.
        """
        self._traced("save").save(path, targets=targets, add=add)

    def view(self, html: str | os.PathLike[str] | None = None, *, profile: Profile | None = None) -> None:
        """The explorer of the program, as `LoweredFunction.view`; the function is traced once more, as it is now.

        Raises:
            TraceError: there is no function to trace.
        """
        self._traced("view").view(html, profile=profile)

    def _traced(self, act: str) -> LoweredFunction:
        if self.again is None:
            raise TraceError(
                f"there is no function to trace again: {act} the LoweredFunction that this was compiled of"
            )
        return self.again()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's results.

        Raises:
            TraceError: the arguments have another structure than those it was lowered for.
            ShapeError, DTypeError: an array has another type.
        """
        return self.run(self._fitting(args, kwargs))

    def profile(self, *args: Any, **kwargs: Any) -> Profile:
        """Where the time of such a call goes, kernel by kernel, beside the machine's limits; its string is a table.

        The call is made some times over; donated arguments are left as they are.

        Raises:
            TraceError, ShapeError, DTypeError: as a call does.
        """
        return self.profile_of(self._fitting(args, kwargs))

    def profile_of(self, arrays: Sequence[np.ndarray]) -> Profile:
        """The profile for arrays that are known to fit."""
        return get_backend(self.backend).profile(self.executable, _native(arrays))

    def _fitting(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[np.ndarray]:
        """The arrays of a call, of the types that it was compiled for."""
        leaves: list[Any]
        leaves, structure = optree.tree_flatten((args, kwargs))  # type: ignore[arg-type]
        if structure != self.arguments:
            raise TraceError(f"arguments of structure {structure}; it was compiled for {self.arguments}")
        arrays = [array_of(x) for x in leaves]
        for a, v in zip(arrays, self.inputs, strict=True):
            if a.shape != v.shape:
                raise ShapeError(f"argument {v.name} has shape {a.shape}; it was compiled for {v.type}")
            if a.dtype.newbyteorder("=") != v.dtype:
                raise DTypeError(f"argument {v.name} has dtype {a.dtype}; it was compiled for {v.type}")
        return arrays

    def run(self, arrays: Sequence[np.ndarray]) -> Any:
        """The results for arrays that are known to fit."""
        if self.donated:
            _check_donated(arrays, self.donated)
        assert self.results is not None
        return optree.tree_unflatten(self.results, self.executable(_native(arrays)))


def argument_type(x: Any) -> TensorType:
    """The type as which an argument is traced.

    Raises:
        TraceError: it is neither an array nor a number.
    """
    if type(x) in WEAK:
        return TensorType(WEAK[type(x)], ())
    if isinstance(x, np.ndarray | np.generic):
        return type_of(np.asarray(x))
    if hasattr(x, "dtype") and hasattr(x, "shape"):
        return TensorType(as_dtype(x.dtype), tuple(x.shape))
    raise TraceError(
        f"argument {x!r:.80} of type {type(x).__name__} is no array; make it static, or register it as a pytree"
    )


def array_of(x: Any) -> np.ndarray:
    """An argument as an array, a number as one of its default dtype.

    Raises:
        TraceError: it is neither an array nor a number.
    """
    if type(x) in WEAK:
        return np.asarray(x, WEAK[type(x)])
    if isinstance(x, np.ndarray | np.generic):
        return np.asarray(x)
    if hasattr(x, "__array_interface__") or hasattr(x, "__dlpack__"):
        return np.asarray(x)
    raise TraceError(
        f"argument {x!r:.80} of type {type(x).__name__} is no array; make it static, or register it as a pytree"
    )


def _native(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Arrays in the machine's byte order."""
    return [a if a.dtype.isnative else a.astype(a.dtype.newbyteorder("=")) for a in arrays]


def _check_donated(arrays: Sequence[np.ndarray], donated: Sequence[int]) -> None:
    """Refuse to overwrite what cannot, or must not, be."""
    addresses = Counter(map(address_of, arrays))
    for i in donated:
        a = arrays[i]
        flags = a.flags
        if not (flags.c_contiguous and flags.aligned and a.dtype.isnative):
            raise TraceError(f"donated argument {i} must be a C-contiguous, aligned array to be updated in place")
        if not flags.writeable:
            raise TraceError(f"donated argument {i} is read-only")
        if a.size and addresses[address_of(a)] > 1:
            raise TraceError(f"donated argument {i} shares its memory with another argument")
