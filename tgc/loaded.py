"""`load`: what makes functions of the files that `Compiled.save` writes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import optree

from tgc.compiled import Compiled, LoweredFunction, array_of
from tgc.errors import ArtifactError, DTypeError, ParseError, ShapeError, TgcError, TraceError
from tgc.ir import Graph
from tgc.locks import Lock
from tgc.runtime.artifact import LAST, Code, Program, read
from tgc.runtime.registry import get_backend
from tgc.runtime.structures import from_json
from tgc.text import parse
from tgc.types import TensorType

if TYPE_CHECKING:
    from tgc.runtime.profile import Profile


class Saved:
    """A program in a file: a function of arrays of exactly some types.

    Attributes:
        program: as it lies in the file.
        code: the one that this machine runs; None: the file has none for it, and the graph is compiled at the first
            call.
        note: why, if it is so.
    """

    def __init__(self, program: Program, backend: str) -> None:
        self.program, self._backend = program, backend
        machine = get_backend(backend).machine
        self.code = next((c for c in program.codes if c.packed.machine == machine), None)
        self.note = ""
        if self.code is None:
            there = ", ".join(c.target for c in program.codes) or "none"
            self.note = (
                f"@{program.name} is compiled here from its graph: the code in the file ({there}) is for another "
                "machine or version of tgc"
            )
        self._lock = Lock()
        self._made = None if self.code is None else self._linked(self.code)

    def _linked(self, code: Code) -> Compiled:
        p, planned = self.program, code.stages.get(LAST, "")
        executable = get_backend(self._backend).unpack(code.packed, lambda: parse(planned))
        structures = from_json(p.arguments), from_json(p.results)
        return Compiled(executable, p.values, *structures, p.donated, self._backend, lambda: self.lowered)

    @cached_property
    def lowered(self) -> LoweredFunction:
        """The traced graph on its way to machine code once more, with every stage on view."""
        p, structures = self.program, (from_json(self.program.arguments), from_json(self.program.results))
        options = self._backend, p.memory_limit, p.autotune, p.pipeline
        return LoweredFunction(p.graph, p.donated, *options, *structures, lambda: self.lowered)

    @property
    def compiled(self) -> Compiled:
        """The program, which is compiled now if the file has no code for this machine.

        It can be saved, too: for other targets, or into another file.
        """
        with self._lock:
            if self._made is None:
                self._made = self.lowered.compile()
        return self._made

    @cached_property
    def stages(self) -> Mapping[str, str]:
        """The graph as traced and after each pass, as text: as they were made for the code of this machine."""
        if self.code is not None:
            return {"trace": self.program.trace, **self.code.stages}
        return {name: str(graph) for name, graph in self.lowered.stages.items()}

    @property
    def kernels(self) -> Mapping[str, str]:
        """Kernel name -> source, of the same."""
        return self.lowered.kernels if self.code is None else self.code.kernels


class Loaded:
    """The function in a file: it takes the arguments, and returns the results, that the saved function did.

    The attributes below are those of the first program; `programs` has all, one for each types of arguments.

    Attributes:
        manifest: what the file says of itself, as JSON has it.
        programs: in the order in which they were added.
        notes: what had to be compiled on this machine, and why.
    """

    def __init__(self, manifest: Mapping[str, Any], programs: Sequence[Saved]) -> None:
        self.manifest, self.programs = manifest, tuple(programs)
        self.notes = tuple(s.note for s in programs if s.note)
        self._by_call = {
            (from_json(s.program.arguments), tuple((t.dtype, t.shape) for _, t in s.program.inputs)): s
            for s in programs
        }

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's results.

        Raises:
            TraceError: no program is for arguments of this structure.
            ShapeError, DTypeError: nor of these types.
        """
        saved, arrays = self._fitting(args, kwargs)
        return saved.compiled.run(arrays)

    def profile(self, *args: Any, **kwargs: Any) -> Profile:
        """The profile of such a call: see `Compiled.profile`."""
        saved, arrays = self._fitting(args, kwargs)
        return saved.compiled.profile_of(arrays)

    def compiled(self, *args: Any, **kwargs: Any) -> Compiled:
        """The program for such arguments."""
        return self._fitting(args, kwargs)[0].compiled

    def _fitting(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Saved, list[np.ndarray]]:
        leaves: list[Any]
        leaves, structure = optree.tree_flatten((args, kwargs))  # type: ignore[arg-type]
        arrays = [array_of(x) for x in leaves]
        found = self._by_call.get((structure, tuple((a.dtype.newbyteorder("="), a.shape) for a in arrays)))
        if found is None:
            raise self._refusal(structure, arrays)
        return found, arrays

    def _refusal(self, structure: Any, arrays: Sequence[np.ndarray]) -> TgcError:
        """What does not fit."""
        same = [inputs for (known, inputs) in self._by_call if known == structure]
        if not same:
            known = " or ".join(sorted({str(structure) for structure, _ in self._by_call}))
            return TraceError(f"arguments of structure {structure}; the file has {known}")
        given = tuple((a.dtype, a.shape) for a in arrays)
        saved = [s for s in self.programs if from_json(s.program.arguments) == structure]
        there = " or ".join(f"({', '.join(f'{name}: {t}' for name, t in s.program.inputs)})" for s in saved)
        own = ", ".join(str(TensorType(dtype, shape)) for dtype, shape in given)
        shapes = any(tuple(shape for _, shape in inputs) == tuple(a.shape for a in arrays) for inputs in same)
        return (DTypeError if shapes else ShapeError)(f"arguments ({own}); the file has programs for {there}")

    def __repr__(self) -> str:
        def listed(named: Sequence[tuple[str, TensorType]]) -> str:
            return ", ".join(f"{name}: {t}" for name, t in named)

        return "\n".join(
            f"<{p.name}({listed(p.inputs)}) -> {listed(p.outputs)}; {', '.join(c.target for c in p.codes)}>"
            for p in (s.program for s in self.programs)
        )

    @property
    def name(self) -> str:
        """Of the function."""
        return self.programs[0].program.name

    @property
    def inputs(self) -> Mapping[str, TensorType]:
        """Names and types of the arguments' arrays."""
        return dict(self.programs[0].program.inputs)

    @property
    def outputs(self) -> Mapping[str, TensorType]:
        """Names and types of the results."""
        return dict(self.programs[0].program.outputs)

    @property
    def stages(self) -> Mapping[str, str]:
        """The graph as traced and after each pass, as text, in order."""
        return self.programs[0].stages

    @property
    def kernels(self) -> Mapping[str, str]:
        """Kernel name -> source."""
        return self.programs[0].kernels

    @cached_property
    def graph(self) -> Graph:
        """The graph at its final stage, whose constants have no data (those of `programs[0].program.graph` have)."""
        try:
            return parse(self.stages[LAST])
        except (KeyError, ParseError) as error:
            raise ArtifactError(f"the file has no stage {LAST}: {error}") from error


def load(path: str | os.PathLike[str], backend: str | None = None) -> Loaded:
    """The function that `Compiled.save` wrote into a file.

    Where the file has code for this machine, nothing is compiled; elsewhere the traced graph is, at the first call. The
    file is mapped: constants are read from it when they are used, and must stay as they are (a file of that name may be
    replaced, not overwritten in place). All that is used is checked for damage. A file holds machine code: load what
    you would run.

    Args:
        path: of the file.
        backend: another backend than the program was saved for, or a level of machines, such as "cpu:avx2".

    Raises:
        OSError: the file cannot be read.
        ArtifactError: it is damaged, of another version of the format, or nothing of the kind.
        BackendError: there is no such backend.
    """
    archive, programs = read(path)
    if not programs:
        raise ArtifactError(f"{archive.path} holds no program")
    return Loaded(archive.manifest, [Saved(p, backend or p.backend) for p in programs])


__all__ = ["Loaded", "Saved", "load"]
