"""Shared by all tests: golden texts (``--update-golden``) and a Hypothesis profile in which no timing fails a test."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["kernel_count", "machine"]

GOLDEN = Path(__file__).parent / "golden"

# The workers of pytest-xdist share the cores: an OpenMP thread that spins for work would take them from the others.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Passes run in every process: a plan kept by an earlier run, or test, would hide what a pass does now.
os.environ.setdefault("TGC_CACHE", "kernels")

settings.register_profile(
    "tgc", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("tgc")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files instead of comparing")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden("cnn/fused.tgir", text)`` compares ``text`` with that file under tests/golden, or rewrites the file."""
    update = request.config.getoption("--update-golden")

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            return
        if not path.is_file():
            pytest.fail(f"there is no tests/golden/{name}; pytest --update-golden writes it")
        expected = path.read_text(encoding="utf-8")
        if text != expected:
            lines = difflib.unified_diff(
                expected.splitlines(), text.splitlines(), f"tests/golden/{name}", "this run", lineterm=""
            )
            pytest.fail("\n".join([*lines, "if this is meant: pytest --update-golden, and read the diff"]))

    return check
