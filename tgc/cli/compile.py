"""`tgc compile`: a model into a `.tgc` file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from tgc.cli.command import CommandError, command
from tgc.cli.models import Spec, model_options


@command("compile")
@model_options
@click.option("--output", "-o", metavar="FILE.tgc", help="The file to write; by default the model's name with .tgc.")
@click.option(
    "--target",
    "targets",
    metavar="NAME",
    multiple=True,
    default=["native"],
    show_default=True,
    help="A kind of machine to compile for: native, or of x86-64 avx512, avx2, baseline. Several make one file.",
)
@click.option("--add", is_flag=True, help="Add to what the file has: other shapes, or other targets.")
def compile_model(
    model: str, shapes: Sequence[tuple[str, Spec]], backend: str, passes: str | None, output: str | None,
    targets: Sequence[str], add: bool, as_json: bool,
) -> None:  # fmt: skip
    """Compile a model into one file.

    The file holds the graph at every stage, weights, kernels and machine code. On a machine that it has no code for,
    the graph is compiled there when it is loaded.
    """
    from tgc.cli.models import read_model
    from tgc.cli.opened import inputs_of
    from tgc.cli.output import nbytes, plural, print_json, seconds

    if Path(model).suffix == ".tgc":
        raise CommandError(f"{model} is compiled already; tgc compile --add needs the model that it was compiled from")
    path = Path(output or Path(model.rpartition(":")[2]).with_suffix(".tgc").name)
    if path.suffix != ".tgc":
        raise CommandError(f"{path}: compiled models are .tgc files")
    start = time.perf_counter()
    lowered = read_model(model, shapes, backend, passes)
    lowered.save(path, targets=targets, add=add)
    taken, size = time.perf_counter() - start, path.stat().st_size
    inputs = {name: str(type) for name, type in inputs_of(lowered.graph).items()}
    if as_json:
        print_json({
            "file": str(path), "bytes": size, "seconds": taken, "inputs": inputs, "kernels": list(lowered.kernels),
        })  # fmt: skip
        return
    kernels = f"{plural(len(lowered.kernels), 'kernel')} for {', '.join(targets)}"
    click.echo(f"{path}: {nbytes(size)}, {kernels}, in {seconds(taken)}")
    click.echo(f"inputs: {', '.join(f'{name} {type}' for name, type in inputs.items()) or 'none'}")
