"""Models exported by torch on tgc and on the runtimes for ONNX: `python -m benchmarks.onnx_models`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.harness import ROOT, SETTLE, THREADS, DisagreementError, WorkerError
from benchmarks.study import Rows, Study
from benchmarks.timing import Summary
from tgc.backends.cpu.target import thread_count

ABOUT = """\
Milliseconds of a call of models that torch exports to ONNX: the median of some rounds (and the least), in which the
implementations take turns, each in a process of its own with as many threads as there are cores. *First output*:
seconds from the file to it, where tgc finds nothing in its cache, and in a second process. The models are those of
`tests/onnx_models.py`; all compute in float32, but for ResNet-18 in 8 bits, whose products are of integers. Its
activations are int8, the default of ONNX Runtime's quantization, which on x86 runs a part of the model in float32
unless told that int8 is allowed, or uint8."""

IMPLEMENTATIONS = ("tgc", "onnxruntime", "openvino")
TITLES = {
    "resnet18": "ResNet-18",
    "mobilenet_v3_small": "MobileNetV3-small",
    "vit_tiny": "ViT-tiny",
    "decoder": "decoder",
    "lstm_tagger": "LSTM tagger",
    "resnet18_qdq": "ResNet-18 in 8 bits",
    "resnet18_qdq_uint8": "ResNet-18 in 8 bits, unsigned",
}
BATCHES = (1, 16)
ROUNDS, SECONDS, QUICK = 5, 0.8, 0.3
TOLERANCE, QUANTIZED = 1e-3, 1e-2  # relative to the greatest magnitude; of 8 bits one step, which is 0.7 %
# The folder of exported models, which are written into it if it lacks them.
FOLDER = Path(os.environ.get("TGC_ONNX_MODELS") or Path(tempfile.gettempdir()) / "tgc_onnx_models")


class _Worker:
    """A process of `benchmarks.onnx_worker`."""

    def __init__(self, implementation: str, cache: Path, *files: Path) -> None:
        self.implementation, self.made = implementation, files[-1]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.onnx_worker", implementation, *map(str, files)],
            cwd=ROOT,
            env={**os.environ, **dict.fromkeys(THREADS, str(thread_count())), "TGC_CACHE_DIR": str(cache)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def answer(self) -> Any:
        """The next answer.

        Raises:
            WorkerError: the process ended instead.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"{self.implementation} failed (exit status {self._process.wait()}; see above)")
        return json.loads(line)

    def ask(self, seconds: float) -> list[int]:
        """Nanoseconds of each call in a turn."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        taken: list[int] = self.answer()
        return taken

    def close(self) -> None:
        self._process.communicate()


def inputs(x: np.ndarray, batch: int) -> np.ndarray:
    """A batch like `x`."""
    rng = np.random.default_rng(0)
    shape = (batch, *x.shape[1:])
    return rng.standard_normal(shape, np.float32) if x.dtype.kind == "f" else rng.integers(0, x.max() + 1, shape)


def measure(row: str, implementations: Sequence[str], quick: bool) -> dict[str, Any]:
    """Times of the implementations, whose outputs are compared first.

    Raises:
        WorkerError: a process that was measured failed.
        DisagreementError: outputs differ.
    """
    name, batch = row.rsplit("-", 1)
    if not (FOLDER / f"{name}.onnx").exists():
        script = ROOT / "tests" / "onnx_models.py"
        subprocess.run([sys.executable, script, FOLDER], check=True, stdout=subprocess.DEVNULL)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        given = Path(place) / "x.npy"
        np.save(given, inputs(np.load(FOLDER / f"{name.partition('_qdq')[0]}.npz")["x"], int(batch)))
        team = []
        for implementation in implementations:  # one after the other: compiling takes all cores
            files = FOLDER / f"{name}.onnx", given, Path(place) / f"{implementation}.npy"
            with closing(_Worker(implementation, Path(place) / "cache", *files)) as cold:
                first = cold.answer()
            worker = _Worker(implementation, Path(place) / "cache", *files)
            stack.callback(worker.close)
            found[implementation] = {"first_s": first, "again_s": worker.answer()}
            team.append(worker)
        want = np.load(team[-1].made)
        bound = (QUANTIZED if "_qdq" in name else TOLERANCE) * np.abs(want).max()
        for worker in team:
            if not (difference := np.abs(np.load(worker.made) - want).max()) <= bound:
                raise DisagreementError(f"{row}: {worker.implementation} differs by {difference}, more than {bound}")
        rounds: dict[str, list[list[int]]] = {worker.implementation: [] for worker in team}
        for _ in range(2 if quick else ROUNDS):
            for worker in team:
                time.sleep(SETTLE)
                rounds[worker.implementation].append(worker.ask(QUICK if quick else SECONDS))
        for implementation, taken in rounds.items():
            summary = Summary.of(taken, 1e-6)
            found[implementation] |= {"ms": summary.median, "least_ms": summary.least, "rounds_ms": summary.rounds}
    return {"title": TITLES[name], "batch": int(batch), "implementations": found}


def tables(rows: Rows) -> Iterator[tuple[str, report.Rows]]:
    """The times of calls, and those to the first output."""
    names = [name for name in IMPLEMENTATIONS if any(name in row["implementations"] for row in rows.values())]
    lines: report.Rows = [("model", "batch", *names, "tgc to the best of the others")]
    starts: dict[str, report.Rows] = {key: [("model", "batch", *names)] for key in ("first_s", "again_s")}
    for row in rows.values():
        each = row["implementations"]
        others = [each[name]["ms"] for name in names if name in each and name != "tgc"]
        ratio = f"{min(others) / each['tgc']['ms']:.2f}x" if others and "tgc" in each else ""
        cells = [
            f"{report.figure(each[n]['ms'])} ({report.figure(each[n]['least_ms'])})" if n in each else "" for n in names
        ]
        lines.append((row["title"], str(row["batch"]), *cells, ratio))
        for key, found in starts.items():
            figures = (report.figure(each[n][key]) if n in each else "" for n in names)
            found.append((row["title"], str(row["batch"]), *figures))
    yield "A call, milliseconds", lines
    yield "First output, seconds", starts["first_s"]
    yield "First output of a second process, seconds", starts["again_s"]


STUDY = Study(
    "onnx_models", ABOUT, [f"{name}-{batch}" for name in TITLES for batch in BATCHES], IMPLEMENTATIONS, measure, tables
)

if __name__ == "__main__":
    STUDY.main()
