"""`tgc diff`: how two graphs, or two stages of one, differ."""

from __future__ import annotations

from collections.abc import Sequence

import click

from tgc.cli.command import DONE, FOUND, CommandError, command
from tgc.cli.models import ShapeType, Spec, files


@command("diff")
@click.argument("a", shell_complete=files)
@click.argument("b", required=False, shell_complete=files)
@click.option("--stage", metavar="NAME", help="Compare the graphs after this pass instead of those as traced.")
@click.option("--stages", nargs=2, metavar="FIRST SECOND", help="Compare two stages of one model.")
@click.option("--shape", "shapes", type=ShapeType(), multiple=True, help="Shape of an input: see tgc show --help.")
@click.option("--backend", default="cpu", show_default=True, help="The backend that stages are those of.")
def diff(
    a: str, b: str | None, stage: str | None, stages: tuple[str, str] | None, shapes: Sequence[tuple[str, Spec]],
    backend: str, as_json: bool,
) -> int:  # fmt: skip
    """Show how two graphs, or two stages of one, differ.

    Lines begin with - for what only the first has, + for what only the second has, and ~ for nodes that read other
    values or have other attributes; what differs in their regions follows. The order of independent nodes and the
    numbers of values do not count. Exit code 1: they differ.
    """
    from tgc.cli.difference import difference
    from tgc.cli.opened import Opened, chosen, open_model
    from tgc.cli.output import console, plural, print_json

    def staged(opened: Opened, name: str | None) -> object:
        return opened.stages[chosen(opened.stages, name or next(iter(opened.stages)), "stage")]

    if (b is None) == (not stages):
        raise CommandError("give two models, or one model and --stages FIRST SECOND")
    first = open_model(a, shapes, backend)
    if stages:
        pair = tuple(staged(first, name) for name in stages)
        labels = stages
    else:
        assert b is not None
        pair = staged(first, stage), staged(open_model(b, shapes, backend), stage)
        labels = (a, b)
    changes = difference(*pair)  # type: ignore[arg-type]
    if as_json:
        print_json({"changes": [{"sign": c.sign, "text": c.text, "was": c.was} for c in changes]})
    else:
        out = console()
        styles = {"-": "red", "+": "green", "~": "yellow"}
        for c in changes:
            out.print(str(c), style=styles[c.sign], markup=False, soft_wrap=True)
        signs = [c.sign for c in changes]
        said = f"{plural(signs.count('-'), 'line')} only in {labels[0]}, {signs.count('+')} only in {labels[1]}"
        click.echo(f"{said}, {signs.count('~')} in both but changed" if changes else "no difference")
    return FOUND if changes else DONE
