"""`tgc opt`: passes on textual IR."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

import click

from tgc.cli.command import CommandError, command


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from tgc.passes import PASSES

    *before, last = incomplete.split(",")
    return [",".join([*before, name]) for name in PASSES if name.startswith(last)]


def _list(ctx: click.Context, asked: bool) -> None:
    if not asked:
        return
    from tgc.cli.output import print_table
    from tgc.passes import PASSES, PIPELINE

    rows = []
    for name, made in PASSES.items():
        options = ", ".join(f"{o.name}={o.default!r}" for o in fields(made) if isinstance(o.default, int | float | str))
        rows.append((name, options, " ".join((made.__doc__ or "").split("\n\n")[0].split())))
    print_table(["pass", "options", "does"], rows)
    click.echo(f"\nthe default pipeline: {PIPELINE}")
    ctx.exit()


@command("opt")
@click.argument("graph", metavar="GRAPH.tgir")
@click.option(
    "--passes",
    metavar="PIPELINE",
    shell_complete=_complete,
    help="Passes to run, such as fold,simplify,fuse{limit=24}.",
)
@click.option("--backend", default="cpu", show_default=True, help="The backend whose machine passes may ask about.")
@click.option("-o", "--output", metavar="FILE", help="Write to a file, and the constants beside it.")
@click.option("--check", is_flag=True, help="Interpret the graph before and after each pass and compare the results.")
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, _, value: _list(ctx, value),
    help="List the passes and their options.",
)
def opt(graph: str, passes: str | None, backend: str, output: str | None, check: bool, as_json: bool) -> None:
    """Run passes on textual IR.

    Prints the graph that they make, which parses back.

    GRAPH.tgir may be `-`, for standard input. The default is the whole pipeline.
    """
    from tgc.cli.output import print_json, print_source
    from tgc.passes import PIPELINE, parse_pipeline, run
    from tgc.runtime.lowered import check_pass
    from tgc.runtime.registry import get_backend
    from tgc.text import load_graph, parse, save_graph
    from tgc.verify import verify

    if graph == "-":
        read = parse(sys.stdin.read())
        verify(read)
    else:
        if Path(graph).suffix != ".tgir":
            raise CommandError(f"{graph} is no .tgir file; tgc show MODEL -o graph.tgir makes one")
        read = load_graph(graph)
    made = run(
        parse_pipeline(PIPELINE if passes is None else passes),
        read,
        get_backend(backend).target,
        check_pass if check else None,
    )
    if output is not None:
        save_graph(made.result, output)
    if as_json:
        stages = {name: str(stage) for name, stage in made.stages.items()}
        print_json({"stages": stages, "refusals": [str(r) for r in made.refusals]})
    elif output is None:
        print_source(str(made.result), "tgir")
