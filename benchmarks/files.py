"""Results as files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from benchmarks import machine


def earlier(path: Path) -> dict[str, Any]:
    """The result in a file, to which rows are added.

    Raises:
        ValueError: it was measured on another machine, or with other versions.
    """
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    then, now = result["machine"], machine.describe()
    differing = [
        f"{key}: {then.get(key)} and {now.get(key)}" for key in {**then, **now} if then.get(key) != now.get(key)
    ]
    if differing:
        raise ValueError(f"{path} is of another machine than this one; {'; '.join(differing)}")
    return result


def keep(result: dict[str, Any], path: Path) -> None:
    """Write a result, at once."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)
