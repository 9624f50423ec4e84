"""Backends by name: packages of `tgc.backends`, and the entry points of that group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tgc.errors import BackendError
from tgc.ir import Graph, Node
from tgc.sizes import Symbols

if TYPE_CHECKING:
    from tgc.passes.manager import Pass, Target
    from tgc.runtime.profile import Profile


class Executable(Protocol):
    """A compiled graph. Calls may come from several threads at once."""

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]: ...


@dataclass(frozen=True)
class Packed:
    """A compiled graph as data, for a file.

    Attributes:
        machine: what it runs on: backends whose `machine` is equal can run it.
        tools: names and versions of what compiled it.
        plan: what the backend needs beside the rest, in a form of its own.
        tensors: constants as they lie in memory, by names of the backend.
        objects: object code by symbol; equal symbols mean equal code.
    """

    machine: str
    tools: Mapping[str, str]
    plan: bytes
    tensors: Mapping[str, np.ndarray] = field(repr=False)
    objects: Mapping[str, bytes] = field(repr=False)


class Backend(Protocol):
    """What a backend offers to the runtime.

    Attributes:
        name: by which `get_backend` knows it.
        level: of the machines that it compiles for, as one may ask for it by `name:level`.
    """

    name: str
    level: str

    @property
    def machine(self) -> str:
        """All that a packed program depends on: the instructions, and the form of what is packed."""

    @property
    def target(self) -> Target:
        """The machine that graphs are compiled for."""

    def describe(self) -> Mapping[str, str]:
        """What it has found out about the machine, for readers."""

    def autotune(self) -> Pass:
        """A pass over planned graphs that takes decisions of lowerings by measurement."""

    def ahead(self, graph: Graph) -> AbstractContextManager[None]:
        """The block in which passes go over a traced graph, for `compile` or `template` to get what they make of it."""

    def sources(self, graph: Graph) -> Mapping[str, str]:
        """The text of every kernel of a planned graph, by name."""

    def kernels_of(self, graph: Graph) -> Mapping[Node, Sequence[str]]:
        """The names, as of `sources`, of the kernels of each fused node of a planned graph and of its bodies."""

    def assembly(self, source: str, name: str) -> str:
        """The machine code, as text, of the kernel `name` that `sources` gave as `source`."""

    def compile(self, graph: Graph, donated: Sequence[int], key: str | None = None) -> Executable:
        """An executable of a planned graph (pipeline stage `memory`), kept under `key` if there is one."""

    def load(self, key: str) -> Executable | None:
        """What was kept under a key, by this process or another one."""

    def expect(self, call: str) -> AbstractContextManager[Callable[[Executable], None]]:
        """Make ready, while a call is traced and compiled in a with block, what calls of that name needed in earlier
        processes, or what it is going to need, once that is known.

        `call` names a function and the types of arguments. It is a guess: the executable may turn out to be another
        one. The function that the block is given takes it.
        """

    def pack(self, graph: Graph, donated: Sequence[int]) -> Packed:
        """A planned graph, compiled, as data. Nothing of it is run, and the machine may be another one.

        Raises:
            BackendError: a kernel does not compile.
        """

    def unpack(self, packed: Packed, graph: Callable[[], Graph]) -> Executable:
        """The executable of what a backend of the same `machine` packed.

        Args:
            graph: gives the planned graph, whose constants need no data.

        Raises:
            BackendError: its machine code does not link.
        """

    def template(self, graph: Graph, donated: Sequence[int], symbols: Symbols) -> Callable[[Sequence[int]], Executable]:
        """A function of the values of `symbols`, which are sizes in the graph, that makes executables for them."""

    def profile(self, executable: Executable, arrays: Sequence[np.ndarray]) -> Profile:
        """Where the time of a call of what `compile` returned goes; no array is overwritten."""


@cache
def get_backend(name: str) -> Backend:
    """The backend called `name`, for this machine, or for a level of machines: `cpu:avx2`.

    Raises:
        BackendError: there is none, names those that there are; or it knows no such level.
    """
    name, _, level = name.partition(":")
    backend = _own(name)
    if backend is None:
        from importlib.metadata import entry_points  # which reads what is installed: 20 ms

        found = {e.name: e for e in entry_points(group="tgc.backends")}
        if name not in found:
            known = ", ".join(sorted(found)) or "none: is tgc installed (pip install -e .)?"
            raise BackendError(f"no backend {name!r}; known are {known}")
        backend = found[name].load()
    made: Backend = backend(level) if level else backend()
    return made


def _own(name: str) -> Any:
    """What makes the backend of that name in `tgc.backends`; None if there is none."""
    if not name.isidentifier() or find_spec(f"tgc.backends.{name}") is None:
        return None
    return getattr(import_module(f"tgc.backends.{name}"), "backend", None)
