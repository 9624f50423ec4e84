"""The benchmark's committed result is what README.md shows, and the harness works."""

from __future__ import annotations

import json

import pytest
from benchmarks import train_step
from benchmarks.workers import ROOT, Worker, compare, machine


def test_readme_shows_the_committed_result() -> None:
    result = json.loads((ROOT / "benchmarks" / "results" / "train_step.json").read_text())
    assert train_step.table(result["rows"]) in (ROOT / "README.md").read_text()
    assert result["machine"].keys() == machine().keys()


def test_workers_time_in_turns() -> None:
    worker = Worker.start("benchmarks.train_step", "tgc", 1, batch=2)
    try:
        (row,) = compare([worker], rounds=2, calls=2).values()
    finally:
        worker.stop()
    assert 0 < row["minimum"] <= row["median"]
    assert row["threads"] == 1


def test_a_worker_that_dies_is_reported() -> None:
    worker = Worker.start("benchmarks.train_step", "no such implementation", 1, batch=2)
    with pytest.raises(RuntimeError, match="died"):
        worker.ask(1)
    worker.stop()
