"""Planned graph -> kernels' sources -> machine code -> executable.

What makes kernels, measures and profiles is imported when it is used: programs that are loaded start without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tgc.backends.cpu.callback import Callback, opaque_nodes
from tgc.backends.cpu.driver import Driver, launch_loop
from tgc.backends.cpu.kept import get_plan, put_plan
from tgc.backends.cpu.loader import (
    Loader,
    Unit,
    cache_entries,
    form_key,
    load_entries,
    load_units,
    source_key,
    toolchain,
    unit_objects,
)
from tgc.backends.cpu.plan import Plan
from tgc.backends.cpu.present import LEAST, Expected, expecting, need
from tgc.backends.cpu.program import Arenas, CpuProgram
from tgc.backends.cpu.target import CpuTarget
from tgc.collector import collector_paused
from tgc.errors import BackendError
from tgc.ir import Graph, Node
from tgc.locks import Lock
from tgc.ops.kinds import Control
from tgc.ops.movement import reshape
from tgc.ops.region import fused
from tgc.runtime.address import aligned
from tgc.runtime.cache import KernelCache, content_key
from tgc.runtime.registry import Executable, Packed
from tgc.sizes import Symbols, pin
from tgc.types import ALIGNMENT

if TYPE_CHECKING:
    from tgc.backends.cpu.autotune import Autotune, Tuner
    from tgc.backends.cpu.flatten import Numbered
    from tgc.backends.cpu.workers import Workers
    from tgc.backends.loops.ir import Kernel
    from tgc.runtime.profile import Profile, Roofline

LARGE = 60  # nodes of a graph that has kernels enough for processes to share


@dataclass(frozen=True)
class Launch:
    """One kernel of one fused node."""

    node: Node
    kernel: Kernel
    source: str


class CpuBackend:
    """Kernels for the host's CPU. One driver, loader and cache serve a process."""

    name = "cpu"

    @property
    def machine(self) -> str:
        return f"{self.target.key} {form_key()}"

    def __init__(self, level: str | None = None) -> None:
        self.target = CpuTarget.host(level)
        self.level = level or os.environ.get("TGC_TARGET") or "native"
        self._workers: Workers | None = None
        self._lock = Lock()

    @cached_property
    def cache(self) -> KernelCache:
        return KernelCache.default()

    @cached_property
    def loader(self) -> Loader:
        return Loader()

    @cached_property
    def driver(self) -> Driver:
        return Driver(self.target, self.cache, self.loader)

    @cached_property
    def tuner(self) -> Tuner:
        from tgc.backends.cpu.autotune import Tuner

        return Tuner(self.target, self.cache, self.loader, self.driver)

    def describe(self) -> Mapping[str, str]:
        """What it has found out about the machine, for readers."""
        target, wanted = self.target, ("amx-int8", "avx512bf16", "avx512vnni", "avx512f", "avx2", "fma", "f16c", "neon")
        features = ", ".join(f for f in wanted if f in target.features)
        registers = f"{target.vector_registers} registers of {target.vector_bits} bits"
        caches = f"{target.l1_bytes >> 10} KiB and {target.l2_bytes >> 10} KiB of cache a core"
        return {
            "cpu": f"{target.triple.split('-')[0]}, {target.cpu}" + (f" with {features}" if features else ""),
            "vectors": f"{registers}, {caches}",
            "threads": f"{target.threads}; TGC_NUM_THREADS sets another number",
        }

    def autotune(self) -> Autotune:
        """The pass that gives regions the schedules that are the quickest on this machine."""
        from tgc.backends.cpu.autotune import Autotune

        return Autotune(self.tuner)

    @cached_property
    def roofline(self) -> Roofline:
        """The limits of the machine, measured when they are first asked for."""
        from tgc.backends.cpu import roofline

        return roofline.measure(self.target, self.driver, self.cache, self.loader)

    @collector_paused()
    def launches(self, graph: Graph) -> list[Launch]:
        """The kernels of a planned graph and of its bodies, in order.

        Raises:
            BackendError: a node is neither a fused region nor a view nor control flow.
        """
        return list(self._launches(graph, {}))

    def _launches(
        self, graph: Graph, known: dict[object, list[tuple[Kernel, str]]], *, alone: bool = False
    ) -> Iterator[Launch]:
        """The same, equal regions (of layers that are alike) lowered once: `known` holds the kernels of each. In a lane
        a thread is `alone`.
        """
        from tgc.backends.cpu.emit import emit
        from tgc.backends.cpu.places import overwritten
        from tgc.backends.loops.lower import lower

        overwrites = overwritten(graph)
        for node in graph.nodes:
            if isinstance(node.op, Control):
                lane = alone or node.attrs.get("lanes", 1) > 1
                for body in node.regions:
                    yield from self._launches(body, known, alone=lane)
            elif node in overwrites:
                over = overwrites[node]
                key = node.body, node.attrs["kind"], node.attrs.get("schedule"), tuple(sorted(over.items())), alone
                if key not in known:
                    known[key] = [(k, emit(k, self.target)) for k in lower(node, self.target, over, alone=alone)]
                for k in known[key]:
                    yield Launch(node, *k)
            elif node.op is not fused and node.op is not reshape:
                raise BackendError(f"{node.op.name} reached the CPU backend outside of a fused region")

    def sources(self, graph: Graph) -> Mapping[str, str]:
        """The text of every kernel, by name; kernels of one name are numbered unless they are the same."""
        return {name: source for _, name, source in self._named(graph)}

    def kernels_of(self, graph: Graph) -> Mapping[Node, Sequence[str]]:
        """The names of the kernels of each fused node, as `sources` has them."""
        found: dict[Node, list[str]] = {}
        for node, name, _ in self._named(graph):
            found.setdefault(node, []).append(name)
        return found

    def _named(self, graph: Graph) -> Iterator[tuple[Node, str, str]]:
        """The kernels of all nodes, as they are launched, with names that tell them apart and their sources."""
        found: dict[str, str] = {}
        for launch in self.launches(graph):
            name, k, source = launch.kernel.name, 1, launch.source
            while found.get(name, source) != source:
                k += 1
                name = f"{launch.kernel.name}_{k}"
                source = launch.source.replace(f"def {launch.kernel.name}(", f"def {name}(")
            found[name] = source
            yield launch.node, name, source

    def assembly(self, source: str, name: str) -> str:
        """The machine code, as text, of the kernel `name` that `sources` gave as `source`."""
        from tgc.backends.cpu.compile import kernel_assembly  # Numba, which programs that are kept do without

        return kernel_assembly(source, name, self.target)

    def compile(self, graph: Graph, donated: Sequence[int], key: str | None = None) -> CpuProgram:
        """An executable of a planned graph; kernels come from the cache where it has them.

        Under a key, the plan is put there too, unless the graph has opaque regions: they call Python.
        """
        from tgc.backends.cpu.planning import make_plan, memory_needed

        need(memory_needed(graph, donated))
        launched, addresses, callbacks = self._launched(graph)
        plan = make_plan(graph, donated, launched, tuple(addresses), self.driver.threads)
        if key is not None and not callbacks:
            put_plan(self.cache, self._plan_key(key), plan)
        return CpuProgram(plan, _every(addresses, callbacks), self.driver, callbacks)

    def pack(self, graph: Graph, donated: Sequence[int]) -> Packed:
        """A planned graph as data: its plan, constants as they lie in memory, object code, and what runs it."""
        from tgc.backends.cpu.planning import make_plan

        launches, loop = self.launches(graph), launch_loop()
        kernels = [(launch.source, launch.kernel.name) for launch in launches]
        with collector_paused():
            entries, objects = unit_objects([*kernels, *loop], self.target, self.cache)
        places = {unit: entry for unit, entry in entries.items() if unit not in loop}
        launched, _ = _numbered(graph, launches, list(places))
        plan = make_plan(graph, donated, launched, tuple(places.values()), self.target.threads)
        constants = {str(base): c for base, c in plan.constants.items()}
        data = replace(plan, constants={}).to_bytes()
        return Packed(self.machine, dict(toolchain()), data, constants, objects)

    def unpack(self, packed: Packed, graph: Callable[[], Graph]) -> CpuProgram:
        """The program that `pack` made data of; opaque regions call what `graph` says."""
        constants = {int(base): aligned(c, ALIGNMENT) for base, c in packed.tensors.items()}
        plan = replace(Plan.of_bytes(packed.plan), constants=constants)
        if lacking := {symbol for _, symbol in plan.kernels} - packed.objects.keys():
            raise BackendError(f"there is no machine code of {min(lacking)}")
        addresses = self.loader.load(packed.objects)
        first = len(plan.kernels)
        opaque = any(fact.kind == "opaque" for fact in plan.facts)
        callbacks = {k: Callback(node) for k, node in enumerate(opaque_nodes(graph()) if opaque else (), first)}
        every = [*(addresses[symbol] for _, symbol in plan.kernels), *(c.address for c in callbacks.values())]
        return CpuProgram(plan, every, self.driver, callbacks)

    def template(self, graph: Graph, donated: Sequence[int], symbols: Symbols) -> Callable[[Sequence[int]], CpuProgram]:
        """A function of the values of `symbols`, which are sizes in the graph, that makes what `compile` does."""
        from tgc.backends.cpu.template import Template

        for node in opaque_nodes(graph):  # routines of Python's are bound to their sizes
            for v in (*node.operands, *node.results):
                pin(v.shape)
        launched, addresses, callbacks = self._launched(graph)
        driver, arenas, every = self.driver, Arenas(), _every(addresses, callbacks)
        made = Template(graph, donated, launched, tuple(addresses), driver.threads, symbols)

        def program(values: Sequence[int]) -> CpuProgram:
            plan = made.plan(values)
            return CpuProgram(plan, every, driver, callbacks, arenas, lambda: made.told(plan, values))

        return program

    def _launched(
        self, graph: Graph
    ) -> tuple[dict[Node, list[Numbered]], dict[tuple[str, str], int], dict[int, Callback]]:
        """The numbered kernels or callback of each fused node, kernels with their addresses, and callbacks."""
        launches: list[Launch] = []

        def kernels() -> Iterator[tuple[str, str]]:
            for launch in self._launches(graph, {}):
                launches.append(launch)
                yield launch.source, launch.kernel.name
            yield from loop  # with what is compiled goes what runs it, which `driver` then finds

        loop = launch_loop()
        with collector_paused():
            found = load_units(kernels(), self.target, self.cache, self.loader, self._ready())
        units = [unit for unit in found if unit not in loop]
        addresses = dict(found[unit] for unit in units)
        launched, callbacks = _numbered(graph, launches, units)
        return launched, addresses, callbacks

    @contextmanager
    def ahead(self, graph: Graph) -> Iterator[None]:
        """Processes get ready to compile the kernels of a graph while passes go over it in this block.

        They begin with the launch loop, should the cache lack it.
        """
        from tgc.backends.cpu.compile_many import processes
        from tgc.backends.cpu.workers import Workers

        if len(graph.nodes) >= LARGE and (count := processes(self.target)) > 1:
            with suppress(OSError), self._lock:  # no more processes, or no memory for one
                if self._workers is None:
                    self._workers = Workers(self.target, count)
                    loop = launch_loop()
                    for unit, (key, _) in zip(loop, cache_entries(loop, self.target), strict=True):
                        if not self.cache.holds(key):
                            self._workers.give(*unit)
        try:
            yield
        finally:
            if (workers := self._ready()) is not None:
                workers.close()

    def _ready(self) -> Workers | None:
        """The workers that wait."""
        with self._lock:
            workers, self._workers = self._workers, None
        return workers

    def load(self, key: str) -> CpuProgram | None:
        """The program that was compiled under a key, on this machine by this version; None if the cache lacks it."""
        plan = get_plan(self.cache, self._plan_key(key), self.target.threads)
        addresses = None if plan is None else load_entries(plan.kernels, self.cache, self.loader)
        return None if plan is None or addresses is None else CpuProgram(plan, addresses, self.driver)

    @contextmanager
    def expect(self, call: str) -> Iterator[Callable[[Executable], None]]:
        """Make ready what a call of that name needed at the last time, or what it is found to need in this block."""
        key = content_key("arena", call, self.target.key)
        said = self.cache.get(key) if self.cache.plans else None
        known = int(said) if said is not None and said.isdigit() else 0
        expected = Expected() if self.target.threads > 1 else None

        def arrived(executable: Executable) -> None:
            assert isinstance(executable, CpuProgram)
            if expected is not None and expected.memory is not None:
                executable.expect(expected.memory)
            if self.cache.plans and executable.arena >= LEAST and executable.arena != known:
                self.cache.put(key, b"%d" % executable.arena, {"arena": executable.plan.name})

        with expecting(expected):
            need(known)
            yield arrived

    def _plan_key(self, key: str) -> str:
        target = self.target
        machine = map(str, (target.threads, target.l1_bytes, target.l2_bytes, target.near_l3))
        return content_key("plan", key, target.key, *machine, source_key(), *(" ".join(tool) for tool in toolchain()))

    def profile(self, executable: Executable, arrays: Sequence[np.ndarray]) -> Profile:
        """Where the time of a call of what `compile` returned goes; no array is overwritten."""
        assert isinstance(executable, CpuProgram)
        from tgc.backends.cpu import profiler

        return profiler.profile(executable, arrays, self.roofline)


def _numbered(
    graph: Graph, launches: Iterable[Launch], units: Iterable[Unit]
) -> tuple[dict[Node, list[Numbered]], dict[int, Callback]]:
    """The kernels of each fused node by their places among `units`, and callbacks, which are numbered behind them."""
    numbers = {unit: k for k, unit in enumerate(units)}
    launched: dict[Node, list[Numbered]] = {}
    for launch in launches:
        number = numbers[launch.source, launch.kernel.name]
        launched.setdefault(launch.node, []).append((launch.kernel, number))
    callbacks: dict[int, Callback] = {}
    for k, node in enumerate(opaque_nodes(graph), len(numbers)):
        callbacks[k] = Callback(node)
        launched[node] = [(callbacks[k], k)]
    return launched, callbacks


def _every(addresses: Mapping[tuple[str, str], int], callbacks: Mapping[int, Callback]) -> list[int]:
    """The addresses of kernels, then those of callbacks."""
    return [*addresses.values(), *(callback.address for callback in callbacks.values())]
