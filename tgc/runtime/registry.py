"""Backends by name: the entry points of group `tgc.backends`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np

from tgc.errors import BackendError
from tgc.ir import Graph
from tgc.passes.manager import Pass, Target
from tgc.runtime.profile import Profile
from tgc.sizes import Symbols


class Executable(Protocol):
    """A compiled graph. Calls may come from several threads at once."""

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]: ...


class Backend(Protocol):
    """What a backend offers to the runtime."""

    name: str

    @property
    def target(self) -> Target:
        """The machine that graphs are compiled for."""

    def autotune(self) -> Pass:
        """A pass over planned graphs that takes decisions of lowerings by measurement."""

    def ahead(self, graph: Graph) -> AbstractContextManager[None]:
        """The block in which passes go over a traced graph, for `compile` or `template` to get what they make of it."""

    def sources(self, graph: Graph) -> Mapping[str, str]:
        """The text of every kernel of a planned graph, by name."""

    def compile(self, graph: Graph, donated: Sequence[int], key: str | None = None) -> Executable:
        """An executable of a planned graph (pipeline stage `memory`), kept under `key` if there is one."""

    def load(self, key: str) -> Executable | None:
        """What was kept under a key, by this process or another one."""

    def template(self, graph: Graph, donated: Sequence[int], symbols: Symbols) -> Callable[[Sequence[int]], Executable]:
        """A function of the values of `symbols`, which are sizes in the graph, that makes executables for them."""

    def profile(self, executable: Executable, arrays: Sequence[np.ndarray]) -> Profile:
        """Where the time of a call of what `compile` returned goes; no array is overwritten."""


@cache
def get_backend(name: str) -> Backend:
    """The backend called `name`.

    Raises:
        BackendError: there is none; names those that there are.
    """
    found = {e.name: e for e in entry_points(group="tgc.backends")}
    if name not in found:
        known = ", ".join(sorted(found)) or "none: is tgc installed (pip install -e .)?"
        raise BackendError(f"no backend {name!r}; known are {known}")
    backend: Any = found[name].load()
    made: Backend = backend()
    return made
