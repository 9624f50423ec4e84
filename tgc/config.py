"""What the environment says, read when it is needed.

TGC_DUMP=folder     write every stage (`.tgir`, which `tgc run` runs), every kernel's source and a report there
TGC_CHECK=1         interpret the graph before and after every pass and name the pass that changes results
TGC_EXPLAIN=fuse    print why a pass (or several, comma-separated) declined
TGC_PIPELINE=text   another pipeline than the default one
TGC_DEBUG=0..3      print compilations (1), kernels' names (2) and their sources (3)
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tgc.errors import ConfigError

PIPELINE = (  # the passes, in order, unless TGC_PIPELINE names others
    "attention,inline,fold,simplify,hoist,sink,simplify,attention,winograd,decompose,lanes,layout,hoist,fold,simplify,"
    "split,fuse"
)


@dataclass(frozen=True, slots=True)
class Config:
    """The variables above, checked."""

    dump: Path | None
    check: bool
    explain: frozenset[str]
    pipeline: str | None
    debug: int


def config() -> Config:
    """The configuration as the environment has it now.

    Raises:
        ConfigError: a variable has a value without meaning.
    """

    def get(name: str) -> str:
        return os.environ.get(name, "")

    dump = get("TGC_DUMP")
    level, check = get("TGC_DEBUG") or "0", get("TGC_CHECK") or "0"
    if level not in ("0", "1", "2", "3"):
        raise ConfigError(f"TGC_DEBUG must be 0, 1, 2 or 3, not {level!r}")
    if check not in ("0", "1"):
        raise ConfigError(f"TGC_CHECK must be 0 or 1, not {check!r}")
    return Config(
        dump=Path(dump) if dump else None,
        check=check == "1",
        explain=frozenset(filter(None, get("TGC_EXPLAIN").split(","))),
        pipeline=get("TGC_PIPELINE") or None,
        debug=int(level),
    )
