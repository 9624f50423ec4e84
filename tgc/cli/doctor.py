"""`tgc doctor`: what this installation has, what it lacks, and how to get that."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, entry_points, requires, version
from typing import NamedTuple

import click

from tgc.cli.command import DONE, FOUND, command

EXTRAS = {
    "keras": "models of Keras: pip install 'tgc[keras]'",
    "onnx": "models of ONNX: pip install 'tgc[onnx]'",
    "onnxruntime": "tgc bench --versus onnxruntime: pip install onnxruntime",
    "pillow": "images as inputs of tgc run: pip install pillow",
    "matplotlib": "plots of benchmarks and examples: pip install 'tgc[bench]'",
}


class Check(NamedTuple):
    """A line of the report. `state`: ok, missing (something optional), or failed."""

    what: str
    state: str
    says: str


@command("doctor")
def doctor(as_json: bool) -> int:
    """Check the installation.

    Looks at the machine, packages, the cache and GPUs; compiles a program and compares its results. Exit code 1:
    something does not work. What is optional may be missing.
    """
    from rich.text import Text

    from tgc.cli.output import print_json, print_table

    checks = [check for part in (_packages, _machine, _cache, _gpu, _optional, _program) for check in _safely(part)]
    failed = [c for c in checks if c.state == "failed"]
    if as_json:
        print_json({"ok": not failed, "checks": [c._asdict() for c in checks]})
    else:
        styles = {"ok": "green", "missing": "yellow", "failed": "bold red"}
        print_table(["", "state", "found"], [(c.what, Text(c.state, styles[c.state]), c.says) for c in checks])
        click.echo(f"\n{len(failed)} of {len(checks)} checks failed" if failed else "\nall that is needed works")
    return FOUND if failed else DONE


def _safely(part: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    try:
        yield from part()
    except Exception as error:  # noqa: BLE001 -- whatever is broken is what is to be reported
        yield Check(part.__name__.strip("_"), "failed", f"{type(error).__name__}: {error}")


def _packages() -> Iterator[Check]:
    import tgc

    yield Check("tgc", "ok", f"{tgc.__version__} in {os.path.dirname(tgc.__file__)}")
    yield Check("python", "ok", f"{platform.python_version()} at {sys.executable}")
    needed = [line for line in requires("tgc") or [] if "extra ==" not in line]
    for line in sorted(needed):
        name = "".join(c if c.isalnum() or c in "-_." else " " for c in line).split()[0]
        try:
            yield Check(name, "ok", version(name))
        except PackageNotFoundError:
            yield Check(name, "failed", f"not installed: pip install '{line}'")


def _machine() -> Iterator[Check]:
    from tgc.runtime.registry import get_backend

    names = sorted(e.name for e in entry_points(group="tgc.backends"))
    yield Check(
        "backends", "ok" if names else "failed", ", ".join(names) or "none: install tgc again, pip install -e ."
    )
    for name in names:
        for what, says in get_backend(name).describe().items():
            yield Check(what, "ok", says)


def _cache() -> Iterator[Check]:
    from tgc.cli.output import nbytes
    from tgc.runtime.cache import KernelCache

    cache = KernelCache.default()
    if cache.root is None:
        yield Check("cache", "missing", "turned off by TGC_CACHE=0: every process compiles anew")
        return
    size = sum(e.bytes for e in cache.listing())
    folder = next(p for p in (cache.root, *cache.root.parents) if p.exists())
    if not os.access(folder, os.W_OK):
        yield Check("cache", "failed", f"{cache.root} cannot be written: set TGC_CACHE_DIR to another folder")
    else:
        yield Check("cache", "ok", f"{cache.root}, {nbytes(size)} of {nbytes(cache.limit)}")


def _gpu() -> Iterator[Check]:
    query = shutil.which("nvidia-smi")
    if query is None:
        yield Check("GPU", "missing", "no NVIDIA driver found; programs run on the CPU")
        return
    command = [query, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    found = "; ".join(done.stdout.strip().splitlines())
    backends = {e.name for e in entry_points(group="tgc.backends")}
    if done.returncode or not found:
        yield Check("GPU", "missing", f"nvidia-smi failed: {(done.stderr or done.stdout).strip() or done.returncode}")
    elif "cuda" not in backends:
        yield Check("GPU", "missing", f"{found}; this version of tgc has no backend for it")
    else:
        yield Check("GPU", "ok", found)


def _optional() -> Iterator[Check]:
    for name, purpose in EXTRAS.items():
        try:
            yield Check(name, "ok", version(name))
        except PackageNotFoundError:
            yield Check(name, "missing", f"for {purpose}")


def _program() -> Iterator[Check]:
    """A small program, compiled and interpreted."""
    import numpy as np

    import tgc
    import tgc.numpy as tnp

    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape, dtype=np.float32) for shape in ((8, 16), (16, 32)))
    lowered = tgc.jit(lambda x, w: tnp.tanh(x @ w).sum(axis=0)).lower(x, w)
    (expected,) = tgc.interpret(lowered.graph, x, w)
    worst = float(np.abs(lowered.compile()(x, w) - expected).max())
    yield Check(
        "a program", "ok" if worst < 1e-5 else "failed", f"compiled and run, {worst:.1e} off its interpretation"
    )
