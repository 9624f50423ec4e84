"""A model as commands work on it, wherever it comes from: its types, stages, kernels and compiled program."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import click
import numpy as np

from tgc.cli.command import CommandError
from tgc.cli.models import Spec, read_model
from tgc.ir import Graph
from tgc.jit import Compiled, LoweredFunction
from tgc.loaded import Saved, load
from tgc.passes import Refusal
from tgc.runtime.profile import Profile
from tgc.runtime.structures import result_names
from tgc.text import parse, value_names
from tgc.types import TensorType


class Program(Protocol):
    """A compiled model."""

    def __call__(self, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """The results, in order."""

    def profile(self, arrays: Sequence[np.ndarray]) -> Profile:
        """Where the time of a call goes."""


class Opened(Protocol):
    """A model that has been read.

    Attributes:
        name: of its graph.
        backend: that it is compiled for.
        stages: the graph as traced and after each pass.
        kernels: name -> source.
        refusals: what passes declined, and why.
    """

    name: str
    backend: str

    @property
    def inputs(self) -> Mapping[str, TensorType]: ...

    @property
    def stages(self) -> Mapping[str, Graph]: ...

    @property
    def kernels(self) -> Mapping[str, str]: ...

    @property
    def refusals(self) -> Sequence[Refusal]: ...

    @property
    def outputs(self) -> Sequence[str]: ...

    def program(self) -> Program: ...


class Artifact:
    """A program of a `.tgc` file: its stages and kernels as they were made for this machine, or are made now."""

    def __init__(self, saved: Saved) -> None:
        self._saved = saved
        self.name = saved.program.name
        self.backend = saved.program.backend
        self.inputs = dict(saved.program.inputs)
        self.outputs = [name for name, _ in saved.program.outputs]

    @cached_property
    def stages(self) -> Mapping[str, Graph]:
        texts = dict(self._saved.stages)
        return {name: self._saved.program.graph if name == "trace" else parse(text) for name, text in texts.items()}

    @property
    def kernels(self) -> Mapping[str, str]:
        return self._saved.kernels

    @property
    def refusals(self) -> Sequence[Refusal]:
        return self._saved.lowered.compilation.refusals

    def program(self) -> Program:
        return _Compiled(self._saved.compiled)


class Source:
    """A model that is lowered here."""

    def __init__(self, lowered: LoweredFunction) -> None:
        self.lowered = lowered
        self.name = lowered.graph.name
        self.backend = lowered.backend
        self.inputs = inputs_of(lowered.graph)

    @property
    def stages(self) -> Mapping[str, Graph]:
        return self.lowered.stages

    @property
    def kernels(self) -> Mapping[str, str]:
        return self.lowered.kernels

    @property
    def refusals(self) -> Sequence[Refusal]:
        return self.lowered.compilation.refusals

    @cached_property
    def outputs(self) -> Sequence[str]:
        assert self.lowered.results is not None
        return result_names(self.lowered.results)

    def program(self) -> Program:
        return _Compiled(self.lowered.compile())


class _Compiled:
    def __init__(self, compiled: Compiled) -> None:
        self._compiled = compiled

    def __call__(self, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        return self._compiled.executable(arrays)

    def profile(self, arrays: Sequence[np.ndarray]) -> Profile:
        return self._compiled.profile_of(arrays)


def open_model(
    model: str, shapes: Sequence[tuple[str, Spec]] = (), backend: str = "cpu", passes: str | None = None
) -> Opened:
    """The model that a command line names.

    Of a `.tgc` file with several programs it is the first one of these shapes.

    Raises:
        CommandError: there is no such model, or it needs other shapes.
    """
    if Path(model).suffix == ".tgc":
        return _of_artifact(model, dict(shapes), backend, passes)
    return Source(read_model(model, shapes, backend, passes))


def _of_artifact(model: str, given: Mapping[str, Spec], backend: str, passes: str | None) -> Artifact:
    if passes is not None:
        raise CommandError(f"{model} is compiled: --passes are for what it was compiled from")
    programs = load(model, backend=None if backend == "cpu" else backend).programs
    for saved in programs:
        types = dict(saved.program.inputs)
        if all(name in types and types[name] == spec.typed(types[name].dtype) for name, spec in given.items()):
            if saved.note:
                click.echo(f"tgc: note: {saved.note}", err=True)
            return Artifact(saved)
    there = " or ".join(f"({', '.join(f'{name}: {t}' for name, t in s.program.inputs)})" for s in programs)
    raise CommandError(f"{model} has no program of these shapes; it takes {there}")


def inputs_of(graph: Graph) -> dict[str, TensorType]:
    """The types of a graph's inputs, under the names by which it is printed."""
    names = value_names(graph)
    return {names[v]: v.type for v in graph.inputs}


def chosen(names: Iterable[str], wanted: str, what: str) -> str:
    """`wanted`, if it is among the names.

    Raises:
        CommandError: it is not; says what there is.
    """
    known = list(names)
    if wanted in known:
        return wanted
    near = difflib.get_close_matches(wanted, known, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise CommandError(f"there is no {what} {wanted!r}; {hint}there are {', '.join(known) or 'none'}")
