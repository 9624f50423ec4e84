"""What a workload is: one program, written once in a vocabulary that every implementation has.

A program is a function `f(ops, p, **data)` of arrays: `p` holds its parameters by name, which are constants unless it
is trained, and `ops` are the operations beyond `+ - *`, in the terms of NumPy with channels last:

    relu gelu tanh sigmoid exp softmax(x)              softmax along the last axis
    reshape(x, shape)  transpose(x, order)
    matmul(x, y, tx, ty)                               the last two axes of x, y transposed first if asked to
    dense(x, w, b)  embed(table, ids)  layer_norm(x, scale, bias)
    first(x, n)                                        the first n rows
    conv(x, w, b, stride, padding, dilation, groups)   padding: pixels on each side
    conv_transpose, conv_input_grad, conv_kernel_grad  those of `conv`, see convolutions.py
    max_pool(x, size, stride, padding)  mean_pixels(x)  flatten(x)
    batch_norm(x, p, name)                             in training, updates the statistics name.mean and name.variance
    attention(q, k, v, causal)                         [batch, heads, time, dim]
    lstm(x, w, u, b)                                   outputs [batch, time, units], from a state of zeros; the gates of
                                                       w [in, 4 * units] are input, forget, candidate, output
    scan(cell, state, rows)                            outputs of `state, output = cell(state, row)`, on the first axis
    zeros(shape, dtype)
    cross_entropy(logits, labels)                      mean over all labels

An implementation has those that its workloads need.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Inputs = dict[str, np.ndarray]
Arrays = list[np.ndarray]

PROGRAMS = "programs"  # the group of rows that are no sweep
BATCH_NORM: dict[str, Any] = dict(epsilon=1e-5, momentum=0.9)
CHECKED, CHECKED_RATE = 3, 1e-3  # steps whose results are compared, and their learning rate
# While steps are timed the parameters hardly move: else all implementations would soon compute with the denormal
# numbers that gradients become once the one batch is known by heart.
TIMED_RATE = 1e-7


@dataclass(frozen=True)
class Variant:
    """One way in which an implementation can do the work, ready to be called.

    Attributes:
        call: does the work once; this is what is timed.
        results: does it from the initial state; what must agree with the other implementations. Called once, first.
        profile: of a call, where there is a profiler: its kernels, wall and roofline (see `tgc.runtime.profile`).
        arena: bytes that are planned for what lies between inputs and results, where that is known.
    """

    call: Callable[[], object]
    results: Callable[[], Arrays]
    profile: Callable[[], dict[str, Any]] | None = None
    arena: Callable[[], int] | None = None


@dataclass(frozen=True)
class Serving:
    """A program for data of any sizes of its free axes.

    Attributes:
        call: the result for such data.
        programs: how many programs it has made of the one by now.
        fixed: the fastest call that can be made for that data alone, without arguments.
    """

    call: Callable[..., Any]
    programs: Callable[[], int]
    fixed: Callable[..., Callable[[], Any]]


@dataclass(frozen=True)
class Tensor:
    """An array of a program: what its axes mean, and what numbers it is filled with.

    Attributes:
        kind: `plain`; `image` [n, height, width, channels]; `filter` [height, width, in, out]; `matrix` [in, out];
            `features`, a matrix whose rows are the pixels of an image, [height, width, channels, out]; `table` of an
            embedding; `bias`, `scale`, `mean`, `variance`; `ids`, integers.
        shape: of that kind.
        below: the end of the range of `ids`.
    """

    kind: str
    shape: tuple[int, ...]
    below: int = 0

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Random numbers as they are usual for such an array; float32, ids int32."""
        match self.kind:
            case "ids":
                return rng.integers(0, self.below, self.shape, dtype=np.int32)
            case "filter" | "matrix" | "features":  # Glorot's limit
                pixels = self.shape[:-2] if self.kind == "filter" else ()
                ends = math.prod(pixels) * (math.prod(self.shape[len(pixels) : -1]) + self.shape[-1])
                limit = math.sqrt(6 / ends)
                return rng.uniform(-limit, limit, self.shape).astype(np.float32)
            case "bias" | "mean":
                return rng.uniform(-0.1, 0.1, self.shape).astype(np.float32)
            case "scale" | "variance":
                return rng.uniform(0.5, 1.5, self.shape).astype(np.float32)
            case "table":
                return rng.standard_normal(self.shape, dtype=np.float32) * np.float32(0.02)
            case _:
                return rng.standard_normal(self.shape, dtype=np.float32)


