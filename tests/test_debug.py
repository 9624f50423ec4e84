"""What a user who looks for a mistake turns on: dumps, checks, explanations, verbosity, other pipelines."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import tgc
import tgc.numpy as tnp
from tgc import nn
from tgc.backends.cpu.compile import kernel_function
from tgc.errors import PassError, TgcError
from tgc.interpret import interpret
from tgc.ir import Builder, Graph, Node, Value, transform
from tgc.jit import LoweredFunction
from tgc.ops import REGISTRY
from tgc.passes import PASSES, PIPELINE
from tgc.passes.manager import Target, register
from tgc.text import load_graph
from tgc.trace import trace
from tgc.types import type_of

STAGES = ["trace", *(step + "'" * PIPELINE.split(",")[:k].count(step) for k, step in enumerate(PIPELINE.split(",")))]
STAGES.append("memory")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


TABLE = normal(8, 6, seed=1)
X, W = normal(5, 8), normal(6, 6)


def network(x: Any, w: Any) -> Any:
    """Two contractions, a softmax and a constant."""
    return nn.softmax(tnp.tanh(x @ TABLE + 1) @ w)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DUMP", "CHECK", "EXPLAIN", "PIPELINE", "DEBUG"):
        monkeypatch.delenv(f"TGC_{name}", raising=False)


def expected(low: LoweredFunction, *arrays: np.ndarray) -> list[np.ndarray]:
    return list(interpret(low.graph, *arrays))


# ----------------------------------------------------------------------------------------------------------- TGC_DUMP


def folder(root: Path) -> Path:
    (found,) = root.iterdir()
    return found


def test_dump_has_every_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGC_DUMP", str(tmp_path / "new" / "dump"))
    low = tgc.jit(network).lower(X, W)
    assert not (tmp_path / "new").exists()
    assert list(low.stages) == STAGES
    dumped = folder(tmp_path / "new" / "dump")
    assert dumped.name.startswith("network-")
    files = sorted(dumped.glob("*.tgir"))
    assert [f.stem for f in files] == [f"{k:02d}-{name}" for k, name in enumerate(STAGES)]
    (want,) = expected(low, X, W)
    for file, (name, stage) in zip(files, low.stages.items(), strict=True):
        text = file.read_text(encoding="utf-8")
        assert text.rstrip("\n") == low.text(name)
        parsed = tgc.parse(text, {c.digest: c.data for c in stage.constants})
        assert parsed == stage
        np.testing.assert_allclose(interpret(parsed, X, W)[0], want, rtol=1e-5, atol=1e-6)


def test_dumped_stages_have_their_constants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGC_DUMP", str(tmp_path))
    low = tgc.jit(network).lower(X, W)
    stages = list(low.stages.values())
    loaded = [load_graph(file) for file in sorted(folder(tmp_path).glob("*.tgir"))]
    assert loaded == stages
    np.testing.assert_array_equal(interpret(loaded[0], X, W)[0], expected(low, X, W)[0])


def test_dump_has_every_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a training step, of which some kernels have equal names."""
    monkeypatch.setenv("TGC_DUMP", str(tmp_path))

    def step(p: Any, x: Any) -> Any:
        g = tgc.grad(lambda p: (network(x, p["w"]) * p["b"]).sum())(p)
        return {k: p[k] - 0.1 * g[k] for k in p}

    p = {"w": W.copy(), "b": normal(6)}
    low = tgc.jit(step, donate="p").lower(p, X)
    low.compile()(p, X)
    dumped = {f.stem: f.read_text(encoding="utf-8") for f in folder(tmp_path).glob("*.py")}
    assert dumped == dict(low.kernels)
    assert len(dumped) > 3
    for source in dumped.values():
        compile(source, "kernel", "exec")


def two_of_one_name(x: Any) -> Any:
    return x.sum(axis=0), x.sum(axis=1)


def test_kernels_are_listed_by_the_names_of_their_functions() -> None:
    kernels = tgc.jit(two_of_one_name).lower(X).kernels
    assert len(kernels) == 2
    for name, source in kernels.items():
        assert kernel_function(source, name).__name__ == name


