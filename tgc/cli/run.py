"""`tgc run`: one call of a model, from files to files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tgc.cli.command import command
from tgc.cli.models import Spec, model_options

if TYPE_CHECKING:
    import numpy as np


def input_options(f: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the options that say what a model is called with."""
    for option in (
        click.option("--seed", default=0, show_default=True, help="Of the random numbers."),
        click.option("--random", is_flag=True, help="Make up inputs that no file gives: normal, integers 0 or 1."),
        click.option(
            "--input", "-i", "files", multiple=True, metavar="[NAME=]FILE",
            help="An input from a .npy, .npz or .safetensors file, or an image. Once for each file.",
        ),
    ):  # fmt: skip
        f = option(f)
    return f


@command("run")
@model_options
@input_options
@click.option("--output", "-o", metavar="FILE", help="Write the results to a .npz, .safetensors or .npy file.")
def run_model(
    model: str, shapes: Sequence[tuple[str, Spec]], backend: str, passes: str | None, files: Sequence[str],
    random: bool, seed: int, output: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Run a model once.

    A file of several arrays gives the inputs of those names. A picture is resized to what the model takes, and its
    pixels are floats between 0 and 1 for a model of floats. Without --output, the results are summed up in a table.
    """
    from tgc.cli.arrays import inputs_from, write_arrays
    from tgc.cli.opened import open_model
    from tgc.cli.output import print_json, print_table
    from tgc.types import type_of

    opened = open_model(model, shapes, backend, passes)
    arrays = inputs_from(files, opened.inputs, random=random, seed=seed)
    results = dict(zip(opened.outputs, opened.program()(list(arrays.values())), strict=True))
    if output is not None:
        write_arrays(Path(output), results)
    rows = [{"name": name, "type": str(type_of(array)), **summary(array)} for name, array in results.items()]
    if as_json:
        print_json({"results": rows, "output": output})
    elif output is None:
        columns = ["result", "type", ">least", ">mean", ">greatest", "first"]
        print_table(columns, [(*r.values(),) for r in rows])
    else:
        named = ", ".join(f"{r['name']} {r['type']}" for r in rows)
        click.echo(f"{output}: {named}")


def summary(array: np.ndarray) -> Mapping[str, Any]:
    """Least, mean and greatest number of an array, and its first ones."""
    import numpy as np

    from tgc.types import is_complex

    wide = array.astype(np.complex128 if is_complex(array.dtype) else np.float64)
    sizes = np.abs(wide) if np.iscomplexobj(wide) else wide
    figures = [f"{f(sizes):.6g}" if array.size else "" for f in (np.min, np.mean, np.max)]
    first = " ".join(f"{x:.4g}" for x in wide.ravel()[:4].tolist())
    return dict(zip(("least", "mean", "greatest"), figures, strict=True)) | {
        "first": first + (" ..." if array.size > 4 else "")
    }


__all__ = ["input_options", "run_model"]
