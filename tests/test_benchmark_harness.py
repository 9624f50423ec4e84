"""The benchmark harness works: on one tiny workload, with tgc alone. Its figures are nobody's concern here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import overhead
from benchmarks.__main__ import main
from benchmarks.harness import DisagreementError, Worker, WorkerError, compare
from benchmarks.report import figure, markdown, tables
from benchmarks.timing import Summary, timed
from benchmarks.workloads import WORKLOADS

TINY = "pointwise_small"


def test_a_workload_from_the_command_line_to_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "result.json"
    main(["--quick", "--only", TINY, "--implementations", "tgc", "--threads", "1", "--out", str(path)])
    printed = capsys.readouterr().out
    result = json.loads(path.read_text(encoding="utf-8"))
    assert list(result["workloads"]) == [TINY]
    found = result["workloads"][TINY]["implementations"]["tgc"]
    row = found["threads"][found["best"]]
    assert found["best"] == "1"
    assert 0 < row["min_ms"] <= row["median_ms"]
    assert len(row["rounds_ms"]) == result["settings"]["rounds"]
    assert printed == markdown(result) + "\n"
    assert f"| {WORKLOADS[TINY].title} | {figure(row['median_ms'])} (" in printed
    main(["--show", str(path)])
    assert capsys.readouterr().out == printed


def test_a_worker_that_fails_is_reported() -> None:
    worker = Worker("tgc", 1)
    with pytest.raises(WorkerError, match="tgc with 1 thread failed at setup"):
        worker.ask("setup", workload="no such workload", folder="")
    worker.close()


@pytest.mark.parametrize(
    ("other", "message"),
    [([2.0, 0.0], "in result 0"), ([1.0, np.nan], "in result 0"), ([1.0], "in shapes")],
)
def test_implementations_must_agree(other: list[float], message: str) -> None:
    workload, result = WORKLOADS[TINY], [np.array([1.0, 0.0])]
    compare(workload, [np.array([1.0, 1e-6])], result, "a", "b")
    with pytest.raises(DisagreementError, match=f"{TINY}: a and b differ {message}"):
        compare(workload, [np.array(other)], result, "a", "b")


def test_every_workload_is_tgcs_too() -> None:
    assert all("tgc" in w.implementations and name == w.name for name, w in WORKLOADS.items())


def test_a_call_is_timed_at_least_once() -> None:
    calls: list[int] = []
    taken = timed(lambda: calls.append(0), 0.0)
    assert len(calls) == len(taken) + 1  # one that warms
    summary = Summary.of([[4.0, 2.0], [6.0, 6.0, 6.0]], 0.5)
    assert summary == Summary(median=3.0, least=1.0, rounds=[1.5, 3.0], samples=5)


def test_overhead_is_measured_on_as_many_kernels_as_it_says() -> None:
    rows = {row["name"]: row for row in overhead.measure(rounds=1, seconds=1e-3)}
    assert rows[f"call of {overhead.KERNELS} small kernels"]["least"] > 0


def test_readme_shows_the_committed_result() -> None:
    root = Path(__file__).parents[1]
    result = json.loads((root / "benchmarks" / "results" / "foundation.json").read_text(encoding="utf-8"))
    readme = (root / "README.md").read_text(encoding="utf-8")
    for _, rows in tables(result):
        for row in rows:
            assert f"| {' | '.join(row)} |" in readme