def test_dumps_lie_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other functions and other sizes have folders of their own, odd names included; the same again has the same."""
    monkeypatch.setenv("TGC_DUMP", str(tmp_path))

    def odd(x: Any) -> Any:
        return x * 2

    odd.__name__ = "../a b/ü*"
    for f, x in ((network, X), (network, normal(7, 8)), (network, X)):
        assert tgc.jit(f).lower(x, W).compilation
    for g in (odd, lambda x: x + 1):
        assert tgc.jit(g).lower(X).compilation
    names = sorted(f.name.rpartition("-")[0] for f in tmp_path.iterdir())
    assert names == [".._a_b___", "lambda", "network", "network"]
    assert all((f / "00-trace.tgir").is_file() for f in tmp_path.iterdir())


def test_dumps_of_two_processes_can_be_compared(tmp_path: Path) -> None:
    code = "import tgc, numpy as np; print(list(tgc.jit(lambda x: x + 1).lower(np.ones(3)).stages))"
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "TGC_DUMP": str(tmp_path / seed)}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
    one, two = (sorted(p.relative_to(tmp_path / s) for p in (tmp_path / s).rglob("*")) for s in ("1", "2"))
    assert one == two


def test_a_dump_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TGC_DUMP", str(tmp_path / "file"))
    with pytest.raises(OSError, match="file"):
        tgc.jit(network)(X, W)


# ---------------------------------------------------------------------------------------------------------- TGC_CHECK


@dataclass(frozen=True)
class Rewrite:
    """A pass that computes one op instead of another."""

    name: ClassVar[str] = "rewrite"
    old: str = "add"
    new: str = "sub"

    def __call__(self, graph: Graph, target: Target) -> Graph:
        def rewritten(builder: Builder, node: Node, new: Sequence[Value]) -> Any:
            return builder.emit(REGISTRY[self.new], new, node.attrs) if node.op.name == self.old else None

        return transform(graph, rewritten)


@dataclass(frozen=True)
class Shorten:
    """A pass that loses a node which others need."""

    name: ClassVar[str] = "shorten"

    def __call__(self, graph: Graph, target: Target) -> Graph:
        return Graph(graph.name, graph.inputs, graph.constants, graph.nodes[1:], graph.outputs)


@pytest.fixture
def _broken_passes() -> Iterator[None]:
    """The passes above, known to pipelines as any registered pass is."""
    register(Rewrite)
    register(Shorten)
    yield
    del PASSES["rewrite"], PASSES["shorten"]


def broken(x: Any, y: Any) -> Any:
    return x - y, (tnp.tanh(x + y) * y).sum(axis=0)


@pytest.mark.usefixtures("_broken_passes")
@pytest.mark.parametrize("options", ["", "{old=mul,new=add}", "{old=tanh,new=sin}", "{old=sum,new=max}"])
def test_check_names_the_broken_pass(options: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken pass goes unseen, but for wrong results, until TGC_CHECK=1 names it and what it changed."""
    monkeypatch.setenv("TGC_PIPELINE", PIPELINE.replace("split,", f"rewrite{options},split,"))
    want = interpret(trace(broken, [type_of(X), type_of(X)]), X, X[::-1])
    got = tgc.jit(broken)(X, X[::-1])
    np.testing.assert_allclose(got[0], want[0], rtol=1e-6)
    assert not np.allclose(got[1], want[1], atol=1e-3)
    monkeypatch.setenv("TGC_CHECK", "1")
    with pytest.raises(PassError, match=r"^pass rewrite changed result 1 of @broken: element .* was \S+ and is \S+$"):
        tgc.jit(broken)(X, X[::-1])


