"""What a workload is, and how functions of arrays become its implementations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import tgc

Inputs = dict[str, Any]  # NumPy arrays, or nested dicts of them
Arrays = list[np.ndarray]


@dataclass(frozen=True)
class Variant:
    """One way in which an implementation can do the work, ready to be called.

    Attributes:
        call: does the work once; this is what is timed.
        results: does it from the initial state; what must agree with the other implementations. Called once, first.
    """

    call: Callable[[], object]
    results: Callable[[], Arrays]


Setup = Callable[[Inputs], Mapping[str, Variant]]  # variants by a label that can be part of a file's name


@dataclass(frozen=True)
class Workload:
    """The same work for several implementations: a row of the table.

    Attributes:
        name: as on the command line.
        title: as in the table.
        inputs: makes the inputs, the same in every process.
        implementations: by name. Of several variants the quickest is compared.
        tolerance: by how much results may differ, relative to the greatest magnitude in the array.
    """

    name: str
    title: str
    inputs: Callable[[], Inputs]
    implementations: Mapping[str, Setup]
    tolerance: float = 1e-5


def normal(**shapes: tuple[int, ...]) -> Callable[[], Inputs]:
    """Makes float32 arrays of standard normal numbers."""

    def make() -> Inputs:
        rng = np.random.default_rng(0)
        return {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}

    return make


def stateless(call: Callable[[], Any]) -> Variant:
    """A variant whose calls all return the same one array."""
    return Variant(call, lambda: [np.asarray(call())])


# One function of arrays is an implementation's whole program. For a new peer, add its wrapper here (`torch.compile`:
# as `torch_eager`, with the function compiled) and its name and package to `PACKAGES` in harness.py.


def tgc_jit(f: Callable[..., Any]) -> Setup:
    """`f` of the inputs, compiled by tgc."""

    def setup(inputs: Inputs) -> Mapping[str, Variant]:
        compiled = tgc.jit(f)
        return {"jit": stateless(lambda: compiled(**inputs))}

    return setup


def numpy_calls(f: Callable[..., Any]) -> Setup:
    """`f` of the inputs, run by NumPy."""

    def setup(inputs: Inputs) -> Mapping[str, Variant]:
        return {"numpy": stateless(lambda: f(**inputs))}

    return setup


def torch_eager(f: Callable[..., Any]) -> Setup:
    """`f` of the module `torch` and the inputs as tensors, run op by op."""

    def setup(inputs: Inputs) -> Mapping[str, Variant]:
        import torch

        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}

        def call() -> Any:
            with torch.inference_mode():
                return f(torch, **tensors)

        return {"eager": stateless(call)}

    return setup
