"""Shared by all tests: golden texts (``--update-golden``), draws that depend on the test alone, and a profile of
Hypothesis in which no timing fails a test."""

from __future__ import annotations

import difflib
import os
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
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


GENERATORS: list[np.random.Generator] = []  # of all modules of tests and their helpers


def pytest_collection_finish(session: pytest.Session) -> None:
    here = os.path.dirname(__file__) + os.sep
    modules = [m for m in sys.modules.values() if (getattr(m, "__file__", None) or "").startswith(here)]
    GENERATORS[:] = [g for m in modules for g in vars(m).values() if isinstance(g, np.random.Generator)]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What a test draws depends on its name, not on the tests that this process ran before it."""
    state = np.random.default_rng(zlib.crc32(item.nodeid.encode())).bit_generator.state
    for generator in GENERATORS:
        generator.bit_generator.state = state


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
