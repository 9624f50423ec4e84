"""The work of compilation grows linearly with the graph, counted in lines of Python rather than seconds."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from models import Sizes, transformer_step
from test_models import lowered
from test_passes import TARGET

import tgc
from tgc.backends.cpu.backend import CpuBackend
from tgc.passes import PIPELINE, parse_pipeline, run
from tgc.passes.memory import Memory
from tgc.runtime.lowered import Lowered

COUNTED = str(Path(tgc.__file__).parent / "passes")


def lines_run(f: Callable[[], Any]) -> int:
    """How many lines of passes a call of `f` runs, one that loops on itself once a round."""
    count = 0

    def line(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return line

    def call(frame: FrameType, event: str, arg: Any) -> Any:
        return line if frame.f_code.co_filename.startswith(COUNTED) else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        f()
    finally:
        sys.settrace(before)
    return count


def step(layers: int) -> Lowered:
    return lowered(transformer_step(Sizes(layers, width=32, heads=2, time=8, batch=2, vocabulary=11)))


def work(layers: int) -> int:
    """Lines that the passes run for a transformer's training step."""
    low = step(layers)
    passes = [*parse_pipeline(PIPELINE), Memory(donated=low.donated)]
    return lines_run(lambda: run(passes, low.graph, TARGET))


def test_passes_take_linear_time() -> None:
    a, b, c = (work(layers) for layers in (2, 4, 8))
    assert c - b < 2.3 * (b - a)


def test_layers_that_are_alike_are_lowered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("tgc.backends.loops.lower")
    lower, count = module.lower, 0

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        return lower(*args, **options)

    monkeypatch.setattr(module, "lower", counted)
    counts, launches = [], []
    for layers in (3, 4):
        planned = step(layers).compilation.result
        launches.append(len(CpuBackend().launches(planned)))
        counts.append(count)
        count = 0
    assert counts[0] == counts[1] < launches[0] < launches[1]
