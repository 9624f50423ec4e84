"""The benchmark harness works: on one tiny workload, with tgc alone. Its figures are nobody's concern here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgc
from benchmarks import overhead
from benchmarks.__main__ import chosen, empty, main, merged
from benchmarks.harness import DisagreementError, Worker, WorkerError, compare
from benchmarks.implementations import IMPLEMENTATIONS
from benchmarks.implementations.tgc_jit import Ops, gradients
from benchmarks.modes import CALL, FULL, READY, estimate
from benchmarks.plots import save
from benchmarks.report import (
    COMMITTED,
    END,
    README,
    behind,
    figure,
    geometric_mean,
    kernels,
    markdown,
    notes,
    readme,
    tables,
)
from benchmarks.timing import Summary, timed
from benchmarks.workloads import WORKLOADS, lstm
from benchmarks.workloads.base import PROGRAMS, Tensor
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
    assert len(row["rounds_ms"]) == result["workloads"][TINY]["settings"]["rounds"]
    assert row["setup_s"] > 0
    assert printed == markdown(result) + "\n"
    assert f"| {WORKLOADS[TINY].title} | {figure(row['median_ms'])} (" in printed
    (kernel,) = (k for k in result["workloads"][TINY]["profile"]["kernels"] if k["kind"] != "call")
    assert kernel["flops"] == 1024 * 9
    assert {p.name for p in path.parent.iterdir()} == {"result.json", "result.md", "result-roofline.png"}
    main(["--show", str(path)])
    assert capsys.readouterr().out == printed


def test_rows_are_added_to_those_of_an_earlier_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "result.json"
    earlier = {**empty(), "workloads": {"matmul_128": "kept", TINY: "replaced"}}
    assert list(merged(earlier, {TINY: "new", "cnn_inference": "new"}).items()) == [
        ("cnn_inference", "new"), (TINY, "new"), ("matmul_128", "kept")
    ]  # fmt: skip
    path.write_text(json.dumps({**earlier, "machine": {**earlier["machine"], "cores": 1000}}), encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["--merge", "--out", str(path), "--only", TINY])
    assert "of another machine than this one; cores: 1000 and" in capsys.readouterr().err


def test_rows_are_chosen_by_name_pattern_and_group() -> None:
    assert chosen(["startup", "matmul_12*"]) == ["matmul_128", "startup"]
    assert chosen(["programs"]) == [name for name, w in WORKLOADS.items() if w.group == PROGRAMS]
    with pytest.raises(ValueError, match="no row is named 'conv'"):
        chosen(["startup", "conv"])


def test_an_estimate_counts_implementations_threads_and_rows() -> None:
    rows, some = [WORKLOADS["matmul_128"]], ["tgc", "torch"]
    one = estimate(rows, some, 1, FULL, starts=False)
    assert estimate(rows, some, 2, FULL, starts=False) == pytest.approx(2 * one)
    assert estimate(rows, [*some, "jax"], 1, FULL, starts=False) == pytest.approx(one)  # which has no such row
    assert estimate([*rows, WORKLOADS["cnn_train_32"]], some, 1, FULL, starts=True) > one
    assert set(READY) == set(IMPLEMENTATIONS)
    assert set(CALL) <= set(WORKLOADS)


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


def test_a_workload_may_compare_norms_of_order_2() -> None:
    """One of many elements differs by a twentieth of the greatest."""
    workload, ones = replace(WORKLOADS[TINY], tolerance=1e-2), np.ones((20, 20), np.float32)
    other = ones.copy()
    other[3, 4] = 1.05
    compare(replace(workload, norm=2), [other], [ones], "a", "b")
    with pytest.raises(DisagreementError, match=r"by 0\.05 of its norm of order inf"):
        compare(workload, [other], [ones], "a", "b")


def test_workloads_name_implementations_that_there_are() -> None:
    for name, w in WORKLOADS.items():
        assert name == w.name
        assert w.implementations[0] == "tgc"
        assert set(w.implementations) <= IMPLEMENTATIONS.keys()
        assert w.trains == (w.program.labels is not None)
        assert w.work in ("training", "gradients", "calls")
        assert not w.like or w.like in WORKLOADS


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
    assert means == [
        ("rows", "number", "the best peer", "torch", "jax"),
        ("programs", "1", "1.50x", "2.00x", "1.50x"),
        ("sweep", "1", "0.50x", "0.50x", ""),
    ]
    assert [rows for _, rows in tables(result, sweeps=False)] == [first, means]
    assert geometric_mean(list(result["workloads"].values())) == pytest.approx(0.75**0.5)
    assert [p.name for p in save(result, tmp_path, "r")] == ["r-times.png", "r-sweeps.png"]


def test_a_row_that_is_like_another_is_compared_with_it() -> None:
    result = result_of({"a": {"tgc": 2.0, "jax": 4.0}, "b": {"tgc": 1.0, "jax": 5.0}})
    assert not any("built in" in caption for caption, _ in tables(result))
    result["workloads"]["a"]["like"] = "b"
    (rows,) = (rows for caption, rows in tables(result) if "built in" in caption)
    assert rows == [("workload", "built in", "tgc", "jax"), ("title of a", "title of b", "2.00x", "0.800x")]


@pytest.mark.parametrize("built_in", [True, False])
def test_gradients_by_hand_and_built_in(built_in: bool) -> None:
    """They are those of NumPy's finite differences along a random direction."""
    layer = lstm.layer if built_in else lstm.layer_by_hand
    program = replace(lstm.alone(layer), data={"x": Tensor("plain", (2, 3, lstm.EMBEDDED))})
    program = replace(program, cotangent=Tensor("plain", (2, 3, lstm.UNITS)))
    inputs = program.inputs()
    y, *grads = gradients(program, inputs)["jit"].results()
    assert y.shape == inputs["cotangent"].shape
    rng = np.random.default_rng(1)
    step = {name: rng.standard_normal(inputs[name].shape).astype(np.float32) * 2e-3 for name in program.differentiated}
    moved = [{**inputs, **{name: inputs[name] + sign * d for name, d in step.items()}} for sign in (-1, 1)]
    low, high = (gradients(program, arrays)["jit"].results()[0] for arrays in moved)
    slope = float(((high - low).astype(np.float64) * inputs["cotangent"]).sum()) / 2
    along = sum(float((g.astype(np.float64) * d).sum()) for g, d in zip(grads, step.values(), strict=True))
    assert along == pytest.approx(slope, rel=1e-2)


