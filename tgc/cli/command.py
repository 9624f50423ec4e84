"""What all commands have in common: options, how they are found, and how they fail.

Exit codes: 0 done; 1 `diff` or `doctor` found something; 2 an error; 130 interrupted; 141 nobody reads the pipe.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeVar

import click
from click.shell_completion import shell_complete

import tgc
from tgc.errors import TgcError

F = TypeVar("F", bound=Callable[..., Any])

DONE, FOUND, FAILED, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141
COMPLETE = "_TGC_COMPLETE"  # the variable by which a shell asks what a word may become
_DEBUG = "tgc.debug"
_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class CommandError(click.ClickException):
    """What was asked for cannot be done."""

    exit_code = FAILED


class Commands(click.Group):
    """The group of all commands, by heading; the module of one is imported when it is needed."""

    def __init__(self, commands: Mapping[str, Mapping[str, str]]) -> None:
        super().__init__(
            "tgc",
            help="Compile tensor programs, run them, and look inside.",
            epilog="A MODEL is a .tgc artifact, textual IR (.tgir), a function (package.module:function or "
            "file.py:function, with --shape), or a file of a format that an installed frontend reads.",
            context_settings=_HELP,
        )
        self.sections = commands
        self.places = {name: place for section in commands.values() for name, place in section.items()}
        self.params += click.version_option(tgc.__version__, prog_name="tgc")(click.Command("")).params

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.places:
            return None
        module, _, name = self.places[cmd_name].partition(":")
        found: click.Command = getattr(import_module(module), name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.places))
        for heading, names in self.sections.items():
            found = ((name, self.get_command(ctx, name)) for name in names)
            with formatter.section(heading):
                rows = [(f"{name:{width}}", c.get_short_help_str(80)) for name, c in found if c]
                formatter.write_dl(rows)


def command(name: str, *, json: bool = True, **settings: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Decorator: a command with the options that all have. `json`: whether it takes a parameter `as_json`."""

    def decorate(f: Callable[..., Any]) -> click.Command:
        if json:
            f = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")(f)
        made: click.Command = click.command(name, context_settings=_HELP, **settings)(debug_option(f))  # type: ignore[no-untyped-call]
        made.params.sort(key=lambda option: option.name in ("as_json", "debug"))  # last in the help
        return made

    return decorate


def debug_option(f: F) -> F:
    """Decorator: the option `--debug`, which shows the tracebacks of errors."""

    def noted(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        ctx.meta[_DEBUG] = value or ctx.meta.get(_DEBUG, False)

    text = "Show the traceback of an error."
    return click.option("--debug", is_flag=True, expose_value=False, callback=noted, is_eager=True, help=text)(f)


def run(group: click.Group, arguments: Sequence[str] | None = None) -> int:
    """The exit code of the command that `arguments` ask for, which is run here."""
    debug: dict[str, Any] = {}
    given = list(sys.argv[1:] if arguments is None else arguments)
    if asked := os.environ.get(COMPLETE):
        return shell_complete(group, {}, "tgc", COMPLETE, asked)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning  # type: ignore[assignment]
        try:
            with group.make_context("tgc", given) as context:
                debug = context.meta
                status = group.invoke(context)
            sys.stdout.flush()
        except click.exceptions.Exit as end:
            return end.exit_code
        except (KeyboardInterrupt, click.Abort):
            _say("interrupted")
            return INTERRUPTED
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more as it exits
            return PIPE_CLOSED
        except Exception as error:  # noqa: BLE001 -- models are code of others and may raise anything
            if debug.get(_DEBUG):
                traceback.print_exc()
            _report(error)
            return FAILED
    return status if isinstance(status, int) else DONE


def _report(error: Exception) -> None:
    """Tell of an error, in words and without a traceback."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.ctx.get_help())
        return
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
    if isinstance(error, click.ClickException):
        _say(f"error: {error.format_message()}")
    elif isinstance(error, OSError) and error.filename is not None:
        _say(f"error: {error.filename}: {(error.strerror or str(error)).lower()}")
    elif isinstance(error, TgcError | OSError):
        _say("\n".join([f"error: {error}", *(f"  {note}" for note in getattr(error, "__notes__", ()))]))
    else:
        _say(f"error: {type(error).__name__}: {error}\n  --debug shows where it was raised")


def _say(text: str) -> None:
    click.echo(f"tgc: {text}", err=True)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    _say(f"warning: {message}")


__all__ = ["COMPLETE", "DONE", "FAILED", "FOUND", "CommandError", "Commands", "command", "debug_option", "run"]
