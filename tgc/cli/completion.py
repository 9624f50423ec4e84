"""`tgc completion`: scripts by which shells complete commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from tgc.cli.command import COMPLETE, command


@command("completion", json=False)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script by which a shell completes commands and options.

    bash: eval "$(tgc completion bash)" in ~/.bashrc; zsh the same in ~/.zshrc; fish: tgc completion fish | source.
    """
    from tgc.cli import tgc

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(tgc, {}, "tgc", COMPLETE).source())
