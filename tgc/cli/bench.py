"""`tgc bench`: how long calls of a model take."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import click

from tgc.cli.command import CommandError, command
from tgc.cli.models import Spec, model_options
from tgc.cli.run import input_options

Call = Callable[[], Sequence[Any]]
WARMUP = 3
BARS, SHOWN = 10, 95  # of the histogram, and the percentage of calls in it: few take very long
PERCENTILES = {"least": 0, "median": 50, "90 %": 90, "99 %": 99, "most": 100}


@command("bench")
@model_options
@input_options
@click.option("--seconds", default=2.0, show_default=True, help="How long to measure each implementation.")
@click.option("--threads", type=click.IntRange(1), metavar="N", help="Threads, of every implementation.")
@click.option("--versus", type=click.Choice(["onnxruntime"]), help="Measure ONNX Runtime on the same file, in turns.")
def bench(
    model: str, shapes: Sequence[tuple[str, Spec]], backend: str, passes: str | None, files: Sequence[str],
    random: bool, seed: int, seconds: float, threads: int | None, versus: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Measure how long calls take.

    Shows the distribution of their times, throughput and memory. Inputs that no file gives are random. Donated inputs
    are written over by each call, as in a program that uses it.
    """
    if threads is not None:
        os.environ["TGC_NUM_THREADS"] = str(threads)
    from tgc.cli.arrays import inputs_from
    from tgc.cli.opened import open_model
    from tgc.cli.output import print_json
    from tgc.cli.stats import statistics

    start = time.perf_counter()
    opened = open_model(model, shapes, backend, passes)
    arrays = inputs_from(files, opened.inputs, random=True, seed=seed)
    program = opened.program()
    ready = time.perf_counter() - start
    inputs = list(arrays.values())
    calls: dict[str, Call] = {"tgc": lambda: program(inputs)}
    if versus is not None:
        calls[versus] = _onnxruntime(model, arrays, threads)
    start = time.perf_counter()
    first = calls["tgc"]()
    figures: dict[str, Any] = {"ready": ready, "first_call": time.perf_counter() - start}
    if versus is not None:
        figures["difference"] = _difference(first, calls[versus]())
    times = measure(calls, seconds)
    figures["calls"] = {name: distribution(taken) for name, taken in times.items()}
    figures["memory"] = statistics(opened)["memory"] | _resident()
    if as_json:
        print_json(figures)
    else:
        _print(model, figures, times["tgc"])


def measure(calls: Mapping[str, Call], seconds: float) -> dict[str, list[float]]:
    """Seconds of calls, in turns of some calls each, until each has been measured for `seconds`."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(WARMUP):
            call()
    while min(map(sum, times.values())) < seconds:
        for name, call in calls.items():
            until = time.perf_counter() + seconds / 20
            while True:
                start = time.perf_counter()
                call()
                end = time.perf_counter()
                times[name].append(end - start)
                if end > until:
                    break
    return times


def distribution(times: Sequence[float]) -> dict[str, float]:
    """Percentiles and the mean of times, how many there were, and calls per second."""
    import numpy as np

    found = {name: float(np.percentile(times, share)) for name, share in PERCENTILES.items()}
    mean = sum(times) / len(times)
    return {**found, "mean": mean, "calls": len(times), "per_second": 1 / mean}


def _print(model: str, figures: Mapping[str, Any], times: Sequence[float]) -> None:
    import numpy as np

    from tgc.cli.output import count, nbytes, print_table, seconds

    click.echo(f"{model}: ready in {seconds(figures['ready'])}, first call {seconds(figures['first_call'])}\n")
    rows = [
        (name, *(seconds(d[p]) for p in (*PERCENTILES, "mean")), count(d["per_second"]), d["calls"])
        for name, d in figures["calls"].items()
    ]
    print_table(["", *(f">{p}" for p in PERCENTILES), ">mean", ">calls/s", ">measured"], rows)
    for name, d in list(figures["calls"].items())[1:]:
        ratio = d["median"] / figures["calls"]["tgc"]["median"]
        said = f"{ratio:.2f} times as quick as" if ratio >= 1 else f"{1 / ratio:.2f} times as slow as"
        click.echo(f"\ntgc is {said} {name}; results differ by at most {figures['difference']:.1e}")
    click.echo()
    slow = np.percentile(times, SHOWN)
    shown = [t for t in times if t <= slow]
    counts, edges = np.histogram(shown, BARS)
    bars = [
        (f"{seconds(a)} -", seconds(b), n, "█" * round(40 * n / max(counts)))
        for n, a, b in zip(counts, edges, edges[1:], strict=False)
    ]
    print_table([">calls that", "took", ">number", ""], bars)
    memory = figures["memory"]
    parts = [f"{nbytes(memory[what])} of {what}" for what in ("constants", "intermediate values")]
    resident = f"; the process had up to {nbytes(memory['resident'])}" if "resident" in memory else ""
    click.echo(f"\nmemory: {', '.join(parts)}{resident}")


def _resident() -> dict[str, int]:
    """The most memory that this process has had, where the system tells."""
    try:
        import resource
    except ImportError:  # Windows
        return {}
    import sys

    return {"resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)}


def _onnxruntime(model: str, arrays: Mapping[str, Any], threads: int | None) -> Call:
    """Calls of ONNX Runtime on its CPU, with as many threads as tgc uses."""
    if not model.endswith(".onnx"):
        raise CommandError(f"--versus onnxruntime reads .onnx files, which {model} is not")
    try:
        onnxruntime: Any = import_module("onnxruntime")
    except ImportError as error:
        raise CommandError("ONNX Runtime is not installed: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or int(os.environ.get("TGC_NUM_THREADS") or 0)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    named = dict(zip((v.name for v in session.get_inputs()), arrays.values(), strict=False))
    return lambda: list(session.run(None, named))


def _difference(ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    """The greatest difference of two lists of results, relative to the greatest number of each."""
    import numpy as np

    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        wide = np.asarray(a, np.float64), np.asarray(b, np.float64)
        worst = max(worst, float(np.abs(wide[0] - wide[1]).max(initial=0) / max(np.abs(wide[1]).max(initial=0), 1e-30)))
    return worst


__all__ = ["bench", "distribution", "measure"]