@dataclass(frozen=True)
class Program:
    """A function of arrays in the vocabulary.

    Attributes:
        function: as the module says; in training, the logits of `labels` are what it returns.
        data: its arguments, without labels.
        parameters: by name.
        labels: of a training step.
        cotangent: of the result, which is carried back to the parameters and the data.
        free: axes of the data whose sizes calls may choose, by the data's names.
        result: the kind of the result.
    """

    function: Callable[..., Any]
    data: Mapping[str, Tensor]
    parameters: Mapping[str, Tensor] = field(default_factory=dict)
    labels: Tensor | None = None
    cotangent: Tensor | None = None
    free: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    result: str = "plain"

    def __call__(self, ops: Any, p: Any, *data: Any) -> Any:
        """The function of its data by position: how people call what they compile."""
        return self.function(ops, p, **dict(zip(self.data, data, strict=True)))

    def differentiable(self, ops: Any, fixed: Mapping[str, Any], some: Sequence[Any]) -> Any:
        """The function of what is `differentiated`, beside arrays by name that are not."""
        arrays = {**fixed, **dict(zip(self.differentiated, some, strict=True))}
        return self.function(ops, arrays, **{name: arrays[name] for name in self.data})

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All of them by name."""
        more = {"labels": self.labels, "cotangent": self.cotangent}
        return {**self.parameters, **self.data, **{name: t for name, t in more.items() if t is not None}}

    @property
    def trained(self) -> list[str]:
        """The parameters that have gradients."""
        return [name for name, t in self.parameters.items() if t.kind not in ("mean", "variance")]

    @property
    def differentiated(self) -> list[str]:
        """The parameters and the data to which a cotangent is carried back."""
        return [*self.trained, *(name for name, t in self.data.items() if t.kind != "ids")]

    def inputs(self) -> Inputs:
        """Arrays for all tensors, the same in every process."""
        rng = np.random.default_rng(0)
        return {name: t.draw(rng) for name, t in self.tensors.items()}


@dataclass(frozen=True)
class Workload:
    """The same work for several implementations: a row of the table.

    Attributes:
        name: as on the command line.
        title: as in the table.
        program: what is computed.
        peers: the implementations beside tgc.
        trains: whether a training step (gradients and Adam's update) is measured; else it is a call of the program, or
            if that has a cotangent, a call and the gradients.
        tolerance: by how much results may differ: the norm of the difference over the norm of an array.
        norm: its order, as `np.linalg.norm` has it for vectors: inf, the greatest magnitude, or 2.
        group: of the table that the row belongs to.
        quick: whether the quick mode has it.
        like: the name of a row that computes the same in another way, to whose times this one's are compared.
    """

    name: str
    title: str
    program: Program
    peers: tuple[str, ...]
    trains: bool = False
    tolerance: float = 1e-5
    norm: float = math.inf
    group: str = PROGRAMS
    quick: bool = False
    like: str = ""

    @property
    def implementations(self) -> tuple[str, ...]:
        return ("tgc", *self.peers)

    @property
    def work(self) -> str:
        """What is measured, by the name of the implementations' function that makes it."""
        if self.trains:
            return "training"
        return "calls" if self.program.cotangent is None else "gradients"


def thread_count() -> int:
    """The number of threads of this worker."""
    return int(os.environ["OMP_NUM_THREADS"])


def stateless(call: Callable[[], Any], **more: Any) -> Variant:
    """A variant whose calls all return the same one array."""
    return Variant(call, lambda: [np.asarray(call())], **more)


def differentiated(call: Callable[[], Any], **more: Any) -> Variant:
    """A variant whose calls return the result of a program and the cotangents of what it differentiates."""
    return Variant(call, lambda: [np.array(x) for x in call()], **more)


def trained(step: Callable[[float], Any], moments: Callable[[], Arrays], **more: Any) -> Variant:
    """A variant of a training step; what is compared are the gradients (from the first moments) and the losses."""

    def results() -> Arrays:
        losses = [float(step(CHECKED_RATE))]
        gradients = [np.array(m) * 10 for m in moments()]  # m = (1 - b1) g after the first step
        losses += [float(step(CHECKED_RATE)) for _ in range(1, CHECKED)]
        return [np.array(losses), *gradients]

    return Variant(lambda: step(TIMED_RATE), results, **more)


def adam(sqrt: Any, p: Any, g: Any, m: Any, v: Any, t: Any, rate: Any, b1: float = 0.9, b2: float = 0.999) -> Any:
    """New parameter and moments of the step number t, as torch.optim.Adam has them.

    Its epsilon is added after the bias correction.
    """
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
    return p - rate / (1 - b1**t) * m / (sqrt(v) / sqrt(1 - b2**t) + 1e-8), m, v


def channels_last(array: np.ndarray, tensor: Tensor) -> np.ndarray:
    """An array as implementations with channels last take it: pixels of `features` flattened."""
    return array.reshape(-1, tensor.shape[-1]) if tensor.kind == "features" else array
