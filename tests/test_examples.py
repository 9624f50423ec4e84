"""Everything that is shown to users runs: the examples, and the Python of the README."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCUMENTS = (README, *(ROOT / "docs" / name for name in ("architecture.md", "cli.md")), ROOT / "CONTRIBUTING.md")
FENCE = re.compile(r"^```[ \t]*(\w*)[^\n]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)


def example(name: str) -> ModuleType:
    """The module of an example, loaded from its file."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def png_size(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG, of which every chunk is whole (PNG specification, third edition, section 5)."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, kinds, pixels = 8, [], b""
    while at < len(data):
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        body, checksum = data[at + 8 : at + 8 + length], data[at + 8 + length : at + 12 + length]
        assert zlib.crc32(kind + body) == int.from_bytes(checksum)
        kinds.append(kind)
        pixels += body if kind == b"IDAT" else b""
        at += 12 + length
    assert (kinds[0], kinds[-1]) == (b"IHDR", b"IEND")
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    assert len(zlib.decompress(pixels)) == height * (1 + 4 * width)  # 8-bit RGBA, and the filter of each row
    return width, height


def test_cnn_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three epochs: it learns, says so, and draws what it learned."""
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    plot = tmp_path / "plot.png"
    accuracy = example("cnn_digits").main(["--epochs", "3", "--plot", str(plot)])
    assert 0.9 < accuracy <= 1
    said = capsys.readouterr().out
    assert f"held-out accuracy {accuracy:.2%}" in said
    assert f"plot saved to {plot}" in said
    assert min(png_size(plot.read_bytes())) > 300


def test_cnn_digits_repeats(tmp_path: Path) -> None:
    """The same seed, the same parameters, bit for bit; another seed, others."""
    pytest.importorskip("sklearn")
    module = example("cnn_digits")
    one, same, other = (module.parameters(seed) for seed in (0, 0, 1))
    for layer in one:
        assert (one[layer]["w"] == same[layer]["w"]).all()
        assert (one[layer]["w"] != other[layer]["w"]).any()


def keras_example(name: str) -> ModuleType:
    """An example that needs Keras, and draws."""
    pytest.importorskip("tgc.keras", exc_type=ImportError)
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    return example(name)


def test_keras_cnn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accuracy = keras_example("keras_cnn").main(["--epochs", "2", "--folder", str(tmp_path)])
    assert 0.85 < accuracy <= 1
    said = capsys.readouterr().out
    assert "Epoch 2/2" in said
    assert "45/45" in said  # the progress bar
    assert f"held-out accuracy {accuracy:.2%}" in said
    assert min(png_size((tmp_path / "keras_cnn.png").read_bytes())) > 300
    assert (tmp_path / "keras_cnn.keras").stat().st_size > 10_000


def test_keras_lstm_lm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    perplexity = keras_example("keras_lstm_lm").main(["--epochs", "1", "--batch", "16", "--folder", str(tmp_path)])
    assert 100 < perplexity < 400  # of 3,600 words
    said = capsys.readouterr().out
    assert "if the object is" in said
    assert f"held-out perplexity {perplexity:.1f}" in said
    assert min(png_size((tmp_path / "keras_lstm_lm.png").read_bytes())) > 300


def test_keras_self_attention(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    score = keras_example("keras_self_attention").main(["--epochs", "2", "--folder", str(tmp_path)])
    assert 0.2 < score < 0.9
    assert "predicted: " in capsys.readouterr().out
    assert min(png_size((tmp_path / "keras_self_attention.png").read_bytes())) > 300


def test_keras_vae(tmp_path: Path) -> None:
    gain = keras_example("keras_vae").main(["--epochs", "8", "--folder", str(tmp_path)])
    assert 5 < gain < 60
    assert min(png_size((tmp_path / "keras_vae.png").read_bytes())) > 300


def test_keras_gan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    share = keras_example("keras_gan").main(["--epochs", "3", "--folder", str(tmp_path)])
    assert 0 <= share <= 1
    said = capsys.readouterr().out
    found = [float(x) for x in re.findall(r"discriminator: ([\d.]+)", said)]
    assert 0 < found[-1] < 2  # it neither wins nor breaks down
    assert min(png_size((tmp_path / "keras_gan.png").read_bytes())) > 300


def test_keras_training_tools(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = keras_example("keras_training_tools").main(["--epochs", "15", "--folder", str(tmp_path)])
    assert figures["regularized"] > 0.9
    assert figures["by hand"] > 0.7
    without, weighted = figures["weighted"]
    assert weighted > without + 0.2
    assert min(figures["transferred"]) > 0.3
    assert "scheduled: from 2.0e-03 to " in capsys.readouterr().out
    assert min(png_size((tmp_path / "keras_training_tools.png").read_bytes())) > 300


def test_onnx_finetune(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What has seen half the digits learns the others; the file that is written holds the weights under their names."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("sklearn")
    accuracy = example("onnx_finetune").main(["--epochs", "3", "--folder", str(tmp_path)])
    assert 0.9 < accuracy <= 1
    said = capsys.readouterr().out
    before = float(re.findall(r"held-out accuracy (\S+)% before", said)[0])
    assert 35 < before < 65
    assert f"and {accuracy:.2%} after" in said
    names = [[t.name for t in onnx.load(tmp_path / f"{n}.onnx").graph.initializer] for n in ("pretrained", "finetuned")]
    assert "hidden.weight" in names[0]
    assert set(names[0]) <= set(names[1])


def test_every_example_is_tested() -> None:
    tests = Path(__file__).read_text(encoding="utf-8")
    names = [path.stem for path in (ROOT / "examples").glob("*.py")]
    assert names
    assert [name for name in names if f'example("{name}").main(' not in tests] == []


def blocks(language: str) -> list[tuple[int, str]]:
    """The fenced blocks of the README in a language: the lines that they begin on, and their text."""
    text = README.read_text(encoding="utf-8")
    return [(text.count("\n", 0, m.start(2)) + 1, m[2]) for m in FENCE.finditer(text) if m[1] == language]


def test_the_readme_runs(tmp_path: Path) -> None:
    """Its Python blocks one after the other, as one program; line numbers of errors are those of the README."""
    found = blocks("python")
    assert found, "README.md shows no Python"
    program = ""
    for line, text in found:
        program += "\n" * (line - 1 - program.count("\n")) + text
    script = tmp_path / "README.py"
    script.write_text(program, encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TGC_") or k == "TGC_CACHE_DIR"}
    path = os.pathsep.join([str(ROOT), *sys.path])
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path, env=environment | {"PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    losses = [float(x) for x in re.findall(r"^loss (\S+)$", done.stdout, re.MULTILINE)]
    assert losses
    assert max(losses) < 0.5  # the training step that it shows does train
    assert "graph @step(" in done.stdout
    assert "def " in done.stdout


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_documents_speak_of_what_exists(document: Path) -> None:
    """Paths, names of files, environment variables and commands; words in capitals stand for others."""
    text = document.read_text(encoding="utf-8")
    paths = set(re.findall(r"\b(?:tgc|backends|frontends|tests|examples|benchmarks|docs)/[\w/.-]+\b", text))
    paths |= set(re.findall(r"\]\(([\w/.-]+)\)", text))
    assert paths
    paths = {path for path in paths if not re.search(r"\b[A-Z]+(/|\.json|$)", path)}
    assert [p for p in sorted(paths) if not (ROOT / p).exists() and not (document.parent / p).exists()] == []
    folders = ("tgc", "backends", "frontends", "benchmarks", "examples", "tests")
    files = [p for folder in folders for p in (ROOT / folder).rglob("*.py")]
    named = set(re.findall(r"`([\w/]+\.py)`", text))
    assert [name for name in sorted(named) if not any(f"/{p.as_posix()}".endswith(f"/{name}") for p in files)] == []
    sources = [p.read_text(encoding="utf-8") for p in files if p.relative_to(ROOT).parts[0] in ("tgc", "backends")]
    for name in sorted(set(re.findall(r"\bTGC_[A-Z_]+\b", text))):
        assert any(f'"{name}"' in source for source in sources), f"no code reads {name}"
    modules = re.findall(r"python -m (benchmarks[\w.]*)", text)
    commands = {m: ROOT.joinpath(*m.split(".")) for m in modules}
    assert [m for m, f in commands.items() if not (f.with_suffix(".py").exists() or (f / "__main__.py").exists())] == []
