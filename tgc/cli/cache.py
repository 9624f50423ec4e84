"""`tgc cache`: what is kept of earlier compilations."""

from __future__ import annotations

import click

from tgc.cli.command import command, debug_option


@click.group("cache", context_settings={"help_option_names": ["-h", "--help"]})
@debug_option
def cache() -> None:
    """List or shrink the cache of kernels and programs.

    It is a folder: TGC_CACHE_DIR, or `tgc` in the user's cache folder. What is removed is compiled again when needed.
    """


@command("ls")
@click.option("--limit", default=20, show_default=True, metavar="N", help="Show the N entries used last; 0: all.")
def ls(limit: int, as_json: bool) -> None:
    """List what is in the cache."""
    import re
    import time
    from dataclasses import asdict

    from tgc.cli.output import nbytes, plural, print_json, print_table
    from tgc.runtime.cache import KernelCache

    found = KernelCache.default()
    entries = sorted(found.listing(), key=lambda e: -e.used)
    size = sum(e.bytes for e in entries)
    if as_json:
        print_json({
            "folder": None if found.root is None else str(found.root), "bytes": size, "limit": found.limit,
            "entries": [asdict(e) for e in entries],
        })  # fmt: skip
        return
    now = time.time()
    shown = entries[:limit] if limit else entries
    if shown:
        print_table(
            ["name", "kind", ">size", ">last used", "key"],
            [
                (re.sub("_[0-9a-f]{32}$", "", e.name), e.kind, nbytes(e.bytes), _ago(now - e.used), e.key[:12])
                for e in shown
            ],
        )
        click.echo()
    rest = f", {len(shown)} of them shown" if len(shown) < len(entries) else ""
    where = "the cache is turned off (TGC_CACHE=0)" if found.root is None else f"{found.root}:"
    click.echo(
        f"{where} {plural(len(entries), 'entry')}{rest}, {nbytes(size)} of {nbytes(found.limit)}".replace(
            "entrys", "entries"
        )
    )


@command("gc")
@click.option(
    "--size", type=click.FloatRange(min=0), metavar="MIB", help="Keep so much; by default three quarters of the limit."
)
def gc(size: float | None, as_json: bool) -> None:
    """Remove what was unused longest until the rest fits."""
    from tgc.runtime.cache import KEPT, KernelCache

    found = KernelCache.default()
    _removed(found.shrink(int(KEPT * found.limit) if size is None else int(size * (1 << 20))), as_json)


@command("clear")
@click.confirmation_option("--yes", "-y", prompt="Remove everything in the cache?")
def clear(as_json: bool) -> None:
    """Remove every entry."""
    from tgc.runtime.cache import KernelCache

    _removed(KernelCache.default().shrink(0), as_json)


def _removed(entries: tuple[int, int], as_json: bool) -> None:
    from tgc.cli.output import nbytes, print_json

    number, size = entries
    if as_json:
        print_json({"removed": number, "bytes": size})
    else:
        click.echo(f"removed {number} {'entry' if number == 1 else 'entries'}, {nbytes(size)}")


def _ago(t: float) -> str:
    for unit, span in (("days", 86400), ("h", 3600), ("min", 60)):
        if t >= 2 * span:
            return f"{t // span:.0f} {unit}"
    return f"{max(t, 0):.0f} s"


for _command in (ls, gc, clear):
    cache.add_command(_command)

__all__ = ["cache"]
