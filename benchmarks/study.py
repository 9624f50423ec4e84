"""What the studies beside the main table share: rows measured one by one, a JSON file, Markdown, a command line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import files, machine, report
from benchmarks.implementations import installed

Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Study:
    """A question about several implementations that a table of times does not answer.

    Attributes:
        name: of the files of its result.
        about: in a sentence.
        rows: the names of what can be measured.
        implementations: those that can take part.
        measure: (row, implementations, quick) -> what is found; that of each implementation under "implementations".
        tables: caption and lines (the first one a heading) of each table of what was found, by the rows' names.
    """

    name: str
    about: str
    rows: Sequence[str]
    implementations: Sequence[str]
    measure: Callable[[str, Sequence[str], bool], dict[str, Any]]
    tables: Callable[[Rows], Iterator[tuple[str, report.Rows]]]

    def markdown(self, result: dict[str, Any]) -> str:
        """The tables of a result, under what measured them."""
        rows = result["rows"]
        parts = [f"{self.about}\n\n{machine.summary(result['machine'])}{report.measured(list(rows.values()))}"]
        return "\n\n".join([*parts, *(report.captioned(*table) for table in self.tables(rows))])

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Measure what the command line asks for, write the result, print its tables."""
        options = argparse.ArgumentParser(prog=f"python -m benchmarks.{self.name}", description=self.about)
        add = options.add_argument
        add("--quick", action="store_true", help="a look, not to be relied on")
        add("--only", nargs="+", action="extend", metavar="ROW", help=f"of {', '.join(self.rows)}; or patterns")
        add("--implementations", nargs="+", choices=self.implementations, help="columns; all installed by default")
        add("--out", type=Path, help=f"JSON file; results/{self.name}.json beside this file by default")
        add("--merge", action="store_true", help="add to that file, replacing columns of the same row and name")
        add("--show", type=Path, metavar="FILE", help="print the tables of an earlier result and measure nothing")
        given = options.parse_args(arguments)
        out, log = Console(), Console(stderr=True)
        if given.show:
            out.file.write(self.markdown(json.loads(given.show.read_text(encoding="utf-8"))) + "\n")
            return
        rows = [r for r in self.rows if not given.only or any(fnmatchcase(r, pattern) for pattern in given.only)]
        path: Path = given.out or report.RESULTS / f"{self.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            result = (
                files.earlier(path) if given.merge and path.exists() else {"machine": machine.describe(), "rows": {}}
            )
        except ValueError as e:
            options.error(str(e))
        if not rows:
            options.error(f"no row is named {' or '.join(given.only)}; there are {', '.join(self.rows)}")
        there = installed(given.implementations or self.implementations)
        for row in rows:
            log.print(f"{self.name}: {row}", highlight=False)
            found = {**machine.moment(), **self.measure(row, there, given.quick)}
            columns = {**result["rows"].get(row, {}).get("implementations", {}), **found["implementations"]}
            found["implementations"] = {name: columns[name] for name in self.implementations if name in columns}
            every = {**result["rows"], row: found}
            result["rows"] = {name: every[name] for name in self.rows if name in every}
            files.keep(result, path)
        path.with_suffix(".md").write_text(self.markdown(result) + "\n", encoding="utf-8")
        out.file.write(self.markdown(result) + "\n")
