"""Graphs as functions of NumPy arrays: stages, of which each compiled one is one `tgc.jit`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

from tgc.frontends.onnx import objects
from tgc.frontends.onnx.errors import UntraceableError
from tgc.frontends.onnx.formats import enter
from tgc.frontends.onnx.plan import Stage, plan
from tgc.frontends.onnx.scaled import settled
from tgc.frontends.onnx.structure import Node, OnnxGraph
from tgc.frontends.onnx.translate import inlined, set_runner, walk
from tgc.ir import recorder
from tgc.jit import jit
from tgc.locks import Lock


class Known:
    """A value as a static argument of a compiled function: equal if it is the same."""

    __slots__ = ("key", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        leaves, structure = optree.tree_flatten(value, none_is_leaf=True)
        self.key = tuple(map(_key, leaves)), structure

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Known) and self.key == other.key


def _key(x: Any) -> Any:
    if objects.has_objects(x):
        return tuple(x.ravel().tolist()), x.shape
    return (x.tobytes(), x.dtype, x.shape) if isinstance(x, np.ndarray | np.generic) else x


@dataclass(frozen=True)
class Planned:
    """Stages, what computes each of them from the values before it, and the whole if it is one compiled function."""

    stages: list[Stage]
    steps: list[Callable[[Mapping[str, Any]], tuple[Any, ...]]]
    direct: Callable[..., Any] | None


class Program:
    """A graph, and what it captures, as a function of NumPy arrays, `Coded`, sequences and None.

    How its nodes are shared out among stages is planned first by what rules say, and again when tracing shows that a
    node needs numbers: a loop whose carried values change their shapes, for example.
    """

    def __init__(self, graph: OnnxGraph) -> None:
        self.graph = graph
        self._constants = {name: enter(x) for name, x in graph.initializers.items()}
        self._names = (*graph.captures, *(v.name for v in graph.inputs))
        self._outputs = tuple(v.name for v in graph.outputs)
        self._host: set[Node] = set()
        self._wanted: set[str] = set()
        self._lock = Lock()
        self.planned = self._plan()

    def _plan(self) -> Planned:
        stages = plan(self.graph, self._host, self._wanted)
        direct = None
        if len(stages) == 1 and stages[0].compiled and not stages[0].values:
            (only,) = stages
            if set(only.outputs) == set(self._outputs):
                direct = jit(self._function(only, (), self._names, self._outputs))
        return Planned(stages, [self._compiled(s) if s.compiled else self._on_host(s) for s in stages], direct)

    def __call__(self, *arguments: Any) -> tuple[Any, ...]:
        """The graph's outputs; inside of a trace its nodes become part of that."""
        if recorder() is not None:
            captured = dict(zip(self.graph.captures, arguments, strict=False))
            return inlined(self.graph, captured, arguments[len(captured) :])
        while True:
            planned = self.planned
            try:
                return self._run(planned, arguments)
            except UntraceableError as error:
                with self._lock:
                    if self.planned is planned:  # no other thread has planned again
                        self._learn(error)
                        self.planned = self._plan()

    def _run(self, planned: Planned, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        if planned.direct is not None and not any(map(objects.has_objects, arguments)):
            return planned.direct(*arguments)  # type: ignore[no-any-return]
        env = {**self._constants, **dict(zip(self._names, arguments, strict=True))}
        for stage, step in zip(planned.stages, planned.steps, strict=True):
            env.update(zip(stage.outputs, step(env), strict=True))
        return tuple(env[name] for name in self._outputs)

    def _learn(self, error: UntraceableError) -> None:
        """Note what has turned out to be needed."""
        node = error.outer
        assert isinstance(node, Node)
        if error.name in node.reads and error.name not in self._wanted:
            self._wanted.add(error.name)
        elif node not in self._host:
            self._host.add(node)
        else:
            raise error

    def _function(
        self, stage: Stage, values: tuple[str, ...], arrays: tuple[str, ...], outputs: tuple[str, ...]
    ) -> Callable[..., Any]:
        """The function of a compiled stage: of `values`, if there are any, and arrays."""

        def traced(*arguments: Any) -> tuple[Any, ...]:
            env = dict(self._constants)
            if values:
                env.update(zip(values, (v.value for v in arguments[0]), strict=True))
            env.update(zip(arrays, arguments[bool(values) :], strict=True))
            walk(stage.nodes, env, stage.exact)
            return tuple(self._result(stage, name, settled(env[name])) for name in outputs)

        traced.__name__ = self.graph.name if self.graph.name.isidentifier() else "main"
        return traced

    @staticmethod
    def _result(stage: Stage, name: str, value: Any) -> Any:
        if objects.has_objects(value) and objects.is_text(value):
            error = UntraceableError(f'"{name}" holds strings, which compiled programs have none of')
            error.outer = next(n for n in stage.nodes if name in n.outputs)
            raise error
        return objects.traced(value)

    def _compiled(self, stage: Stage) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
        traced = self._function(stage, stage.values, stage.arrays, stage.outputs)
        function = jit(traced, static=0 if stage.values else ())

        def run(env: Mapping[str, Any]) -> tuple[Any, ...]:
            arrays = [env[n] for n in stage.arrays]
            for name, x in zip(stage.arrays, arrays, strict=True):
                if _holds_text(x):
                    error = UntraceableError(f'"{name}" holds strings, which compiled programs do not take')
                    error.outer = next(n for n in stage.nodes if name in n.reads)
                    raise error
            first = (tuple(Known(env[n]) for n in stage.values),) if stage.values else ()
            return function(*first, *arrays)  # type: ignore[no-any-return]

        return run

    def _on_host(self, stage: Stage) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
        def run(env: Mapping[str, Any]) -> tuple[Any, ...]:
            inner = dict(env)
            walk(stage.nodes, inner)
            return tuple(inner[n] for n in stage.outputs)

        return run


def _holds_text(x: Any) -> bool:
    return any(map(objects.has_objects, optree.tree_leaves(x)))


def run(graph: OnnxGraph, captured: Mapping[str, Any], values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The outputs of a graph for NumPy arrays; its program is kept as long as the graph."""
    if "program" not in graph.made:
        graph.made["program"] = Program(graph)
    program: Program = graph.made["program"]
    return program(*(captured[name] for name in graph.captures), *values)


set_runner(run)
