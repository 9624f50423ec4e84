"""How much memory can be had."""

from __future__ import annotations

import re
import sys
from pathlib import Path

MEMINFO, GROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """Bytes that this process can have besides those it has: what the system and its control group (version 2) leave.

    Memory that holds copies of files counts as free. `sys.maxsize` where nothing tells.
    """
    return min(_of_system(), _of_group())


def _of_system() -> int:
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _read(MEMINFO), re.MULTILINE)
    return int(found[1]) << 10 if found else sys.maxsize


def _of_group() -> int:
    most, used = _read(GROUP / "memory.max").strip(), _read(GROUP / "memory.current").strip()
    if not most.isdecimal() or not used.isdecimal():  # "max": no limit
        return sys.maxsize
    files = re.search(r"^inactive_file (\d+)", _read(GROUP / "memory.stat"), re.MULTILINE)
    return max(0, int(most) - int(used) + (int(files[1]) if files else 0))


def _read(path: Path) -> str:
    """The text of a file of the system, "" where there is none."""
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
