"""The guide's CNN, one training step: tgc beside PyTorch, and what starting costs.

    python -m benchmarks.train_step [--quick] [--out benchmarks/results/train_step.json]

Writes JSON and prints a Markdown table. PyTorch is optional: without it only tgc is timed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.workers import ROOT, Worker, compare, machine, serve

MODULE = "benchmarks.train_step"
RATE = 1e-3


def data(batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images f32[batch,28,28,1] and labels i32[batch]."""
    rng = np.random.default_rng(0)
    return rng.random((batch, 28, 28, 1), np.float32), rng.integers(0, 10, batch).astype(np.int32)


def tgc_step(batch: int) -> Callable[[], float]:
    """The step of examples/cnn_digits.py."""
    sys.path.insert(0, str(ROOT / "examples"))
    import cnn_digits as example

    p = example.parameters(0)
    m, v = ({k: {n: np.zeros_like(a) for n, a in layer.items()} for k, layer in p.items()} for _ in range(2))
    state = [p, m, v, np.zeros((), np.float32)]
    x, y = data(batch)

    def call() -> float:
        *state[:], loss, _ = example.train_step(*state, RATE, x, y)
        return float(loss)

    return call


def torch_step(batch: int) -> Callable[[], float]:
    """The same model and optimizer in PyTorch, eager, channels last, from the same weights."""
    sys.path.insert(0, str(ROOT / "examples"))
    import cnn_digits as example
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    last = torch.channels_last
    p = {k: {n: torch.from_numpy(np.array(a)) for n, a in layer.items()} for k, layer in example.parameters(0).items()}
    for name in ("conv1", "conv2"):
        p[name]["w"] = p[name]["w"].permute(3, 2, 0, 1).contiguous(memory_format=last)
    leaves = [a.requires_grad_() for layer in p.values() for a in layer.values()]
    optimizer = torch.optim.Adam(leaves, lr=RATE, eps=1e-7, fused=True)
    images, labels = data(batch)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=last)
    y = torch.from_numpy(labels).long()
    functional = torch.nn.functional

    def call() -> float:
        h = functional.max_pool2d(functional.conv2d(x, p["conv1"]["w"], p["conv1"]["b"]).relu(), 2)
        h = functional.max_pool2d(functional.conv2d(h, p["conv2"]["w"], p["conv2"]["b"]).relu(), 2)
        h = (h.permute(0, 2, 3, 1).flatten(1) @ p["dense1"]["w"] + p["dense1"]["b"]).relu()
        loss = functional.cross_entropy(h @ p["dense2"]["w"] + p["dense2"]["b"], y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return call


IMPLEMENTATIONS: dict[str, Callable[[int], Callable[[], float]]] = {"tgc": tgc_step, "torch eager": torch_step}


def agree(batch: int) -> None:
    """Refuse to time steps that compute different losses."""
    losses = {name: [call() for _ in range(3)] for name in available() for call in [IMPLEMENTATIONS[name](batch)]}
    for name, found in losses.items():
        if not np.allclose(found, losses["tgc"], rtol=1e-3):
            raise RuntimeError(f"losses of {name} {found} differ from tgc's {losses['tgc']}")


def available() -> list[str]:
    return [n for n in IMPLEMENTATIONS if n == "tgc" or importlib.util.find_spec(n.split()[0])]


def start_up() -> dict[str, float]:
    """Seconds of a process from its start until the first step is done: with an empty kernel cache, and after that."""
    code = f"import {MODULE} as b; b.tgc_step(32)()"
    found = {}
    with tempfile.TemporaryDirectory() as cache:
        for name, times in (("cold", 1), ("warm", 5)):
            seconds = []
            for _ in range(times):
                start = time.perf_counter()
                env = {**os.environ, "TGC_CACHE_DIR": cache, "PYTHONPATH": str(ROOT)}
                subprocess.run([sys.executable, "-c", code], check=True, env=env, cwd=ROOT)
                seconds.append(time.perf_counter() - start)
            found[f"{name} start to first step, s"] = statistics.median(seconds)
    return found


def overhead() -> dict[str, float]:
    """Microseconds of a call of 20 small kernels, and of those kernels alone."""
    import tgc

    def chain(x: Any) -> Any:
        for k in range(20):
            x = x - x.sum(axis=k % 2, keepdims=True) * 1e-3
        return x

    x = np.ones((16, 16), np.float32)
    f = tgc.jit(chain)
    f(x)
    program: Any = next(iter(f._entries.values())).executable
    frame = program._idle[-1].frame

    def median(call: Callable[[], Any]) -> float:
        seconds = []
        for _ in range(3000):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds) * 1e6

    whole, kernels = median(lambda: f(x)), median(lambda: program.driver.run(frame))
    return {"call of 20 small kernels, us": whole, "the kernels alone, us": kernels}


def table(rows: dict[str, dict[str, dict[str, float]]]) -> str:
    """Markdown: median (minimum) in ms."""
    names = list(next(iter(rows.values())))
    lines = ["| CNN training step | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    for row, found in rows.items():
        cells = [f"{found[n]['median']:.2f} ({found[n]['minimum']:.2f})" for n in names]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="fewer rounds; a minute")
    options.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "train_step.json")
    options.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.serve:
        serve(IMPLEMENTATIONS[given.serve[0]](**json.loads(given.serve[1])))
        return
    agree(32)
    rows = {}
    for batch in (32, 256):
        workers = [Worker.start(MODULE, name, threads, batch=batch) for name in available() for threads in (1, 2)]
        rows[f"batch {batch}, ms"] = compare(workers, rounds=3 if given.quick else 12, calls=640 // batch)
        for w in workers:
            w.stop()
    found = {"machine": machine(), "rows": rows, "start": start_up(), "overhead": overhead()}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(table(rows))
    for name, value in (found["start"] | found["overhead"]).items():
        print(f"{name}: {value:.2f}")


if __name__ == "__main__":
    main()
