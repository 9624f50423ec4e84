"""The `tgc` command. Every command is a module, which the table below names.

A module's top level imports no more than `click` and modules of this package, so that help comes at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from tgc.cli.command import Commands, run

COMMANDS = {
    "Models": {
        "compile": "tgc.cli.compile:compile_model",
        "run": "tgc.cli.run:run_model",
        "bench": "tgc.cli.bench:bench",
        "profile": "tgc.cli.profile:profile",
    },
    "Inspection": {
        "show": "tgc.cli.show:show",
        "opt": "tgc.cli.opt:opt",
        "diff": "tgc.cli.diff:diff",
        "explain": "tgc.cli.explain:explain",
        "stats": "tgc.cli.stats:stats",
        "view": "tgc.cli.view:view",
    },
    "Installation": {
        "cache": "tgc.cli.cache:cache",
        "doctor": "tgc.cli.doctor:doctor",
        "completion": "tgc.cli.completion:completion",
    },
}

tgc = Commands(COMMANDS)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command that `arguments`, by default those of the process, ask for, and exit."""
    sys.exit(run(tgc, arguments))


__all__ = ["main"]
