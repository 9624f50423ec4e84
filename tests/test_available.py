"""Memory that is not there: the error comes before the system ends the process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgc
import tgc.numpy as tnp
from tgc.backends.cpu import program
from tgc.errors import OutOfMemoryError
from tgc.runtime import available

MEMINFO = "MemTotal:       24000000 kB\nMemFree:         1000 kB\nMemAvailable:    2048 kB\nBuffers:   7 kB\n"


@pytest.mark.parametrize(
    ("meminfo", "group", "found"),
    [
        (MEMINFO, {}, 2 << 20),
        (MEMINFO, {"memory.max": "max\n", "memory.current": "5\n"}, 2 << 20),
        (MEMINFO, {"memory.max": "1000\n", "memory.current": "300\n"}, 700),
        ("", {"memory.max": "1000", "memory.current": "900", "memory.stat": "anon 9\ninactive_file 50\nfile 7\n"}, 150),
        ("", {"memory.max": "1000", "memory.current": "1300"}, 0),
        ("MemFree: 5 kB\n", {"memory.max": "1000"}, sys.maxsize),
        ("", {}, sys.maxsize),
    ],
)
def test_what_the_system_and_the_group_leave(
    meminfo: str, group: dict[str, str], found: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {"meminfo": meminfo, **group}.items():
        if text:
            (tmp_path / name).write_text(text, encoding="ascii")
    monkeypatch.setattr(available, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(available, "GROUP", tmp_path)
    assert available.available_bytes() == found


def test_this_system_tells() -> None:
    assert 1 << 20 < available.available_bytes() <= sys.maxsize


def large(x: Any) -> Any:
    return tnp.sum(tnp.exp(x @ x.T) @ x, axis=0)


def test_too_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how much is needed, how much there is, and what takes most."""
    x = np.ones((600, 8))
    f = tgc.jit(large)
    monkeypatch.setattr(program, "LARGE", 1 << 20)
    monkeypatch.setattr(program, "available_bytes", lambda: 1 << 20)
    message = (
        r"large needs 0\.0 GiB, and 0\.0 GiB can be had; the largest value is f64\[600,600\], 0\.0 GiB at test_ava"
    )
    with pytest.raises(OutOfMemoryError, match=message) as caught:
        f(x)
    assert isinstance(caught.value, MemoryError)
    monkeypatch.setattr(program, "available_bytes", lambda: 1 << 30)
    np.testing.assert_allclose(f(x), large(x))


def test_small_programs_do_not_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "available_bytes", lambda: pytest.fail("asked"))
    tgc.jit(large)(np.ones((60, 8)))


def test_too_little_memory_for_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without any kernel, whose result is its operand."""
    monkeypatch.setattr(program, "LARGE", 1 << 10)
    monkeypatch.setattr(program, "available_bytes", lambda: 0)
    with pytest.raises(OutOfMemoryError, match=r"the largest value is f64\[600,8\]"):
        tgc.jit(lambda x: x)(np.ones((600, 8)))
