"""Passes and pipelines.

A pass is a frozen dataclass whose fields are its options; calling it maps a graph to a graph and changes nothing else.
A pipeline is text, `fold,simplify,fuse{limit=24}`: names of registered passes, each with its options in braces.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol, TypeVar

from tgc.errors import PassError
from tgc.ir import Attr, Builder, Graph, Node, Value, transform
from tgc.ops.kinds import Control
from tgc.types import DType
from tgc.verify import verify


class Target(Protocol):
    """What passes may ask of the machine that a graph is compiled for."""

    def lanes(self, dtype: DType) -> int:
        """Elements of `dtype` in a vector register."""

    @property
    def threads(self) -> int:
        """Threads that share a launch."""

    @property
    def vector_registers(self) -> int:
        """Number of vector registers."""

    @property
    def tile_registers(self) -> bool:
        """Whether 8-bit integers are multiplied in tile registers, of 16 rows of 64 bytes."""

    @property
    def l1_bytes(self) -> int:
        """First-level data cache of one core."""

    @property
    def l2_bytes(self) -> int:
        """Second-level cache of one core."""

    @property
    def near_l3(self) -> bool:
        """Whether lines that no prefetcher has foreseen soon come from the third-level cache."""


class Pass(Protocol):
    """Graph -> Graph; pure. Applied to the bodies of control flow too, unless `whole` says that it sees to them."""

    name: ClassVar[str]

    def __call__(self, graph: Graph, target: Target) -> Graph: ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a pass left something as it was, or what else it has to say for `explain`."""

    by: str
    what: str
    reason: str

    def __str__(self) -> str:
        return f"{self.by}: {self.what}: {self.reason}"


_refusals: ContextVar[dict[Refusal, None] | None] = ContextVar("tgc_refusals", default=None)


def remark(by: str, what: str, text: str) -> None:
    """Note what a pass found, for `explain`."""
    refuse(by, what, text)


def refuse(by: str, what: str, reason: str) -> None:
    """Note why a pass declined, for `explain`."""
    notes = _refusals.get()
    if notes is not None:
        notes[Refusal(by, what, reason)] = None


@contextmanager
def collecting() -> Iterator[list[Refusal]]:
    """Collect the refusals made inside of a with block, each once; the list is complete when the block ends."""
    notes: dict[Refusal, None] = {}
    found: list[Refusal] = []
    token = _refusals.set(notes)
    try:
        yield found
    finally:
        _refusals.reset(token)
        found += notes


PASSES: dict[str, type[Any]] = {}
P = TypeVar("P", bound=type)


def register(cls: P) -> P:
    """Class decorator: make a pass known to pipelines under its `name`."""
    if cls.name in PASSES:  # type: ignore[attr-defined]
        raise PassError(f"pass {cls.name} is defined twice")  # type: ignore[attr-defined]
    PASSES[cls.name] = cls  # type: ignore[attr-defined]
    return cls


_STEP = re.compile(r"\s*(\w+)\s*(?:\{([^}]*)\})?\s*(?:,|$)")


def parse_pipeline(text: str) -> list[Pass]:
    """The passes that a pipeline's text names.

    Raises:
        PassError: the text is ill-formed, a pass is unknown, or an option is.
    """
    passes: list[Pass] = []
    at = 0
    while at < len(text):
        step = _STEP.match(text, at)
        if not step:
            raise PassError(f"pipeline {text!r}: expected a pass at {text[at:]!r}")
        name, options = step[1], step[2]
        if name not in PASSES:
            raise PassError(f"pipeline {text!r}: no pass {name!r}; known are {', '.join(PASSES)}")
        given = dict(_option(o, text) for o in options.split(",")) if options else {}
        try:
            made = PASSES[name](**given)
        except TypeError as error:
            raise PassError(f"pipeline {text!r}: {error}") from error
        for option in fields(made):
            value = getattr(made, option.name)
            if type(value) is not type(option.default):
                kind = type(option.default).__name__
                raise PassError(f"pipeline {text!r}: option {option.name} of {name} is {value!r}, not of type {kind}")
        passes.append(made)
        at = step.end()
    return passes


def _option(text: str, pipeline: str) -> tuple[str, Any]:
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals:
        raise PassError(f"pipeline {pipeline!r}: option {text!r} is no key=value")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


@dataclass(frozen=True)
class Compilation:
    """Every stage of a pipeline run: name -> graph, in order, and why passes declined."""

    stages: Mapping[str, Graph]
    refusals: Sequence[Refusal] = field(default_factory=list)

    @property
    def result(self) -> Graph:
        """The last stage."""
        return list(self.stages.values())[-1]


def map_bodies(graph: Graph, f: Callable[[Graph], Graph]) -> Graph:
    """`graph` with the bodies of its control flow replaced; the same object where there is none."""
    if not any(isinstance(node.op, Control) for node in graph.nodes):
        return graph

    def mapped(attr: Attr) -> Attr:
        if isinstance(attr, tuple):
            return tuple(map(mapped, attr))
        return f(attr) if isinstance(attr, Graph) else attr

    def rewrite(builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if not isinstance(node.op, Control):
            return None
        return builder.emit(node.op, new, {key: mapped(attr) for key, attr in node.attrs.items()}, node.loc)

    return transform(graph, rewrite)


def apply(step: Pass, graph: Graph, target: Target) -> Graph:
    """`step` on the bodies of `graph`, the innermost first, then on `graph` itself."""
    if not getattr(step, "whole", False):
        graph = map_bodies(graph, lambda body: apply(step, body, target))
    return step(graph, target)


Check = Callable[[str, Graph, Graph], None]


def run(passes: Sequence[Pass], graph: Graph, target: Target, check: Check | None = None) -> Compilation:
    """Run passes in order and verify what they make: every stage if `check(pass name, before, after)` is given, which
    may do more; else the last one, and the others only to tell which pass broke it.

    Raises:
        PassError: a pass made a graph that violates the rules of the IR.
    """
    verify(graph)
    stages = {"trace": graph}
    with collecting() as refusals:
        try:
            for step in passes:
                after = apply(step, graph, target)
                if check is not None:
                    _verify_stage(step.name, after)
                    check(step.name, graph, after)
                key = step.name
                while key in stages:
                    key += "'"
                stages[key] = graph = after
            if check is None:
                _verify_stage(passes[-1].name if passes else "trace", graph)
        except Exception:
            for name, stage in stages.items() if check is None else ():
                _verify_stage(name.rstrip("'"), stage)
            raise
    return Compilation(stages, refusals)


def _verify_stage(name: str, graph: Graph) -> None:
    try:
        verify(graph)
    except Exception as error:
        raise PassError(f"pass {name} made an ill-formed graph: {error}") from error
