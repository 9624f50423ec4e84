"""What TGC_DUMP writes: the text of every stage parses, verifies and runs to the results of the compiled program.

The graphs: those of the golden tests, training steps of whole models (small), loops and branches, layers, and what the
examples train.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dynamic_programs
import numpy as np
import optree
import pytest
from models import DONATED, Sizes, resnet18, resnet_parameters, resnet_statistics, transformer_step
from test_examples import example
from test_golden import MODELS

import tgc
from tgc.cli import run
from tgc.cli import tgc as group
from tgc.ir import Graph
from tgc.runtime.lowered import Lowered, same
from tgc.text import load_graph
from tgc.trace import trace
from tgc.types import is_float

Made = tuple[Lowered, list[np.ndarray]]  # and what it is called with
SMALL = Sizes(layers=1, width=32, heads=2, time=8, batch=2, vocabulary=50)


def drawn(graph: Graph) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = (
        rng.uniform(0.1, 1.0, v.shape) if is_float(v.dtype) else rng.integers(0, 2, v.shape) for v in graph.inputs
    )
    return [np.asarray(a).astype(v.dtype) for a, v in zip(arrays, graph.inputs, strict=True)]


def of_golden(name: str) -> Made:
    f, types, donated = MODELS[name]
    graph = trace(f, types, name=name)
    return Lowered(graph, donated), drawn(graph)


def of_step(step: Callable[..., Any], args: Mapping[str, Any]) -> Made:
    lowered = tgc.jit(step, donate=[name for name in DONATED if name in args]).lower(**args)
    leaves = [np.asarray(x) for x in optree.tree_leaves(((), dict(args)))]  # type: ignore[arg-type]
    return lowered, [a.astype(v.dtype) for a, v in zip(leaves, lowered.graph.inputs, strict=True)]


def of_function(f: Callable[..., Any], *shapes: tuple[int, ...]) -> Made:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    return tgc.jit(f).lower(*arrays), arrays


def of_resnet() -> Made:
    p = resnet_parameters(width=8, classes=10)
    return of_function(lambda x: resnet18(p, resnet_statistics(p), x, training=False)[0], (1, 32, 32, 3))


def of_cnn_digits() -> Made:
    module = example("cnn_digits")
    p = module.parameters(0)
    m, v = (optree.tree_map(np.zeros_like, p) for _ in range(2))
    rng = np.random.default_rng(0)
    x, y = rng.random((4, 28, 28, 1), dtype=np.float32), rng.integers(0, 10, 4)
    step = getattr(module.train_step, "__wrapped__", module.train_step)
    return of_step(step, {"p": p, "m": m, "v": v, "t": np.float32(0), "rate": np.float32(0.1), "x": x, "y": y})


def of_keras(name: str, build: Callable[[Any], Any]) -> Made:
    """What a model of an example infers; `build` makes it of the example's module."""
    keras = pytest.importorskip("tgc.keras", exc_type=ImportError)
    from tgc.frontends.keras import from_keras

    keras.utils.set_random_seed(0)
    graph = from_keras(build(example(name)), batch=2)
    return Lowered(graph), drawn(graph)


def of_onnx_finetune() -> Made:
    module = example("onnx_finetune")
    w = module.weights(0)
    m, v = (optree.tree_map(np.zeros_like, w) for _ in range(2))
    rng = np.random.default_rng(0)
    x, y = rng.random((4, 1, 8, 8), dtype=np.float32), rng.integers(0, 10, 4)
    lowered = module.training_step(module.classifier, 0.01).lower(w, m, v, np.float32(1), x, y)
    leaves = [np.asarray(a) for a in optree.tree_leaves((w, m, v, np.float32(1), x, y))]  # type: ignore[arg-type]
    return lowered, [a.astype(v.dtype) for a, v in zip(leaves, lowered.graph.inputs, strict=True)]


KERAS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "keras_cnn": ("keras_cnn", lambda module: module.network()),
    "keras_gan, generator": ("keras_gan", lambda module: module.generator()),
    "keras_gan, discriminator": ("keras_gan", lambda module: module.discriminator()),
    "keras_lstm_lm": ("keras_lstm_lm", lambda module: module.LanguageModel(20).step()),
    "keras_self_attention": ("keras_self_attention", lambda module: module.network(20, width=16, heads=2, blocks=1)),
    "keras_training_tools": ("keras_training_tools", lambda module: module.network(10, augmented=True)),
    "keras_vae": ("keras_vae", lambda module: module.networks()[2]),
}
GRAPHS: Mapping[str, Callable[[], Made]] = {
    **{f"golden-{name}": lambda name=name: of_golden(name) for name in MODELS},  # type: ignore[misc]
    "transformer": lambda: of_step(*transformer_step(SMALL)),
    "resnet18": of_resnet,
    "encoder": lambda: of_function(dynamic_programs.block, (2, 6, 16)),
    "loops": lambda: of_function(dynamic_programs.loops, (5, 16)),
    "scan": lambda: of_function(dynamic_programs.scanned, (6, 3, 5), (3, 7)),
    "lstm": lambda: of_function(dynamic_programs.lstm, (2, 5, 12)),
    "cnn_digits": of_cnn_digits,
    "onnx_finetune": of_onnx_finetune,
    **{name: lambda how=how: of_keras(*how) for name, how in KERAS.items()},  # type: ignore[misc]
}


@pytest.mark.parametrize("name", GRAPHS)
def test_every_stage_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lowered, arrays = GRAPHS[name]()
    monkeypatch.setenv("TGC_DUMP", str(tmp_path))
    expected = [a.copy() for a in Lowered.compile(lowered)([a.copy() for a in arrays])]
    monkeypatch.delenv("TGC_DUMP")
    (folder,) = tmp_path.iterdir()
    files = sorted(folder.glob("*.tgir"))
    assert [f.stem.partition("-")[2] for f in files] == list(lowered.stages)
    seen: set[Graph] = set()
    for file, stage in zip(files, lowered.stages.values(), strict=True):
        graph = load_graph(file)
        assert graph == stage, file.stem
        if graph in seen:
            continue  # as the pass before left it
        seen.add(graph)
        results = Lowered(graph).compile()([a.copy() for a in arrays])
        assert all(same(a, b) for a, b in zip(expected, results, strict=True)), file.stem


def test_a_dump_has_kernels_and_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lowered, _ = of_golden("linear")
    monkeypatch.setenv("TGC_DUMP", str(tmp_path))
    lowered.compile()
    monkeypatch.delenv("TGC_DUMP")
    (folder,) = tmp_path.iterdir()
    assert {f.stem: f.read_text() for f in folder.glob("*.py")} == dict(lowered.kernels)
    assert (folder / "report.txt").read_text() == f"{lowered.explain()}\n"
    for file in sorted(folder.glob("*.tgir")):
        assert run(group, ["run", str(file), "--random"]) == 0
    said = capsys.readouterr().out.split("result  type")[1:]
    assert len(said) == len(lowered.stages)
    assert len(set(said)) == 1  # the same seed, and so the same results of every stage
