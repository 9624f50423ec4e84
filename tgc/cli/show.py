"""`tgc show`: the text of a stage, the source of a kernel, its machine code."""

from __future__ import annotations

from collections.abc import Sequence

import click

from tgc.cli.command import CommandError, command
from tgc.cli.models import Spec, model_options


@command("show")
@model_options
@click.option("--stage", metavar="NAME", help="Show the graph after this pass; `last` is what is compiled.")
@click.option("--kernel", metavar="NAME", help="Show the source of this kernel; `all` shows every one.")
@click.option("--asm", is_flag=True, help="Show the machine code of the kernel instead.")
@click.option("--output", "-o", metavar="FILE.tgir", help="Write the graph to a file, and its constants beside it.")
@click.option("--list", "listing", is_flag=True, help="List the stages and the kernels.")
def show(
    model: str, shapes: Sequence[tuple[str, Spec]], backend: str, passes: str | None, stage: str | None,
    kernel: str | None, asm: bool, output: str | None, listing: bool, as_json: bool,
) -> None:  # fmt: skip
    """Show a graph at any stage, or a kernel.

    Without options, the graph as it was traced. Graphs are textual IR, which parses back; only a file that --output
    writes has the constants with it, so that it runs.
    """
    from tgc.cli.opened import chosen, open_model
    from tgc.cli.output import print_json, print_source, print_table
    from tgc.text import save_graph

    if asm and kernel is None:
        raise CommandError("--asm shows a kernel's machine code: name it by --kernel")
    opened = open_model(model, shapes, backend, passes)
    if kernel is not None:
        kernels = opened.kernels
        names = list(kernels) if kernel == "all" else [chosen(kernels, kernel, "kernel")]
        texts = {name: kernels[name] for name in names}
        if asm:
            from tgc.runtime.registry import get_backend

            texts = {name: get_backend(backend).assembly(source, name) for name, source in texts.items()}
        if as_json:
            print_json({"kernels": texts})
        for name in names if not as_json else ():
            print_source(texts[name].rstrip(), "gas" if asm else "python")
    elif listing:
        counts = {name: len(graph.nodes) for name, graph in opened.stages.items()}
        lines = {name: len(source.splitlines()) for name, source in opened.kernels.items()}
        if as_json:
            print_json({"stages": counts, "kernels": lines})
            return
        print_table(["stage", ">nodes"], counts.items())
        click.echo()
        print_table(["kernel", ">lines"], lines.items())
    else:
        name = stage or next(iter(opened.stages))
        name = list(opened.stages)[-1] if name == "last" else chosen(opened.stages, name, "stage")
        if output is not None:
            save_graph(opened.stages[name], output)
        elif as_json:
            print_json({"stage": name, "text": str(opened.stages[name])})
        else:
            print_source(str(opened.stages[name]), "tgir")
