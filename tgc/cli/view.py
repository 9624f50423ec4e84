"""`tgc view`: the explorer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from tgc.cli.command import command
from tgc.cli.models import Spec, model_options
from tgc.cli.run import input_options


@command("view")
@model_options
@input_options
@click.option(
    "--profile", "profiled", is_flag=True, help="Measure a call, for the flame chart. Inputs are random by default."
)
@click.option("--html", metavar="FILE", help="Write the page to a file instead, which needs no server.")
@click.option("--port", default=0, metavar="N", help="Serve the page at this port. By default at any that is free.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def view(
    model: str, shapes: Sequence[tuple[str, Spec]], backend: str, passes: str | None, files: Sequence[str],
    random: bool, seed: int, profiled: bool, html: str | None, port: int, no_browser: bool, as_json: bool,
) -> None:  # fmt: skip
    """Explore a model in a browser.

    A page shows the graph at every stage, what each pass changed, kernels and their sources, the memory plan and, with
    --profile, where the time goes. It asks nothing of the network. With --json, the data that it shows.
    """
    from tgc.cli.arrays import inputs_from
    from tgc.cli.opened import open_model
    from tgc.cli.output import print_json
    from tgc.view import Model, page, serve

    opened = open_model(model, shapes, backend, passes)
    profile = None
    if profiled:
        inputs = inputs_from(files, opened.inputs, random=True, seed=seed)
        profile = opened.program().profile(list(inputs.values()))
    made = Model.planned(opened.name, opened.stages, opened.kernels, opened.backend, profile, opened.refusals)
    if as_json:
        print_json(made.data())
    elif html is not None:
        Path(html).write_text(page(made), encoding="utf-8")
    else:
        serve(
            page(made), port=port, open_browser=not no_browser, ready=lambda at: click.echo(f"{at}  (Ctrl-C ends it)")
        )
