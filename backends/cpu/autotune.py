"""Decisions of lowerings by measurement, for `jit(..., autotune=True)`.

Each region of a program runs alone, on random data of its sizes, shared by threads as in a program. Its decisions
(`loops/schedule.py`) are taken one after the other: all values of one, in turns, the others as they are by then. What
beats the usual schedule by more than the noise of a measurement is kept, as an attribute of the region's node. Regions
that are the same are measured once: what was found is stored beside their machine code, by a hash of all that it
depends on, and read by later compilations, in other processes too.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np

from tgc.backends.cpu.driver import Driver, Frame
from tgc.backends.cpu.emit import emit
from tgc.backends.cpu.flatten import Flattener, parts_of
from tgc.backends.cpu.loader import Loader, load_kernels, source_key, toolchain
from tgc.backends.cpu.places import overwritten
from tgc.backends.cpu.planning import to_storage
from tgc.backends.cpu.target import CpuTarget
from tgc.backends.loops.ir import Kernel
from tgc.backends.loops.lower import lower
from tgc.backends.loops.schedule import Schedule
from tgc.config import config
from tgc.errors import BackendError
from tgc.ir import Builder, Graph, Node, Value, transform
from tgc.locks import Lock
from tgc.passes.arena import ALIGNMENT
from tgc.passes.manager import Target, remark
from tgc.runtime.address import address_of, aligned
from tgc.runtime.available import available_bytes
from tgc.runtime.cache import CacheWarning, KernelCache, content_key
from tgc.runtime.lowered import differing
from tgc.text import print_graph
from tgc.types import TensorType, is_complex, is_float, real_dtype

LEAST = 20e-6  # seconds of a region that is worth it
NOISE = 0.03  # by how much, of the usual time, a schedule must be quicker
FAR = 1.5  # times as slow as the best at first sight: such a schedule is not looked at again
SECONDS = 0.2  # that the values of one decision run, about
TURNS = 3, 40  # of each of them, at least and at most
FLIPPED = 10_000  # elements of which one may differ by more than rounding: where a comparison of two sums is decided


@dataclass(frozen=True)
class Tuned:
    """What is known of a region.

    Attributes:
        schedule: what was chosen, as text; empty for the usual one.
        usual, seconds: of a launch as usual, and as chosen.
        tried: how many other schedules were measured.
    """

    schedule: str
    usual: float
    seconds: float
    tried: int

    def __str__(self) -> str:
        usual = f"{self.usual * 1e6:.1f} us"
        if self.schedule:
            return f"{self.schedule} takes {self.seconds * 1e6:.1f} us rather than {usual}, the best of {self.tried}"
        return f"as usual, {usual}; " + (f"{self.tried} others are no quicker" if self.tried else "too little to tune")


@dataclass(frozen=True)
class Autotune:
    """Give each region of a planned graph the schedule that is the quickest on this machine.

    Raises:
        BackendError: results of a region depend on its schedule by more than rounding.
    """

    name: ClassVar[str] = "autotune"
    tuner: Tuner

    def __call__(self, graph: Graph, target: Target) -> Graph:
        regions = overwritten(graph)
        self.tuner.compile_ahead(regions)

        def rewrite(builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
            if node not in regions:
                return None
            what = f"@{node.body.name}({', '.join(str(v.type) for v in node.operands)})"
            try:
                tuned = self.tuner.tuned(node, regions[node])
            except _UntunableError as error:
                remark(self.name, what, f"as usual: {error}")
                return None
            remark(self.name, what, str(tuned))
            if not tuned.schedule:
                return None
            return builder.emit(node.op, new, {**node.attrs, "schedule": tuned.schedule}, node.loc)

        return transform(graph, rewrite)


class _UntunableError(BackendError):
    """A region cannot be run alone."""


class Tuner:
    """Measures regions, each once. Serves all threads, one at a time.

    Attributes:
        measured: how many regions this process has measured so far.
        known: what it knows of regions, by their keys.
    """

    def __init__(self, target: CpuTarget, cache: KernelCache, loader: Loader, driver: Driver) -> None:
        self.target, self.cache, self.loader, self.driver = target, cache, loader, driver
        self.measured = 0
        self.known: dict[str, Tuned] = {}
        self._lock = Lock()

    def tuned(self, node: Node, overwrites: Mapping[int, int]) -> Tuned:
        """What is known of a region, or is measured now.

        Raises:
            BackendError: it fails on random data, there is no memory for them, or its results depend on its schedule.
        """
        with self._lock:
            key = self._key(node, overwrites)
            if key not in self.known:
                found = self._stored(key, node, overwrites)
                if found is None:
                    found = _Trial(self, node, overwrites).best()
                    self.measured += 1
                    self.cache.put(key, json.dumps(asdict(found)).encode(), {"region": node.body.name})
                    if config().debug >= 1:
                        sys.stderr.write(f"tgc: autotune @{node.body.name}: {found}\n")
                self.known[key] = found
            return self.known[key]

    def compile_ahead(self, regions: Mapping[Node, Mapping[int, int]]) -> None:
        """Make the machine code with which the trials of these regions begin, all at once: processes share the work."""
        with self._lock:
            keys = {self._key(node, over): (node, over) for node, over in regions.items()}
            fresh = [r for key, r in keys.items() if key not in self.known and self.cache.get(key) is None]
            self._load((node, over, Schedule()) for node, over in fresh)
            others: list[tuple[Node, Mapping[int, int], Schedule]] = []
            for node, over in fresh:
                with suppress(_UntunableError):
                    trial = _Trial(self, node, over)
                    if trial.worthwhile:
                        decided = trial.usual.schedule
                        others += [(node, over, s) for name in decided.choices for s in decided.others(name)]
            self._load(others)

    def _load(self, regions: Iterable[tuple[Node, Mapping[int, int], Schedule]]) -> None:
        kernels = [k for node, over, schedule in regions for k in lower(node, self.target, over, schedule)]
        load_kernels([(emit(k, self.target), k.name) for k in kernels], self.target, self.cache, self.loader)

    def _key(self, node: Node, overwrites: Mapping[int, int]) -> str:
        t = self.target
        machine = (t.key, *map(str, (t.vector_registers, t.l1_bytes, t.l2_bytes, t.near_l3, self.driver.threads)))
        region = (print_graph(node.body, places=False), node.attrs["kind"], str(sorted(overwrites.items())))
        return content_key("schedule", *region, *machine, source_key(), *(" ".join(tool) for tool in toolchain()))

    def _stored(self, key: str, node: Node, overwrites: Mapping[int, int]) -> Tuned | None:
        data = self.cache.get(key)
        if data is None:
            return None
        try:
            found = Tuned(**json.loads(data))
            if found.schedule:  # whether it is one
                lower(node, self.target, overwrites, Schedule.parse(found.schedule))
        except (ValueError, TypeError, BackendError) as error:
            what = f"the schedule of @{node.body.name} in the kernel cache ({key})"
            warnings.warn(f"{what} is damaged and will be measured anew: {error}", CacheWarning, stacklevel=2)
            return None
        return found


@dataclass(frozen=True)
class _Variant:
    """A region under one schedule, ready to be launched."""

    schedule: Schedule
    launch: object  # equal for variants that launch the same
    frame: Frame


class _Trial:
    """The operands and results of a region in memory, and its kernels under schedules to try.

    Attributes:
        usual: the region as usual, which has run; `expected` are its results, `seconds` what it takes.
        tried: how many others were measured.
    """

    def __init__(self, tuner: Tuner, node: Node, overwrites: Mapping[int, int]) -> None:
        self.tuner, self.node, self.overwrites = tuner, node, overwrites
        need = 2 * sum(v.type.nbytes for v in (*node.operands, *node.results))
        if need > available_bytes():
            raise _UntunableError(f"{need} bytes to run it alone cannot be had")
        rng = np.random.default_rng(0)
        self.operands = [aligned(to_storage(drawn(v.type, rng), v.type), ALIGNMENT) for v in node.operands]
        self.results = [
            self.operands[overwrites[k]] if k in overwrites else aligned(np.zeros(v.type.storage, v.dtype), ALIGNMENT)
            for k, v in enumerate(node.results)
        ]
        self.fresh = [(self.operands[k], self.operands[k].copy()) for k in overwrites.values()]
        addresses = [address_of(a) for a in (*self.operands, *self.results)]
        self.bases = np.array([0, *addresses], np.int64)
        (self.usual,) = self._variants([Schedule()])
        self._run(self.usual)
        self.expected = [a.copy() for a in self.results]
        (self.seconds,) = self._race([self.usual], LEAST)
        self.tried = 0

    @property
    def worthwhile(self) -> bool:
        return self.seconds >= LEAST

    def best(self) -> Tuned:
        """The quickest schedule, if it is clearly quicker than the usual one."""
        usual = best = self.usual
        if not self.worthwhile:
            return Tuned("", self.seconds, self.seconds, 0)
        decided = set[str]()
        while undecided := [name for name in best.schedule.choices if name not in decided]:
            name, *_ = undecided
            decided.add(name)
            variants = [best, *self._variants(best.schedule.others(name), best.launch)]
            for variant in variants[1:]:
                self._spoil()
                self._run(variant)
                self._compare(variant)
            self.tried += len(variants) - 1
            seconds = self._race(variants, SECONDS) if len(variants) > 1 else [0.0]
            quickest = min(range(len(variants)), key=seconds.__getitem__)
            if seconds[quickest] < (1 - NOISE) * seconds[0]:
                best = variants[quickest]
        if best is usual:
            return Tuned("", self.seconds, self.seconds, self.tried)
        before, after = self._race([usual, best], SECONDS)
        if after < (1 - NOISE) * before:
            return Tuned(str(best.schedule), before, after, self.tried)
        return Tuned("", before, before, self.tried)

    def _variants(self, schedules: Sequence[Schedule], known: object = None) -> list[_Variant]:
        """The region under these schedules, in machine code: one of those that launch the same, none as `known`."""
        tuner, threads = self.tuner, self.tuner.driver.threads
        made: dict[object, tuple[Schedule, list[Kernel]]] = {}
        named: list[tuple[str, str]] = []
        for schedule in schedules:
            kernels = lower(self.node, tuner.target, self.overwrites, schedule)
            sources = [emit(k, tuner.target) for k in kernels]
            facts = ((tuple(k.values.items()), k.tiles, parts_of(k, threads)) for k in kernels)
            launch = tuple(zip(sources, facts, strict=True))
            if launch != known and launch not in made:
                made[launch] = schedule, kernels
                named += [(source, k.name) for k, source in zip(kernels, sources, strict=True)]
        addresses = iter(load_kernels(named, tuner.target, tuner.cache, tuner.loader))
        return [
            _Variant(schedule, launch, self._frame(kernels, [next(addresses) for _ in kernels]))
            for launch, (schedule, kernels) in made.items()
        ]

    def _frame(self, kernels: Sequence[Kernel], addresses: Sequence[int]) -> Frame:
        flat = Flattener(
            {self.node: [(k, n) for n, k in enumerate(kernels)]}, len(self.bases), self.tuner.driver.threads
        )
        places = [(base, 0) for base in range(1, len(self.bases))]
        flat.launch(self.node, places[: len(self.operands)], places[len(self.operands) :])
        rows, arguments = (table.rows for table in flat.tables())
        rows[:, 0] = addresses
        return self.tuner.driver.frame(rows, arguments, self.bases)

    def _run(self, variant: _Variant) -> float:
        """Seconds of the region's launches."""
        for array, fresh in self.fresh:
            array[...] = fresh
        start = time.perf_counter()
        failed = self.tuner.driver.run(variant.frame)
        taken = time.perf_counter() - start
        if failed:
            raise _UntunableError("it fails on random data")
        return taken

    def _race(self, variants: Sequence[_Variant], seconds: float) -> list[float]:
        """Seconds of each of the variants, which run in turns: of the quicker quarter of their launches the slowest."""
        taken = [[self._run(v)] for v in variants]
        near = [k for k, t in enumerate(taken) if t[0] < FAR * min(min(other) for other in taken)]
        least, most = TURNS
        turns = max(least, min(most, int(seconds / sum(taken[k][0] for k in near))))
        for turn in range(turns):
            for k in near[turn % len(near) :] + near[: turn % len(near)]:
                taken[k].append(self._run(variants[k]))
        return [sorted(t)[len(t) // 4] for t in taken]

    def _spoil(self) -> None:
        """Make results other ones than are expected: what a launch leaves out must not be right already."""
        for result, expected in zip(self.results, self.expected, strict=True):
            wrong, right = (a.reshape(-1).view(np.uint8) for a in (result, expected))
            np.invert(right, out=wrong)

    def _compare(self, variant: _Variant) -> None:
        """Hold the results of a variant that has run against those of the usual schedule.

        Raises:
            BackendError: they differ.
        """
        for k, (a, b) in enumerate(zip(self.results, self.expected, strict=True)):
            if not agree(a, b):
                body = self.node.body
                raise BackendError(f"autotune: result {k} of @{body.name} is another with {variant.schedule}:\n{body}")


def drawn(type: TensorType, rng: np.random.Generator) -> np.ndarray:
    """Random numbers that few functions are undefined for: floats between 0.1 and 1, integers 0 and 1."""
    if is_float(type.dtype) or is_complex(type.dtype):
        return rng.uniform(0.1, 1.0, type.shape).astype(type.dtype)
    return rng.integers(0, 2, type.shape).astype(type.dtype)


def agree(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two results are the same up to rounding, and what few comparisons may have made of that."""
    if np.array_equal(a, b):
        return True
    if is_complex(a.dtype):
        a, b = a.view(real_dtype(a.dtype)), b.view(real_dtype(b.dtype))
    return bool(np.count_nonzero(differing(a, b)) <= a.size // FLIPPED)
