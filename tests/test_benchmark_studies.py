"""The studies beside the table of times work: each on something tiny, with tgc alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import artifact, autotune, compile_time, dynamic, memory, onnx_models, targets
from benchmarks.serve import stream
from benchmarks.study import Study
from tgc.backends.cpu.target import RESTRICTIONS


def studied(study: Study, folder: Path, capsys: pytest.CaptureFixture[str], *rows: str) -> dict[str, Any]:
    """The rows of a quick result of tgc alone; what was printed and written is the same."""
    path = folder / "new" / "result.json"
    study.main(["--quick", "--implementations", "tgc", "--out", str(path), "--only", *rows])
    printed = capsys.readouterr().out
    result = json.loads(path.read_text(encoding="utf-8"))
    assert list(result["rows"]) == list(rows)
    assert printed == study.markdown(result) + "\n" == path.with_suffix(".md").read_text(encoding="utf-8")
    study.main(["--show", str(path)])
    assert capsys.readouterr().out == printed
    found: dict[str, Any] = result["rows"]
    return found


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of a process is the kernel's to tell")
def test_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = studied(memory.STUDY, tmp_path, capsys, "lstm_layer").values()
    found = row["implementations"]["tgc"]
    assert 0 < found["arena"] < found["steady"]
    assert found["cold"] > found["arena"]
    assert row["state"] == pytest.approx((32 * 64 * (64 + 128) + 4 * 128 * (64 + 128 + 1)) / 2**18)


def test_dynamic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = studied(dynamic.STUDY, tmp_path, capsys, "encoder").values()
    found = row["implementations"]["tgc"]
    assert found["requests"] == dynamic.FEW + 2
    assert found["kernels"][0] > found["kernels"][1] == 0
    assert len(found["dynamic"]) == len(found["fixed"]) == 2


def test_requests_differ_in_size() -> None:
    shapes = [x.shape for x in stream(200)]
    assert len(set(shapes)) == 200
    assert [x.shape for x in stream(60)] == shapes[:60]  # implementations are held to the same first request


def test_compile_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step, series, loading = studied(
        compile_time.STUDY, tmp_path, capsys, "lstm_layer", compile_time.SERIES, compile_time.LOADING
    ).values()
    found = step["implementations"]["tgc"]
    assert 0 < found["import"] < found["warm"] < found["cold"]
    assert 0 < found["compile"] < found["cold"]
    few, more = series["implementations"]["tgc"]["series"]
    assert (few["layers"], more["layers"]) == compile_time.LAYERS[:2]
    assert few["nodes"] < more["nodes"]
    assert few["kernels"] == more["kernels"] > 0
    assert loading["implementations"]["tgc"]["kernels"] == compile_time.LOADED[1]


def test_artifact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = studied(artifact.STUDY, tmp_path, capsys, "lstm_layer").values()
    found = row["implementations"]["tgc"]
    assert 0 < found["import_s"] + found["load_s"] + found["first_s"] < found["total_s"]
    assert found["call_s"] < found["first_s"] + found["load_s"]
    assert found["bytes"] > 4 * 128 * 2 * 128 * 4  # its weights


def test_autotune(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = studied(autotune.STUDY, tmp_path, capsys, "matmul_256").values()
    found = row["implementations"]["tgc"]
    assert found["usual"]["samples"] > 0 < found["tuned"]["samples"]
    assert found["regions"] >= found["changed"]
    assert found["tried"] > 0 < found["seconds"]


def test_a_study_has_rows_and_adds_to_results_of_this_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "result.json"
    with pytest.raises(SystemExit):
        memory.STUDY.main(["--only", "nothing", "--out", str(path)])
    assert "no row is named nothing; there are cnn_train_32," in capsys.readouterr().err
    path.write_text(json.dumps({"machine": {"cores": 1000}, "rows": {}}), encoding="utf-8")
    with pytest.raises(SystemExit):
        memory.STUDY.main(["--merge", "--only", "lstm_layer", "--out", str(path)])
    assert "cores: 1000 and" in capsys.readouterr().err


def test_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = studied(targets.STUDY, tmp_path, capsys, "pointwise_small").values()
    found = row["implementations"]["tgc"]
    assert list(found) == targets.levels()
    assert all(t["median_ms"] > 0 for level in found.values() for t in level["threads"].values())


def test_levels_are_those_of_the_targets() -> None:
    assert targets.LEVELS.keys() == targets.NEEDS.keys() == RESTRICTIONS.keys() - {"native"}
    assert {level: RESTRICTIONS[level] for level in targets.NEEDS} == targets.NEEDS
    assert all(tuple(names) == targets.COLUMNS for names in targets.LEVELS.values())


def test_onnx_models(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    onnx = pytest.importorskip("onnx")
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    infos = [helper.make_tensor_value_info(name, number, ["batch", 3]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Exp", ["x"], ["y"])], "graph", infos[:1], infos[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), tmp_path / "decoder.onnx")
    np.savez(tmp_path / "decoder.npz", x=np.ones((2, 3), np.float32))
    monkeypatch.setattr(onnx_models, "FOLDER", tmp_path)
    (row,) = studied(onnx_models.STUDY, tmp_path, capsys, "decoder-16").values()
    found = row["implementations"]["tgc"]
    assert row["batch"] == 16
    assert 0 < found["least_ms"] <= found["ms"] < 1e3 * min(found["first_s"], found["again_s"])