@pytest.mark.usefixtures("_broken_passes")
@pytest.mark.parametrize("check", ["0", "1"])
def test_ill_formed_graphs_are_found_without_asking(check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGC_CHECK", check)
    monkeypatch.setenv("TGC_PIPELINE", "fold,shorten,fuse")
    with pytest.raises(PassError, match=r"^pass shorten made an ill-formed graph: .* is not defined before"):
        tgc.jit(broken)(X, X)


@pytest.mark.parametrize(
    ("f", "x", "cause"),
    [
        (lambda x: tnp.take(X[:1], x, axis=0), np.zeros(9, int), "is out of bounds for axis 0 with size 1"),
        (lambda x: tnp.linalg.cholesky(x @ x.T - tnp.eye(3)), 2 * np.eye(3), "not positive definite"),
    ],
    ids=["places", "matrices"],
)
def test_check_leaves_out_what_does_not_accept_made_up_data(
    f: Any, x: np.ndarray, cause: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    want = tgc.jit(f)(x)
    monkeypatch.setenv("TGC_CHECK", "1")
    np.testing.assert_array_equal(tgc.jit(f)(x), want)
    said = capsys.readouterr().err
    assert "is not checked on @lambda, which does not accept made-up data: node" in said
    assert cause in said


def test_check_passes_what_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training step: contractions, gradients, random bits, integers, donation."""
    monkeypatch.setenv("TGC_CHECK", "1")

    def loss(w: Any, x: Any, y: Any, key: Any) -> Any:
        x = nn.max_pool(nn.relu(nn.conv(x, w["conv"])), 2).reshape(x.shape[0], -1)
        x = x * tgc.random.bernoulli(key, 0.5, x.shape)
        return nn.cross_entropy(nn.layer_norm(x @ w["dense"]), y)

    @tgc.jit(donate="w")  # type: ignore[untyped-decorator]
    def step(w: Any, x: Any, y: Any, key: Any) -> Any:
        value, g = tgc.value_and_grad(loss)(w, x, y, key)
        return {k: w[k] - 0.1 * g[k] for k in w}, value, tnp.argmax(w["dense"], axis=0)

    w = {"conv": normal(3, 3, 2, 4), "dense": normal(16, 5)}
    args = normal(4, 6, 6, 2), np.arange(4) % 5, tgc.random.key(0)
    want = expected(step.lower(w, *args), *w.values(), *args)
    new, value, best = step(w, *args)
    for got, wanted in zip((*new.values(), value, best), want, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


# -------------------------------------------------------------------------------------------------------- TGC_EXPLAIN

REFUSAL = "fuse: dot+add+tanh into dot: two contractions\n"


@pytest.mark.parametrize(
    ("names", "printed"),
    [("fuse", REFUSAL), ("layout,fuse", REFUSAL), ("layout", ""), ("", ""), (None, "")],
)
def test_explain_prints_why_a_pass_declined(
    names: str | None, printed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if names is not None:
        monkeypatch.setenv("TGC_EXPLAIN", names)
    f = tgc.jit(lambda x, w: tnp.tanh(x @ w + 1) @ w)
    f(W, W)
    assert capsys.readouterr() == ("", printed)
    f(W, W)
    assert capsys.readouterr() == ("", "")


def test_explain_of_a_lowered_function() -> None:
    def step(p: Any, x: Any) -> Any:
        return p - (tnp.tanh(x @ TABLE + 1) @ p).sum(axis=0), x.sum()

    low = tgc.jit(step, donate="p").lower(W, X)
    lines = low.explain().splitlines()
    for line, (name, graph) in zip(lines, low.stages.items(), strict=False):
        ops = sorted(node.op.name for node in graph.nodes)
        counts = ", ".join(f"{ops.count(op)} {op}" for op in dict.fromkeys(ops))
        assert line == f"{name}: {len(ops)} nodes ({counts})"
    assert lines[len(STAGES)] == "result 0 takes the memory of input p"
    assert lines[len(STAGES) + 1 :] == [str(r) for r in low.compilation.refusals]
    assert any("two contractions" in line for line in lines)


# ---------------------------------------------------------------------------------------------------------- TGC_DEBUG


@pytest.mark.parametrize("level", ["0", "1", "2", "3", None])
def test_debug_levels(level: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if level is not None:
        monkeypatch.setenv("TGC_DEBUG", level)
    f = tgc.jit(network)
    kernels = f.lower(X, W).kernels
    capsys.readouterr()
    f(X, W)
    want = "tgc: compiling @network for cpu\n" if level in ("1", "2", "3") else ""
    for name, source in kernels.items() if level in ("2", "3") else ():
        want += f"tgc: kernel {name}\n" + (source if level == "3" else "")
    assert capsys.readouterr() == ("", want)
    f(X, W)
    assert capsys.readouterr() == ("", "")  # it is compiled


# ------------------------------------------------------------------------------------------------------- TGC_PIPELINE


@pytest.mark.parametrize(
    ("pipeline", "stages"),
    [
        ("", STAGES),
        ("inline,decompose,layout,fuse", ["trace", "inline", "decompose", "layout", "fuse", "memory"]),
        ("inline,decompose,layout,simplify,simplify,fuse{limit=1}",
         ["trace", "inline", "decompose", "layout", "simplify", "simplify'", "fuse", "memory"]),
        (PIPELINE.replace("split", "split{chunks=2,least=4}"), STAGES),
    ],
)  # fmt: skip
def test_other_pipelines(pipeline: str, stages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGC_PIPELINE", pipeline)
    f = tgc.jit(network)
    low = f.lower(X, W)
    assert list(low.stages) == stages
    np.testing.assert_allclose(f(X, W), expected(low, X, W)[0], rtol=1e-5, atol=1e-6)


def test_options_of_a_pipeline_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without fusion every node is a kernel of its own."""
    fused = len(tgc.jit(network).lower(X, W).stages["fuse"].nodes)
    monkeypatch.setenv("TGC_PIPELINE", PIPELINE.replace("fuse", "fuse{limit=1}"))
    assert len(tgc.jit(network).lower(X, W).stages["fuse"].nodes) > fused


# --------------------------------------------------------------------------------------------------------- bad values


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("DEBUG", "4", "TGC_DEBUG must be 0, 1, 2 or 3, not '4'"),
        ("DEBUG", "verbose", "TGC_DEBUG must be 0, 1, 2 or 3, not 'verbose'"),
        ("PIPELINE", "fold,fusee", r"pipeline 'fold,fusee': no pass 'fusee'; known are .*fuse"),
        ("PIPELINE", "fold fuse", r"pipeline 'fold fuse': expected a pass at"),
        ("PIPELINE", "split{chunk=2},fuse", r"pipeline 'split{chunk=2},fuse': .*chunk"),
        ("PIPELINE", "fold", "dot reached the CPU backend outside of a fused region"),
        ("EXPLAIN", "fusee", "TGC_EXPLAIN.*fusee"),
        ("CHECK", "false", "TGC_CHECK must be 0 or 1"),
    ],
)
def test_values_without_meaning_are_errors(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"TGC_{name}", value)
    with pytest.raises((TgcError, ValueError), match=message):
        tgc.jit(network)(X, W)


