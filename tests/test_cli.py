"""The `tgc` command as its users see it: help, tables and errors are golden texts, numbers that vary are masked."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import safetensors.numpy

import tgc
from tgc.cli import COMMANDS
from tgc.cli import tgc as group
from tgc.cli.command import run

ROOT = Path(__file__).parents[1]
MODEL = """
import numpy as np
import tgc
import tgc.numpy as tnp
from tgc import nn

W = (np.arange(1024).reshape(64, 16) % 7 - 3).astype(np.float32) / 8


def forward(x, scale=1.0):
    return nn.softmax(nn.relu(x @ W) * scale)


def layer(p, x):
    return {"y": tnp.tanh(x @ p["w"] + p["b"]), "more": (x * 2, x.sum())}


def loop(x):
    return tgc.scan(lambda h, row: (tnp.tanh(h @ W @ W.T + row), None), x[0], x)[0]


def image(x):
    return nn.relu(x - 0.5).mean((1, 2))


@tgc.jit(donate="x")
def step(x, rate):
    return x - rate * x


def one(x):
    return tnp.tanh(x) + tnp.exp(x)


def other(x):
    return tnp.exp(x) + tnp.tanh(x) * x


def broken(x):
    raise RuntimeError("of the model")


size = 3
"""
FORWARD = ("net.py:forward", "--shape", "x=8,64")
LAYER = ("net.py:layer", "--shape", "x=8,64", "--shape", "p.w=f32[64,3]", "--shape", "p.b=3")


class Said(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


Tgc = Callable[..., Said]


@pytest.fixture
def tgc_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tgc:
    """Run a command in a folder that has `net.py`."""
    (tmp_path / "net.py").write_text(MODEL.lstrip())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.syspath_prepend(str(tmp_path))

    def command(*arguments: str) -> Said:
        code = run(group, arguments)
        sys.modules.pop("net", None)
        return Said(code, *capsys.readouterr())

    return command


def transcript(command: Tgc, *calls: tuple[str, ...]) -> str:
    """Calls and what they say, trailing spaces left out."""
    parts = []
    for call in calls:
        code, out, err = command(*call)
        text = "\n".join(line.rstrip() for line in (out + err).splitlines())
        parts.append(f"$ tgc {' '.join(call)}\n{text}\n[exit code {code}]\n")
    return "\n".join(parts)


def masked(text: str) -> str:
    """The text with times, sizes, rates, shares and hashes as letters, and columns a fixed space apart."""
    text = re.sub(r"\b\d[\d.,e+-]*( [kMGT])? ?(ns|us|ms|s|min|h|days)\b", "TIME", text)
    text = re.sub(r"\b\d[\d.]* (B|KiB|MiB|GiB)\b", "SIZE", text)
    text = re.sub(r"\b\d[\d.]* ?%", "SHARE", text)
    text = re.sub(r"\b\d[\d.e+]* ([kMGT]\b|[kMGT]?(FLOP|B)/s)", "RATE", text)
    text = re.sub(r"-?\b\d+\.\d+\b", "NUMBER", text)
    return re.sub(" {2,}", "  ", text)


# ------------------------------------------------------------------------------------------------------- golden texts


def test_help(tgc_command: Tgc, golden: Callable[[str, str], None]) -> None:
    names = [name for section in COMMANDS.values() for name in section]
    calls = [
        ("--help",),
        *((name, "--help") for name in names),
        *(("cache", c, "--help") for c in ("ls", "gc", "clear")),
    ]
    golden("cli/help.txt", transcript(tgc_command, *calls))


def test_errors(tgc_command: Tgc, golden: Callable[[str, str], None], tmp_path: Path) -> None:
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY nothing of the kind")
    (tmp_path / "bad.tgir").write_text("graph @f(%x: f32[2]) {\n  %0: f32[2] = nope %x\n  return %0\n}\n")
    (tmp_path / "bad.tgc").write_bytes(b"PK nothing of the kind")
    np.save(tmp_path / "short.npy", np.zeros(3, np.float32))
    np.save(tmp_path / "double.npy", np.zeros((8, 64)))
    np.savez(tmp_path / "others.npz", a=np.zeros(3), b=np.zeros(3))
    (tmp_path / "text.txt").write_text("1 2 3")
    model = list(FORWARD)
    calls = [
        ("nope",), ("show",), ("show", "model"), ("show", "model.tgir"), ("show", "bad.tgir"), ("show", "bad.tgc"),
        ("show", "nowhere.py:f"), ("show", "nowhere:f"), ("show", "net.py:nope"), ("show", "net.py:size"),
        ("show", "net.py:forward"), ("show", "net.py:forward", "--shape", "y=3"),
        ("show", "net.py:forward", "--shape", "x=8,63"), ("show", "net.py:forward", "--shape", "x"),
        ("show", "net.py:forward", "--shape", "x=q7[8,64]"), ("show", "net.py:broken", "--shape", "x=3"),
        ("show", *model, "--stage", "fus"), ("show", *model, "--kernel", "dot"), ("show", *model, "--asm"),
        ("show", *model, "--backend", "gpu"), ("show", *model, "--passes", "fold,fusee"),
        ("show", *model, "--passes", "fuse{limit=much}"),
        ("opt", "net.py"), ("opt", "bad.tgir", "--passes", "fold"),
        ("diff", "net.py:forward"), ("diff", *model, "--stages", "trace", "late"),
        ("run", *model), ("run", *model, "--input", "x=nowhere.npy"), ("run", *model, "--input", "x=bad.npy"),
        ("run", *model, "--input", "x=short.npy"), ("run", *model, "--input", "x=double.npy"),
        ("run", *model, "--input", "y=short.npy"), ("run", *model, "--input", "others.npz"),
        ("run", *model, "--input", "x=others.npz"), ("run", *model, "--input", "text.txt"),
        ("run", *model, "--random", "--output", "out.txt"),
        ("run", *model, "--random", "--output", "nowhere/out.npz"),
        ("run", *LAYER, "--random", "-o", "o.npy"),
        ("compile", *model, "-o", "out.bin"), ("compile", *model, "--target", "i386"), ("compile", "bad.tgc"),
        ("bench", *model, "--versus", "onnxruntime"), ("bench", *model, "--versus", "abacus"),
        ("cache", "nope"), ("completion", "tcsh"),
    ]  # fmt: skip
    golden("cli/errors.txt", transcript(tgc_command, *calls))


def test_inspection(tgc_command: Tgc, golden: Callable[[str, str], None], tmp_path: Path) -> None:
    tgc.save_graph(
        tgc.parse("graph @f(%x: f32[4]) {\n  %0: f32[4] = neg %x\n  %1: f32[4] = neg %0\n  return %1\n}"), "g.tgir"
    )
    calls = [
        ("show", *FORWARD), ("show", *FORWARD, "--stage", "inline"),
        ("show", *FORWARD, "--passes", "inline,fuse", "--list"),
        ("show", "g.tgir"), ("opt", "g.tgir", "--passes", "simplify"), ("opt", "--list"),
        ("diff", *FORWARD, "--stages", "fold", "simplify"), ("diff", *FORWARD, "--stages", "layout", "layout"),
        ("diff", *FORWARD, "--stages", "fuse", "memory"),
        ("diff", "net.py:one", "net.py:other", "--shape", "x=8"),
        ("stats", *FORWARD), ("stats", "net.py:loop", "--shape", "x=5,64"), ("stats", *LAYER),
        ("explain", *LAYER), ("explain", "net.py:step", "--shape", "x=8", "--shape", "rate=f32[]"),
    ]  # fmt: skip
    text = transcript(tgc_command, *calls)  # how long kernels are depends on the machine
    golden("cli/inspection.txt", re.sub(r"(_contraction|_reduce)( +)\d+$", r"\1\2N", text, flags=re.MULTILINE))


def test_running(tgc_command: Tgc, golden: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    calls = [
        ("compile", *FORWARD), ("run", "forward.tgc", "--random"), ("run", "forward.tgc", "--random", "-o", "out.npz"),
    ]  # fmt: skip
    golden("cli/running.txt", masked(transcript(tgc_command, *calls)))


# ----------------------------------------------------------------------------------------------------------- commands


def data(said: Said) -> Any:
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_every_command_prints_json(tgc_command: Tgc) -> None:
    shown = data(tgc_command("show", *FORWARD, "--stage", "fuse", "--json"))
    assert tgc.parse(shown["text"]).nodes
    kernels = data(tgc_command("show", *FORWARD, "--kernel", "all", "--json"))["kernels"]
    assert all(f"def {name}(" in source for name, source in kernels.items())
    listed = data(tgc_command("show", *FORWARD, "--list", "--json"))
    assert listed["kernels"].keys() == kernels.keys()
    assert data(tgc_command("stats", *FORWARD, "--json"))["flops_by_op"]["dot"] == 2 * 8 * 64 * 16
    assert len(data(tgc_command("explain", *FORWARD, "--json"))["kernels"]) == 2
    assert data(tgc_command("compile", *FORWARD, "--json"))["inputs"] == {"x": "f32[8,64]"}
    assert data(tgc_command("run", "forward.tgc", "--random", "--json"))["results"][0]["type"] == "f32[8,16]"
    profile = data(tgc_command("profile", "forward.tgc", "--json"))
    assert {row["kind"] for row in profile["rows"]} == {"call", "contraction", "reduce"}
    assert data(tgc_command("doctor", "--json"))["ok"]
    assert tgc_command("diff", *FORWARD, "--stages", "fold", "fuse", "--json").code == 1
    assert data(tgc_command("cache", "ls", "--json"))["limit"] > 0


def test_the_same_results_from_everything(tgc_command: Tgc, tmp_path: Path) -> None:
    """A function, its artifact, the text of each stage: by every format of files."""
    x = np.random.default_rng(0).standard_normal((8, 64), dtype=np.float32)
    np.save("x.npy", x)
    np.savez("x.npz", x=x, other=x)
    safetensors.numpy.save_file({"x": x}, "x.safetensors")
    assert tgc_command("compile", *FORWARD, "-o", "a.tgc").code == 0
    assert tgc_command("run", *FORWARD, "--input", "x=x.npy", "--output", "expected.npy").code == 0
    expected = np.load("expected.npy")
    (tmp_path / "g.tgir").write_text(tgc_command("show", "net.py:image", "--shape", "x=4,8,8,3").out)
    assert tgc_command("run", "g.tgir", "--random").code == 0
    for file in ("x.npy", "x=x.npz", "x.npz", "x.safetensors"):
        assert tgc_command("run", "a.tgc", "--input", file, "-o", "out.npz").code == 0, file
        np.testing.assert_array_equal(np.load("out.npz")["result"], expected)
    assert tgc_command("run", "a.tgc", "--input", "x.npy", "-o", "out.safetensors").code == 0
    np.testing.assert_array_equal(safetensors.numpy.load_file("out.safetensors")["result"], expected)


def test_results_are_named_by_their_places(tgc_command: Tgc) -> None:
    assert tgc_command("run", *LAYER, "--random", "-o", "out.npz").code == 0
    results = np.load("out.npz")
    assert {name: results[name].shape for name in results} == {"y": (8, 3), "more.0": (8, 64), "more.1": ()}


def test_random_numbers_depend_on_the_seed(tgc_command: Tgc) -> None:
    one, same, other = (tgc_command("run", *FORWARD, "--random", "--seed", seed).out for seed in ("0", "0", "1"))
    assert one == same != other


@pytest.mark.parametrize(("shape", "channels"), [("x=1,6,5,3", 3), ("x=6,5,1", 1)])
def test_pictures_are_inputs(tgc_command: Tgc, shape: str, channels: int) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    image.fromarray(pixels).convert("RGB" if channels == 3 else "L").save("p.png")
    name = "net.py:image" if channels == 3 else "net.py:forward"
    said = tgc_command("run", name, "--shape", shape, "--input", "p.png", "-o", "out.npy")
    if channels == 3:
        mean = np.maximum(pixels / 255 - 0.5, 0).mean((0, 1))
        np.testing.assert_allclose(np.load("out.npy")[0], mean, rtol=1e-5)
    else:
        assert said.code == 2  # 1 channel times W of 64 rows


def test_passes_are_chosen(tgc_command: Tgc) -> None:
    stages = data(tgc_command("show", *FORWARD, "--passes", "inline,fuse", "--list", "--json"))["stages"]
    assert list(stages) == ["trace", "inline", "fuse", "memory"]
    said = tgc_command("run", *FORWARD, "--passes", "inline", "--random")
    assert said.code == 2
    assert "outside of a fused region" in said.err


def test_textual_ir_is_written_and_read(tgc_command: Tgc, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("in.tgir").write_text(tgc_command("show", *FORWARD).out)
    said = tgc_command("opt", "in.tgir", "--passes", "inline")
    assert said.code == 2
    assert "has no data of constant" in said.err
    with open("in.tgir") as text:
        monkeypatch.setattr("sys.stdin", text)
        said = tgc_command("opt", "-", "--passes", "inline")
    assert tgc.parse(said.out).nodes
    assert tgc_command("show", *FORWARD, "-o", "in.tgir").code == 0
    assert tgc_command("opt", "in.tgir", "--passes", "inline,fold", "--check", "-o", "out.tgir").code == 0
    texts = [tgc_command("run", f, "--random").out for f in ("in.tgir", "out.tgir")]
    assert texts[0] == texts[1] == tgc_command("run", *FORWARD, "--random").out


def test_a_profile_is_a_table(tgc_command: Tgc) -> None:
    heading, *rows, _, total = tgc_command("profile", *FORWARD).out.splitlines()
    assert heading.split() == ["kernel", "kind", "time", "of", "call", "runs", "FLOP/s", "B/s", "of", "limit", "lines"]
    names = {row.split()[0].rstrip("…") for row in rows}
    assert {"(the", "dot_relu_contraction"} < names
    assert total.startswith("a call takes")


def test_traces_are_what_perfetto_reads(tgc_command: Tgc) -> None:
    said = tgc_command("profile", *FORWARD, "--trace", "t.json", "--roofline", "--top", "1")
    assert said.code == 0, said.err
    assert "and 2 more" in said.out
    events = json.loads(Path("t.json").read_text())["traceEvents"]
    spans = [e for e in events if e["ph"] == "X"]
    assert len(spans) == 3
    for before, after in pairwise(spans):
        assert after["ts"] == pytest.approx(before["ts"] + before["dur"])


def test_bench_measures(tgc_command: Tgc) -> None:
    figures = data(tgc_command("bench", *FORWARD, "--seconds", "0.05", "--json"))
    d = figures["calls"]["tgc"]
    assert 0 < d["least"] <= d["median"] <= d["99 %"] <= d["most"]
    assert d["calls"] > 0
    assert "calls/s" in tgc_command("bench", *FORWARD, "--seconds", "0.05").out


def test_the_cache_shrinks(tgc_command: Tgc, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TGC_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "cache"
    folder.mkdir()
    cache = tgc.runtime.cache.KernelCache(folder)
    for k in range(4):
        cache.put(f"{k}" * 64, bytes(1000), {"symbol": f"kernel{k}"})
        os.utime(folder / f"{f'{k}' * 64}.bin", (k, k))
    (folder / "damaged.bin").write_bytes(b"nothing")
    listed = data(tgc_command("cache", "ls", "--json"))
    assert [e["name"] for e in listed["entries"]] == ["", "kernel3", "kernel2", "kernel1", "kernel0"]
    assert {e["kind"] for e in listed["entries"]} == {"kernel", "damaged"}
    assert data(tgc_command("cache", "gc", "--size", "0.0026", "--json"))["removed"] == 2
    assert data(tgc_command("cache", "clear", "-y", "--json"))["removed"] == 3
    assert tgc_command("cache", "clear").code == 2  # nobody said yes


# ---------------------------------------------------------------------------------------------------------- processes


PROCESS = """
import signal, sys
from tgc.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job would ignore it
main(sys.argv[1:])
"""


def process(*arguments: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), *sys.path])
    command = [sys.executable, "-c", PROCESS, *arguments]
    return subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


class ClosedPipe(io.StringIO):
    """Standard output that nobody reads any more."""

    def __init__(self, stand_in: int) -> None:
        super().__init__()
        self.stand_in = stand_in

    def write(self, text: str, /) -> int:
        raise BrokenPipeError

    def fileno(self) -> int:
        return self.stand_in


@pytest.mark.parametrize("call", [("show", *FORWARD), ("stats", *FORWARD), ("stats", *FORWARD, "--json")])
def test_a_closed_pipe_is_no_error(
    call: tuple[str, ...], tgc_command: Tgc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "out").open("w") as stand_in:
        monkeypatch.setattr("sys.stdout", ClosedPipe(stand_in.fileno()))
        said = tgc_command(*call)
        assert (said.code, said.err) == (141, "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_an_interrupted_command(tgc_command: Tgc, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(20)\n")
    with process("show", "slow.py:f") as shown:
        assert shown.stdout is not None
        assert shown.stderr is not None
        assert shown.stdout.readline() == "here\n"
        shown.send_signal(signal.SIGINT)
        assert shown.stderr.read() == "tgc: interrupted\n"
    assert shown.returncode == 130


def test_debug_shows_tracebacks(tgc_command: Tgc) -> None:
    call = ("show", "net.py:broken", "--shape", "x=3")
    assert "Traceback" not in tgc_command(*call).err
    assert 'raise RuntimeError("of the model")' in tgc_command(*call, "--debug").err


def test_warnings_are_one_line(tgc_command: Tgc, tmp_path: Path) -> None:
    (tmp_path / "warns.py").write_text("import warnings\ndef f(x):\n    warnings.warn('look out')\n    return x + 1\n")
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as in a process of its own
        said = tgc_command("run", "warns.py:f", "--shape", "x=3", "--random")
    assert said.code == 0
    assert said.err == "tgc: warning: look out\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(tgc_command: Tgc, shell: str) -> None:
    said = tgc_command("completion", shell)
    assert said.code == 0
    assert f"_TGC_COMPLETE={shell}_complete" in said.out


@pytest.mark.parametrize(
    ("words", "found"),
    [("tgc st", "stats"), ("tgc explain --sh", "--shape"), ("tgc opt --passes fold,win", "fold,winograd")],
)
def test_words_are_completed(
    words: str, found: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_TGC_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    assert run(group, []) == 0
    assert capsys.readouterr().out.split() == [f"plain,{found}"]


def test_help_imports_little() -> None:
    """What is slow to import is imported when it is used."""
    code = "import sys; from tgc.cli import tgc, run; run(tgc, ['--help']); print(*sys.modules)"
    path = os.pathsep.join([str(ROOT), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert not {"numba", "networkx", "keras", "onnx", "rich.console", "PIL"} & set(done.stdout.split())


def test_keras_files_are_models(tgc_command: Tgc) -> None:
    keras = pytest.importorskip("tgc.keras", exc_type=ImportError)
    x = keras.Input((6,), name="x")
    model = keras.Model(x, keras.layers.Dense(4, activation="relu", name="y")(x))
    model.save("m.keras")
    data = np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32)
    np.save("x.npy", data)
    assert tgc_command("compile", "m.keras", "--shape", "x=3,6").code == 0
    assert tgc_command("run", "m.tgc", "--input", "x.npy", "-o", "out.npz").code == 0
    np.testing.assert_allclose(np.load("out.npz")["y"], model.predict(data, verbose=0), rtol=1e-5)
    assert "%x: f32[1,6]" in tgc_command("show", "m.keras").out
    sequences = keras.Input((None, 6), name="x")
    keras.Model(sequences, keras.layers.LSTM(4)(sequences)).save("open.keras")
    said = tgc_command("show", "open.keras")
    assert said.code == 2
    assert "open.keras leaves sizes open, which --shape NAME=SHAPE gives" in said.err
    assert tgc_command("run", "open.keras", "--shape", "x=2,5,6", "--random").code == 0


def test_keras_models_without_names_are_models(tgc_command: Tgc) -> None:
    """A sequential model, whose outputs have no names."""
    keras = pytest.importorskip("tgc.keras", exc_type=ImportError)
    model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(4)])
    model.save("m.keras")
    assert tgc_command("compile", "m.keras").code == 0
    x = np.random.default_rng(0).standard_normal((1, 6, 6, 1)).astype(np.float32)
    np.save("x.npy", x)
    assert tgc_command("run", "m.tgc", "--input", "x.npy", "--output", "y.npy").code == 0
    np.testing.assert_allclose(np.load("y.npy"), np.asarray(model(x)), rtol=1e-5, atol=1e-6)
