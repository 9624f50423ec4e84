"""A traced graph on its way to machine code: every stage on view."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tgc.collector import collector_paused
from tgc.config import PIPELINE, Config, config
from tgc.errors import ConfigError, LinearAlgebraError, OutOfRangeError, PassError, StepLimitError
from tgc.interpret import interpret
from tgc.ir import Graph
from tgc.ops.control import every_node, step_limit
from tgc.ops.region import fused
from tgc.runtime.cache import content_key
from tgc.runtime.registry import Executable, get_backend
from tgc.text import save_graph
from tgc.types import is_float

if TYPE_CHECKING:
    from tgc.passes.manager import Compilation


@dataclass(frozen=True)
class Lowered:
    """A graph for a backend.

    Attributes:
        graph: the traced IR.
        donated: the inputs whose memory results may take.
        backend: the backend's name.
        memory_limit: bytes that the arena may take (all intermediate values, and gaps between them); None: any number.
        autotune: whether decisions of the backend's lowerings are taken by measurement.
        pipeline: the passes before memory is planned, as text; None: those that the environment asks for, by default
            `PIPELINE`, or none where the graph's regions are fused already, as in the text of a late stage.
    """

    graph: Graph
    donated: tuple[int, ...] = ()
    backend: str = "cpu"
    memory_limit: int | None = None
    autotune: bool = False
    pipeline: str | None = None

    @cached_property
    @collector_paused()
    def compilation(self) -> Compilation:
        """The run of the pass pipeline.

        Raises:
            OutOfMemoryError: the intermediate values cannot do with `memory_limit`.
        """
        from tgc.passes import PASSES, parse_pipeline, run  # of no use to programs that are kept
        from tgc.passes.memory import Memory
        from tgc.passes.rematerialize import Rematerialize

        settings = config()
        backend = get_backend(self.backend)
        passes = parse_pipeline(self._pipeline(settings))
        if self.memory_limit is not None:
            passes.append(Rematerialize(self.memory_limit, self.donated))
        passes.append(Memory(self.donated, self.memory_limit or 0))
        if self.autotune:
            passes.append(backend.autotune())
        known = dict.fromkeys([*PASSES, *(p.name for p in passes)])
        if unknown := settings.explain - known.keys():
            raise ConfigError(f"TGC_EXPLAIN names no pass: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        made = run(passes, self.graph, backend.target, check_pass if settings.check else None)
        for refusal in made.refusals:
            if refusal.by in settings.explain:
                sys.stderr.write(f"{refusal}\n")
        if settings.dump:
            self._dump(settings.dump, made)
        return made

    def _pipeline(self, settings: Config) -> str:
        """The passes that the graph has still to go through, before memory is planned."""
        if self.pipeline is not None:
            return self.pipeline
        through = any(node.op is fused for node in every_node(self.graph))
        return "" if through else settings.pipeline or PIPELINE

    @property
    def stages(self) -> Mapping[str, Graph]:
        """The graph as traced and after each pass, by name, in order."""
        return self.compilation.stages

    @cached_property
    def kernels(self) -> Mapping[str, str]:
        """Kernel name -> generated source."""
        return get_backend(self.backend).sources(self.compilation.result)

    def text(self, stage: str = "trace") -> str:
        """The graph after pass `stage` in text form.

        Raises:
            KeyError: the pipeline has no such stage.
        """
        if stage not in self.stages:
            raise KeyError(f"no stage {stage!r}; there are {', '.join(self.stages)}")
        return str(self.stages[stage])

    def explain(self) -> str:
        """What each pass left of the graph, which results reuse donated memory, and what passes declined and why."""
        return self._report(self.compilation)

    def _report(self, made: Compilation) -> str:
        from tgc.passes.memory import arena_bytes, match_donations

        lines = []
        for name, graph in made.stages.items():
            ops: dict[str, int] = {}
            for node in every_node(graph):
                ops[node.op.name] = ops.get(node.op.name, 0) + 1
            lines.append(f"{name}: {sum(ops.values())} nodes ({', '.join(f'{n} {k}' for k, n in sorted(ops.items()))})")
        for result, source in match_donations(self.graph, self.donated).items():
            lines.append(f"result {result} takes the memory of input {self.graph.inputs[source].name}")
        if self.memory_limit is not None:
            lines.append(f"the arena takes {arena_bytes(made.result)} of {self.memory_limit} bytes")
            again = [n for n in every_node(made.result) if "again" in n.attrs]
            names = ", ".join(n.body.name if n.op is fused else n.op.name for n in again) or "none"
            lines.append(f"kernels that run again, their results not kept: {names}")
        return "\n".join([*lines, *map(str, made.refusals)])

    @collector_paused()
    def compile(self) -> Executable:
        """Machine code for the graph; no pass runs where the cache has its program."""
        settings, backend = config(), get_backend(self.backend)
        key = self._key(settings)
        if key is not None and (kept := backend.load(key)) is not None:
            return kept
        if settings.debug >= 1:
            sys.stderr.write(f"tgc: compiling @{self.graph.name} for {self.backend}\n")
        for name, source in self.kernels.items() if settings.debug >= 2 else ():
            sys.stderr.write(f"tgc: kernel {name}\n" + (source if settings.debug >= 3 else ""))
        with backend.ahead(self.graph):
            return backend.compile(self.compilation.result, self.donated, key)

    def _key(self, settings: Config) -> str | None:
        """What the program is kept under: all that it is made from. None where its compilation is to be seen."""
        if settings.check or settings.dump or settings.explain or settings.debug:
            return None
        options = self.donated, self.memory_limit, self.autotune, self._pipeline(settings)
        return content_key(str(self.graph), *map(str, options))

    def _dump(self, root: Path, made: Compilation) -> None:
        name = re.sub("[^A-Za-z0-9_.-]", "_", self.graph.name)
        folder = root / f"{name}-{hashlib.sha256(str(self.graph).encode()).hexdigest()[:8]}"
        folder.mkdir(parents=True, exist_ok=True)
        for k, (name, graph) in enumerate(made.stages.items()):
            save_graph(graph, folder / f"{k:02d}-{name}.tgir")
        for name, source in get_backend(self.backend).sources(made.result).items():
            (folder / f"{name}.py").write_text(source)
        (folder / "report.txt").write_text(f"{self._report(made)}\n")


STEPS = 1000  # of a while loop after which a check gives up


def check_pass(name: str, before: Graph, after: Graph) -> None:
    """Interpret a graph before and after a pass on random inputs.

    Where the graph does not accept them, standard error tells it instead.

    Raises:
        PassError: the results differ by more than rounding.
    """
    rng = np.random.default_rng(0)
    inputs = []
    for v in before.inputs:
        if is_float(v.dtype):
            inputs.append(rng.uniform(0.1, 1.0, v.shape).astype(v.dtype))
        else:
            inputs.append(rng.integers(0, 2, v.shape).astype(v.dtype))
    try:
        with step_limit(STEPS):
            wanted = interpret(before, *inputs)
    except StepLimitError:  # made-up numbers may have no end to reach,
        cause = f"where a while loop ran {STEPS} steps on made-up data"
    except (OutOfRangeError, LinearAlgebraError) as error:  # lie outside of axes or be singular
        cause = f"which does not accept made-up data: {error}"
    else:
        cause = ""
    if cause:
        sys.stderr.write(f"tgc: pass {name} is not checked on @{before.name}, {cause}\n")
        return
    with step_limit(STEPS):
        got = interpret(after, *inputs)
    for k, (a, b) in enumerate(zip(wanted, got, strict=True)):
        if not same(a, b):
            raise PassError(f"pass {name} changed result {k} of @{before.name}: {_difference(a, b)}")


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two results are equal up to the rounding that reordering may bring; NaN equals NaN."""
    return a.dtype == b.dtype and a.shape == b.shape and not differing(a, b).any()


def differing(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Which elements of two results of one type differ by more than rounding."""
    if not is_float(a.dtype):
        return np.asarray(a != b)
    wide = np.float64
    eps = float(np.finfo(np.float64).eps if a.dtype == np.float64 else 2.0**-23 if a.dtype == np.float32 else 2.0**-7)
    scale = float(np.nanmax(np.abs(np.where(np.isfinite(a.astype(wide)), a.astype(wide), 0)), initial=1e-30))
    return ~np.isclose(a.astype(wide), b.astype(wide), rtol=256 * eps, atol=64 * eps * scale, equal_nan=True)


def _difference(a: np.ndarray, b: np.ndarray) -> str:
    if a.dtype != b.dtype or a.shape != b.shape:
        return f"{a.dtype}{a.shape} became {b.dtype}{b.shape}"
    worst = int(np.argmax(np.abs(a.astype(np.float64) - b.astype(np.float64)).ravel()))
    return f"element {np.unravel_index(worst, a.shape)} was {a.ravel()[worst]} and is {b.ravel()[worst]}"


__all__ = ["Lowered", "check_pass", "same"]
