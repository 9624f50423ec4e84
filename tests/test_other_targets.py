"""Code for machines that are not this one: it is compiled, not run."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from models import Sizes, resnet_step, transformer_step
from test_models import lowered

import tgc
import tgc.numpy as tnp
from tgc.backends.cpu.backend import CpuBackend, Launch
from tgc.backends.cpu.compile import compile_kernel, kernel_assembly
from tgc.backends.cpu.loader import units_of, with_units
from tgc.backends.cpu.target import CpuTarget
from tgc.jit import LoweredFunction
from tgc.passes import PIPELINE, parse_pipeline, run
from tgc.passes.memory import Memory
from tgc.types import as_dtype

NEON = CpuTarget.of("aarch64-unknown-linux-gnu", frozenset({"neon", "fp-armv8"}), threads=4)
AARCH64 = 183  # the machine in the header of an ELF file
MODELS = {
    "resnet18": lambda: resnet_step(1, 32, width=4),
    "transformer": lambda: transformer_step(Sizes(layers=1, width=32, heads=2, time=9, batch=2, vocabulary=11)),
}


def launches(low: LoweredFunction, target: CpuTarget) -> list[Launch]:
    """The kernels that another machine would run, each once."""
    graph = run([*parse_pipeline(PIPELINE), Memory(donated=low.donated)], low.graph, target).result
    backend = CpuBackend()
    backend.target = target
    return list({x.source: x for x in backend.launches(graph)}.values())


@pytest.mark.parametrize("made", MODELS.values(), ids=MODELS)
def test_a_training_step_compiles_for_neon(made: Callable[[], Any]) -> None:
    found = launches(lowered(made()), NEON)
    assert len(found) > 20
    for source, name in with_units((launch.source, launch.kernel.name) for launch in found):
        code = compile_kernel(source, name, NEON).code
        assert code[:4] == b"\x7fELF"
        assert struct.unpack_from("<H", code, 18) == (AARCH64,)


def test_register_tiles_use_neon() -> None:
    """Multiply-adds of vectors of four."""
    tiled = [x for x in launches(lowered(MODELS["transformer"]()), NEON) if "tile(" in x.source]
    assert tiled
    assembly = kernel_assembly(*units_of(tiled[0].source)[0], NEON)
    assert len(re.findall(r"^\s+fmla\s+v\d+\.4s", assembly, re.MULTILINE)) >= 16


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_old_machines_convert_half_precision_by_integers(dtype: str) -> None:
    """LLVM would call functions that no process here defines, whatever this machine has."""
    low = tgc.jit(lambda x: tnp.exp(x) * x).lower(np.zeros((64, 64), as_dtype(dtype)))
    oldest = CpuTarget.of("x86_64-unknown-linux-gnu", frozenset())
    for launch in launches(low, oldest):
        assembly = kernel_assembly(launch.source, launch.kernel.name, oldest)
        assert not re.search(r"call\w*\s+__", assembly)
