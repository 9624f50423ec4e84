"""Counts the kernels that a test run compiles, by test file, and prints them at its end.

Kernels that are found in the cache, because another test or an earlier run compiled them, are counted apart. Processes
that tests start are not counted.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest

from tgc.runtime.cache import KernelCache

SHOWN = 12  # files with the most compilations
compiled: Counter[str] = Counter()
cached: Counter[str] = Counter()


def _test_file() -> str:
    return os.environ.get("PYTEST_CURRENT_TEST", "collection").partition("::")[0]


def _counting(method: Callable[..., Any], counter: Counter[str]) -> Callable[..., Any]:
    @wraps(method)
    def counted(*args: Any) -> Any:
        result = method(*args)
        if counter is compiled or result is not None:
            counter[_test_file()] += 1
        return result

    return counted


def pytest_configure(config: pytest.Config) -> None:
    KernelCache.put = _counting(KernelCache.put, compiled)  # type: ignore[method-assign]
    KernelCache.get = _counting(KernelCache.get, cached)  # type: ignore[method-assign]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # in a worker of pytest-xdist, which hands it to `pytest_testnodedown`
        session.config.workeroutput["kernels"] = dict(compiled), dict(cached)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    for counter, counts in zip((compiled, cached), getattr(node, "workeroutput", {}).get("kernels", ()), strict=False):
        counter.update(counts)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    write = terminalreporter.write_line
    write(f"kernels: {compiled.total()} compiled, {cached.total()} found in the cache")
    for file, count in compiled.most_common(SHOWN):
        write(f"  {count:5} {file}")
