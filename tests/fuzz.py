"""Random programs: the oracle against every stage of the pipeline and the compiled program. By hand, for long:

    python tests/fuzz.py --examples 10000 --seed 1 [--minutes 60]

Each failure is reduced to a small program and printed as `.tgir` text with its arguments.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from fuzz_draft import Program, reference
from fuzz_draws import gradients, programs
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tgc.autodiff import differentiate
from tgc.interpret import interpret, interpret_values
from tgc.ir import Builder, Graph, Value
from tgc.ops.kinds import Elementwise, Primitive
from tgc.runtime.lowered import Lowered, same
from tgc.text import parse
from tgc.types import BF16, F16, F32, F64, I64, is_float
from tgc.verify import verify


class Failure(AssertionError):  # noqa: N818  # it says that something failed, not how to handle it
    """Where what went wrong, with the program."""

    def __init__(self, where: str, what: str, program: Program) -> None:
        super().__init__(f"{where}: {what}\n{program}")
        self.kind, self.program = (where, what.partition(":")[0]), program


@dataclass
class Tally:
    """What has been checked: without `excused` and `slopes` in view, a check that compares nothing would look fine."""

    programs: int = 0
    results: int = 0  # compared with the oracle's
    excused: int = 0  # of these, different, but no more than rounding errors explain
    slopes: int = 0  # gradients compared with differences


# ------------------------------------------------------------------------------------------------------- rounding

LINEAR = frozenset({"sum", "window_sum", "dot", "conv", "conv_kernel_grad", "scatter_add", "window_scatter", "cumsum"})
# exact where more digits would change nothing
ROUNDED = LINEAR | {"add", "sub", "mul", "div", "sqrt", "prod", "cumprod", "scatter_mul"}
EXACT = frozenset({
    "neg", "abs", "sign", "relu", "maximum", "minimum", "select", "floor", "ceil", "round", "trunc", "identity",
    "stop_gradient",
})  # fmt: skip
WIDER = {F16: F32, BF16: F32, F32: F64, F64: np.dtype(np.longdouble)}
EPSILON = {F16: 2.0**-11, BF16: 2.0**-8, F32: 2.0**-24, F64: 2.0**-53}
RUNS, ULPS = 8, 8.0


def perturbed(graph: Graph, arrays: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """The oracle with an error of some units in the last place in every result that is not exact.

    What such errors do to the results of a graph is what rounding may do to them: stochastic arithmetic (Vignes,
    "A stochastic arithmetic for reliable scientific computation", Mathematics and Computers in Simulation 35, 1993).
    """
    env = dict(zip(graph.inputs, arrays, strict=True)) | {c.value: np.asarray(c.data) for c in graph.constants}
    for node in graph.nodes:
        op, operands = node.op, [env[v] for v in node.operands]
        assert isinstance(op, Primitive)
        result = reference(op, operands, node.attrs)
        if is_float(result.dtype) and (op.name in ROUNDED or (isinstance(op, Elementwise) and op.name not in EXACT)):
            result = (result.astype(F64) + _error(op, operands, node.attrs, result, rng)).astype(result.dtype)
        env[node.result] = result
    return [env[v] for v in graph.outputs]


def _error(
    op: Primitive, operands: list[np.ndarray], attrs: Mapping[str, Any], result: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """A rounding error of `result`; of sums, one that is relative to the sum of magnitudes."""

    def of(f: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return reference(op, [f(x) if is_float(x.dtype) else x for x in operands], attrs)

    size = of(np.abs) if op.name in LINEAR else np.abs(result)
    error = rng.uniform(-ULPS, ULPS, result.shape) * EPSILON[result.dtype] * size.astype(F64)
    if op.name in ROUNDED:
        error = np.where(of(lambda x: x.astype(WIDER[x.dtype])) == result, 0, error)
    return error


def disagreement(want: np.ndarray, got: np.ndarray, noisy: Callable[[], Sequence[np.ndarray]]) -> str:
    """How two results differ by more than the spread of `noisy` ones; empty if they do not."""
    if (want.dtype, want.shape) != (got.dtype, got.shape):
        return f"{got.dtype}{list(got.shape)} is not {want.dtype}{list(want.shape)}"
    wide = F64 if is_float(want.dtype) else I64
    a, b = want.astype(wide), got.astype(wide)
    with np.errstate(all="ignore"):
        spread = np.abs(np.stack([x.astype(wide) for x in noisy()]) - a).max(0)
        least = 512 * EPSILON[want.dtype] * np.abs(a).max(initial=0) if is_float(want.dtype) else 0
        off = ~((np.abs(a - b) <= 4 * spread + least) | (a == b) | (np.isnan(a) & np.isnan(b)))
    where = np.argwhere(off)
    if not len(where):
        return ""
    at = tuple(map(int, where[0]))
    return f"{len(where)} of {a.size} elements, such as {at}: {got[at]} is not {want[at]} (rounding: {spread[at]:.3g})"


# --------------------------------------------------------------------------------------------------------- checks


def check(program: Program, tally: Tally | None = None) -> None:
    """Compare the oracle with every stage, the text of each and two calls of the compiled program.

    Raises:
        Failure: names the stage.
    """
    tally = tally if tally is not None else Tally()
    graph, arrays = program.graph, program.arrays

    @contextmanager
    def doing(what: str) -> Iterator[None]:
        try:
            yield
        except Failure:
            raise
        except Exception as error:
            raise Failure(what, f"{type(error).__name__}: {error}", program) from error

    if program.gradient:
        with doing("differentiation"):
            graph = differentiate(graph)
    with doing("oracle"):
        verify(graph)
        want = interpret(graph, *arrays)

    def compare(what: str, results: Sequence[np.ndarray]) -> None:
        for k, (a, b) in enumerate(zip(want, results, strict=True)):
            tally.results += 1
            if same(a, b):
                continue
            noisy = [perturbed(graph, arrays, np.random.default_rng(r))[k] for r in range(RUNS)]
            if difference := disagreement(a, b, lambda noisy=noisy: noisy):
                raise Failure(what, f"results differ: number {k}: {difference}", program)
            tally.excused += 1

    lowered = Lowered(graph, program.donated)
    with doing("passes"):
        stages = lowered.stages
    for name, stage in stages.items():
        with doing(f"stage {name}"):
            compare(f"stage {name}", interpret(stage, *arrays))
            again = parse(str(stage), data_of(stage))
            if again != stage or str(again) != str(stage):
                raise Failure(f"stage {name}", "its text means another graph", program)
    with doing("compile"):
        executable = lowered.compile()
    calls: list[list[np.ndarray]] = []
    for what in ("compiled", "second call"):
        passed = [a.copy() for a in arrays]
        with doing(what):
            calls.append([a.copy() for a in executable(passed)])
        compare(what, calls[-1])
        for k, (a, b) in enumerate(zip(passed, arrays, strict=True)):
            if k not in program.donated and a.tobytes() != b.tobytes():
                raise Failure(what, f"an argument was overwritten: number {k}", program)
    if any(a.tobytes() != b.tobytes() for a, b in zip(*calls, strict=True)):
        raise Failure("second call", "other bits than the first", program)
    if program.gradient:
        tally.slopes += check_gradient(program, want)
    tally.programs += 1


def data_of(graph: Graph) -> dict[str, np.ndarray]:
    """The data of the constants of a graph and its regions, by digest."""
    found = {c.digest: c.data for c in graph.constants if c.data is not None}
    for node in graph.nodes:
        for attr in node.attrs.values():
            found |= data_of(attr) if isinstance(attr, Graph) else {}
    return found


def check_gradient(program: Program, results: Sequence[np.ndarray]) -> bool:
    """Compare the gradient with differences of the function in a random direction, where it is smooth.

    Returns:
        whether it is smooth there: no kink or step lies within the steps that are taken.
    """
    arrays = program.arrays
    rng = np.random.default_rng(0)
    direction = [rng.standard_normal(a.shape) if a.dtype == F64 else None for a in arrays]
    grads = iter(results[1:])  # of the floating-point arguments
    slopes = [(next(grads), v) for a, v in zip(arrays, direction, strict=True) if is_float(a.dtype)]
    got = sum(float((g * v).sum()) for g, v in slopes if v is not None)

    def value(t: float) -> float:
        moved = [a if v is None else a + t * v for a, v in zip(arrays, direction, strict=True)]
        return float(interpret(program.graph, *moved)[0])

    estimates = []
    for h in (1e-4, 1e-5):
        a, b, c, d, e = (value(k * h) for k in (-2, -1, 0, 1, 2))
        estimates.append((8 * (d - b) - (e - a)) / (12 * h))
        scale = max(1.0, abs(got), abs(c - b) / h, abs(d - c) / h)
        if not (abs(e - 2 * d + c) + abs(a - 2 * b + c) + abs(b - 2 * c + d)) / h <= 0.01 * scale:
            return False
    if not abs(estimates[0] - estimates[1]) <= 1e-5 * scale:
        return False
    if not abs(got - estimates[0]) <= 1e-4 * scale:
        raise Failure("gradient", f"wrong slope: {got:.9g}, differences give {estimates[0]:.9g}", program)
    return True


# ------------------------------------------------------------------------------------------------------ reduction


def rebuilt(program: Program, outputs: Sequence[Value], cut: Value | None = None, by: Value | None = None) -> Program:
    """What of a program computes `outputs`, with `cut` replaced by `by`, or by an argument that has its numbers."""
    numbers = interpret_values(program.graph, *program.arrays)
    needed = set(outputs)
    for node in reversed(program.graph.nodes):
        if node.result in needed:
            needed.update(node.operands if node.result is not cut else [by] if by else ())
    builder = Builder(program.graph.name)
    env: dict[Value, Value] = {}
    arrays: list[np.ndarray] = []
    for v in numbers:  # sources, then results, in order
        if v not in needed:
            continue
        if v is cut and by is not None:
            env[v] = env[by]
        elif v.node is None and v in program.graph.data and v is not cut:
            env[v] = builder.adopt(program.graph.data[v])
        elif v.node is None or v is cut:
            env[v] = builder.input(v.type)
            arrays.append(np.array(numbers[v]))
        else:
            (env[v],) = builder.emit(v.node.op, [env[x] for x in v.node.operands], v.node.attrs, v.node.loc)
    graph = builder.build([env[v] for v in outputs])
    return Program(graph, tuple(arrays), tuple(range(len(arrays))) if program.donated else (), program.gradient)


def smaller(failure: Failure) -> Iterator[Program]:
    """Programs with less in them than the one that failed."""
    program = failure.program
    graph = program.graph
    if program.gradient:
        if failure.kind[0] not in ("differentiation", "gradient"):
            yield Program(differentiate(graph), program.arrays)
    elif len(graph.outputs) > 1:
        yield from (rebuilt(program, [v]) for v in graph.outputs)
    elif graph.outputs[0].node:
        yield from (rebuilt(program, [v]) for v in graph.outputs[0].node.operands)
    if program.donated:
        yield Program(graph, program.arrays)
    for node in graph.nodes:
        yield rebuilt(program, graph.outputs, node.result)
        same_type = [v for v in node.operands if v.type == node.result.type]
        yield from (rebuilt(program, graph.outputs, node.result, v) for v in same_type)
    yield from (rebuilt(program, graph.outputs, c.value) for c in graph.constants)


def reduced(failure: Failure, seconds: float = 60.0) -> Failure:
    """The failure of the smallest program found in some time that fails in the same way."""
    end = time.monotonic() + seconds
    while True:
        for program in smaller(failure):
            if time.monotonic() > end:
                return failure
            try:
                check(program)
            except Failure as other:
                if other.kind == failure.kind:
                    failure = other
                    break
        else:
            return failure


# ------------------------------------------------------------------------------------------------------- the hunt


def drawn(strategy: st.SearchStrategy[Program], examples: int, first_seed: int = 0) -> list[Program]:
    """Programs, unchecked; the same ones for the same seed."""
    found: list[Program] = []

    @seed(first_seed)
    @settings(max_examples=examples, database=None, deadline=None, suppress_health_check=list(HealthCheck),
              phases=(Phase.generate,), derandomize=False)  # fmt: skip
    @given(strategy)
    def collect(program: Program) -> None:
        found.append(program)

    collect()
    return found


def hunt(strategy: st.SearchStrategy[Program], examples: int, first_seed: int) -> Tally:
    """Check programs, the same ones for the same seed.

    Raises:
        Failure: the first one, reduced.
    """
    tally = Tally()
    try:
        for program in drawn(strategy, examples, first_seed):
            check(program, tally)
    except Failure as failure:
        raise reduced(failure) from failure.__cause__
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=1000, help="programs to check (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the first batch; the next has the next (default: 0)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after the batch in which they are over")
    parser.add_argument(
        "--batch", type=int, default=50, help="programs in a batch, which ends at a failure (default: 50)"
    )
    options = parser.parse_args()
    start, failures, total = time.monotonic(), 0, Tally()
    for number in itertools.count(options.seed):
        strategy = (programs(), gradients())[number % 2]
        try:
            done = hunt(strategy, options.batch, number)
        except Exception as error:  # noqa: BLE001  # the run is to go on
            failures += 1
            cause = error.__cause__ if isinstance(error, Failure) else error
            where = "".join(traceback.format_tb(cause.__traceback__)[-3:]) if cause else ""
            print(f"---- seed {number}: {error}\n{where}", flush=True)
            done = Tally(options.batch)
        total = Tally(*(a + b for a, b in zip(vars(total).values(), vars(done).values(), strict=True)))
        spent = time.monotonic() - start
        print(f"{total}, {failures} failures, {spent:.0f} s", file=sys.stderr, flush=True)
        if total.programs >= options.examples or spent > 60 * options.minutes:
            break
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