def test_programs_that_are_behind_show_their_kernels() -> None:
    result = result_of({"a": {"tgc": 4.0, "torch": 2.0}, "b": {"tgc": 2.0, "torch": 1.0}})
    kernel = dict(name="k", launches=1, seconds=1e-3, flops=2e6, bytes=0, limit=5e-4)
    call = dict(name="call", launches=1, seconds=5e-4, flops=0, bytes=0, limit=0)
    profile = {"kernels": [kernel, call, kernel], "wall_s": 4e-3, "roofline": dict(flops=4e9, bandwidth=1e9)}
    for w in result["workloads"].values():
        w["profile"] = profile
    assert list(behind(result)) == ["a"]  # b is a sweep's
    assert kernels(profile)[1:] == [
        ("`k`", "2", "2.00", "50.0", "2.00", "", "50"),
        ("`call`", "1", "0.500", "12.5", "", "", ""),
    ]
    assert "Title of a, 0.50x of torch: kernel by kernel, beside a limit of 4 GFLOP/s and 1 GB/s" in markdown(result)
    many = {**profile, "kernels": [{**kernel, "name": f"k{j}"} for j in range(20)]}
    assert kernels(many)[-1] == ("8 others", "8", "8.00", "200.0", "", "", "")


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
    text, result = README.read_text(encoding="utf-8"), json.loads(COMMITTED.read_text(encoding="utf-8"))
    assert readme(text, result) == text, f"run `python -m benchmarks --write {COMMITTED.name}` in its folder"
    with pytest.raises(ValueError, match="no section"):
        readme(text.replace(END, ""), result)


def test_the_committed_result_says_what_was_tried_where_tgc_is_behind() -> None:
    assert set(behind(json.loads(COMMITTED.read_text(encoding="utf-8")))) <= set(notes())
    assert set(notes()) <= set(WORKLOADS)
