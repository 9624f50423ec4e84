"""The benchmark harness works: on one tiny workload, with tgc alone. Its figures are nobody's concern here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgc
from benchmarks import overhead
from benchmarks.__main__ import main
from benchmarks.harness import DisagreementError, Worker, WorkerError, compare
from benchmarks.implementations import IMPLEMENTATIONS
from benchmarks.implementations.tgc_jit import Ops
from benchmarks.plots import save
from benchmarks.report import figure, geometric_mean, markdown, tables
from benchmarks.timing import Summary, timed
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.base import Tensor
from benchmarks.workloads.convolutions import SHAPES
from tgc.types import F32, TensorType

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
    (kernel,) = (k for k in result["workloads"][TINY]["profile"]["kernels"] if k["kind"] != "call")
    assert kernel["flops"] == 1024 * 9
    assert {p.name for p in path.parent.iterdir()} == {
        "result.json", "result.md", "result-times.png", "result-roofline.png"
    }  # fmt: skip
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


def test_workloads_name_implementations_that_there_are() -> None:
    for name, w in WORKLOADS.items():
        assert name == w.name
        assert w.implementations[0] == "tgc"
        assert set(w.implementations) <= IMPLEMENTATIONS.keys()
        assert w.trains == (w.program.labels is not None)


def test_inputs_are_the_same_in_every_process_and_as_declared() -> None:
    program = WORKLOADS["cnn_train_32"].program
    one, other = program.inputs(), program.inputs()
    for name, t in program.tensors.items():
        np.testing.assert_array_equal(one[name], other[name])
        assert one[name].shape == t.shape
        assert one[name].dtype == (np.int32 if t.kind == "ids" else np.float32)
    assert Tensor("ids", (100,), 7).draw(np.random.default_rng(0)).max() == 6


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_of_convolutions_fit_their_gradients(name: str) -> None:
    for direction in ("forward", "input_grad", "kernel_grad"):
        w = WORKLOADS.get(f"conv_{name}_{direction}")
        if w is None:
            assert SHAPES[name].transposed
            continue
        tensors = w.program.tensors
        graph = tgc.jit(lambda data, w=w: w.program.function(Ops(), {}, **data)).lower(tensors_of(tensors)).graph
        wanted = {"input_grad": "x", "kernel_grad": "w"}.get(direction)
        forward = WORKLOADS[f"conv_{name}_forward"].program.tensors
        result = SHAPES[name].result
        shape = forward[wanted].shape if wanted else (SHAPES[name].n, result, result, SHAPES[name].outer)
        assert graph.outputs[0].shape == shape


def tensors_of(tensors: dict[str, Tensor]) -> dict[str, TensorType]:
    return {name: TensorType(F32, t.shape) for name, t in tensors.items()}


def result_of(times: dict[str, dict[str, float]]) -> dict[str, Any]:
    """A result in which workloads, in a group of their own each, took some milliseconds."""
    workloads = {
        name: {
            "title": f"title of {name}",
            "group": group,
            "implementations": {
                k: {"best": "1", "threads": {"1": {"median_ms": t, "min_ms": t}}} for k, t in times[name].items()
            },
        }
        for name, group in zip(times, ("programs", "sweep"), strict=True)
    }
    return {"machine": {"cpu": "C", "cores": 1, "features": [], "system": "S", "versions": {}}, "startup": [],
            "workloads": workloads}  # fmt: skip


def test_groups_have_tables_and_means_of_their_own(tmp_path: Path) -> None:
    result = result_of({"a": {"tgc": 2.0, "torch": 4.0, "jax": 3.0}, "b": {"tgc": 1.0, "torch": 0.5}})
    first, second, means = (rows for _, rows in tables(result))
    assert first[0] == ("workload", "tgc", "torch", "jax", "tgc to the best peer")
    assert (first[1][-1], second[1][-1]) == ("1.50x", "0.50x")
    assert means[1:] == [("programs", "1.50x"), ("sweep", "0.50x")]
    assert geometric_mean(list(result["workloads"].values())) == pytest.approx(0.75**0.5)
    assert [p.name for p in save(result, tmp_path, "r")] == ["r-times.png", "r-sweeps.png"]


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