def test_errors_of_the_environment_are_tgcs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGC_DEBUG", "4")
    with pytest.raises(TgcError, match="TGC_DEBUG"):
        tgc.jit(network)(X, W)


@pytest.mark.parametrize("name", ["DUMP", "CHECK", "EXPLAIN", "PIPELINE", "DEBUG"])
def test_an_empty_variable_is_as_if_unset(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"TGC_{name}", "")
    low = tgc.jit(network).lower(X, W)
    assert list(low.stages) == STAGES
    np.testing.assert_allclose(low.compile()(X, W), expected(low, X, W)[0], rtol=1e-5, atol=1e-6)
    assert capsys.readouterr() == ("", "")


def test_values_are_read_when_a_function_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    f = tgc.jit(network)
    first = f(X, W)
    monkeypatch.setenv("TGC_DEBUG", "4")
    np.testing.assert_array_equal(f(X, W), first)
    with pytest.raises(ValueError, match="TGC_DEBUG"):
        f(X[:2], W)
    monkeypatch.delenv("TGC_DEBUG")
    np.testing.assert_allclose(f(X[:2], W), first[:2], rtol=1e-5)


# ---------------------------------------------------------------------------------------------------------- locations


def test_every_stage_names_the_lines_of_the_user() -> None:
    low = tgc.jit(tgc.grad(lambda x, w: network(x, w).sum())).lower(X, W)
    for name, stage in low.stages.items():
        for node in stage.nodes:
            assert all(place.startswith("test_debug.py:") for place in node.loc), f"{name}: {node.op.name} {node.loc}"
        assert any(node.loc for node in stage.nodes)
