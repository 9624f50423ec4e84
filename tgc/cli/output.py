"""What commands print: tables, JSON, texts with colours on a terminal, and numbers as people read them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 200  # columns of what is no terminal
LAST, LEAST = 14, 12  # columns that the last one of a table gets, and that another text keeps, where room is short


class _Console(Console):
    def on_broken_pipe(self) -> None:  # rich would exit with 1; `run` sees to it
        raise BrokenPipeError


def console() -> Console:
    """Standard output as it is now; as wide as COLUMNS or the terminal says, else wide enough for tables."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return _Console(file=sys.stdout, width=None if known else WIDE, highlight=False, soft_wrap=False)


def print_json(data: Any) -> None:
    """Data as JSON; numbers that JSON lacks become null."""
    click.echo(json.dumps(_plain(data), indent=2))


def _plain(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {str(k): _plain(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(x) for x in data]
    if isinstance(data, float) and data - data != 0:
        return None
    return data


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; columns whose heading begins with `>` are numbers and stand to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold cyan")
    cells = [[x if isinstance(x, Text) else Text(str(x)) for x in row] for row in rows]
    headings, numeric = [h.lstrip(">") for h in columns], [h.startswith(">") for h in columns]
    widths = [max(len(h), *(len(row[k]) for row in cells), 0) for k, h in enumerate(headings)]
    widths[-1] = min(widths[-1], LAST)
    excess = sum(widths) + 2 * (len(widths) - 1) - console().width
    if excess > 0 and (texts := [k for k, number in enumerate(numeric[:-1]) if not number]):
        widest = max(texts, key=lambda k: widths[k])
        widths[widest] = max(widths[widest] - excess, LEAST)
    for heading, number, width in zip(headings[:-1], numeric, widths, strict=False):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True, overflow="ellipsis", width=width)
    table.add_column(headings[-1], justify="right" if numeric[-1] else "left", no_wrap=numeric[-1], overflow="fold")
    for row in cells:
        table.add_row(*row)
    console().print(table)


def print_pairs(pairs: Mapping[str, object]) -> None:
    """Names and what they are, one a line."""
    table = Table.grid(padding=(0, 2))
    for name, value in pairs.items():
        table.add_row(Text(name, style="cyan"), Text(str(value)))
    console().print(table)


def print_heading(text: str) -> None:
    """A line that begins a part, behind an empty one."""
    out = console()
    out.print()
    out.print(Text(text, style="bold"))


def print_source(text: str, language: str) -> None:
    """A text as it is: coloured on a terminal, `language` is that of Pygments or `tgir`."""
    if not sys.stdout.isatty():
        click.echo(text)
        return
    out = console()
    if language == "tgir":
        shown = Text(text)
        for pattern, style in _TGIR:
            shown.highlight_regex(pattern, style)
        out.print(shown, soft_wrap=True)
    else:
        from rich.syntax import Syntax

        out.print(Syntax(text, language, theme="ansi_dark", background_color="default"), soft_wrap=True)


_TGIR = (
    (r"%[\w.]+", "green"),
    (r"\b[a-z]+\d*[a-z0-9]*\[[\d,]*\](\{[\d,;:]*\})?", "cyan"),
    (r"(?<== )[a-z]\w*|(?<=^return)|\b(graph|return|const)\b(?= )", "bold magenta"),
    (r"#.*", "dim"),
)


# ------------------------------------------------------------------------------------------------------------ numbers


def nbytes(n: float) -> str:
    """Bytes: 512 B, 1.5 KiB, 44.6 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1024 or unit == "GiB":
            break
        n /= 1024
    return f"{n:.0f} B" if unit == "B" else f"{n:.1f} {unit}"


def count(n: float, unit: str = "") -> str:
    """A number with a prefix of the SI: 512, 1.50 k, 3.64 G."""
    for prefix in ("", "k", "M", "G", "T"):
        if abs(n) < 1000 or prefix == "T":
            break
        n /= 1000
    number = f"{n:.0f}" if n >= 100 or (not prefix and float(n).is_integer()) else f"{n:#.3g}"
    return f"{number} {prefix}{unit}".rstrip()


def seconds(t: float) -> str:
    """A time: 3.52 us, 12.4 ms, 1.20 s."""
    for unit, scale in (("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3)):
        if t < 1000 * scale:
            return f"{t / scale:#.3g} {unit}" if t < 100 * scale else f"{t / scale:.0f} {unit}"
    return f"{t:.2f} s"


def plural(n: int, what: str) -> str:
    """1 node, 2 nodes."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
