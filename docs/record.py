"""Draws what commands print on a terminal as the pictures in docs/terminal: `python docs/record.py`.

The commands run in a temporary folder, each with a pseudo-terminal of 100 columns as its standard output.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tempfile
from importlib.metadata import entry_points
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
COLUMNS = 100

KERAS = """
import numpy as np
import tgc.keras
from keras import Input, Model, layers, utils

utils.set_random_seed(0)
image = Input((28, 28, 1), name="image")
x = layers.MaxPooling2D()(layers.Conv2D(16, 3, activation="relu")(image))
Model(image, layers.Dense(10, activation="softmax", name="digit")(layers.Flatten()(x))).save("digits.keras")
np.save("x.npy", np.random.default_rng(0).standard_normal((8, 64), dtype=np.float32))
"""
ONNX = """
import net
import numpy as np
import onnx
import tgc
from tgc.frontends.onnx import to_onnx

onnx.save(to_onnx(tgc.jit(net.forward).lower(np.zeros((8, 64), np.float32)).graph), "net.onnx")
"""
NET = """
import numpy as np

from tgc import nn

W = np.random.default_rng(0).standard_normal((64, 10), dtype=np.float32)


def forward(x):
    return nn.softmax(nn.relu(x @ W))
"""
READS_ONNX = bool(entry_points(group="tgc.models", name="onnx"))
RECORDINGS = {
    "compile-and-run": [
        "tgc compile net.py:forward --shape x=8,64 -o net.tgc",
        "tgc run net.tgc --input x.npy --output y.npz",
        "tgc compile digits.keras",
        "tgc run digits.tgc --random",
        *(("tgc compile net.onnx -o onnx.tgc", "tgc run onnx.tgc --random") if READS_ONNX else ()),
    ],
    "show": ["tgc show net.tgc --stage fuse", "tgc show net.tgc --kernel dot_relu_contraction"],
    "explain": ["tgc explain net.tgc"],
    "profile": ["tgc profile digits.tgc --roofline"],
    "stats": ["tgc stats digits.tgc"],
    "diff": ["tgc diff net.tgc --stages fold simplify"],
}  # fmt: skip


def said(command: str, folder: Path, environment: dict[str, str]) -> str:
    """What a command writes to a terminal."""
    outer, inner = pty.openpty()
    arguments = [sys.executable, "-m", *command.split()]
    with subprocess.Popen(arguments, cwd=folder, env=environment, stdout=inner, stderr=inner, stdin=inner) as running:
        os.close(inner)
        parts = []
        try:
            while part := os.read(outer, 1 << 16):
                parts.append(part)
        except OSError:  # Linux's way of saying that the other end is closed
            running.wait()
    os.close(outer)
    return b"".join(parts).decode().replace("\r\n", "\n")


def main() -> None:
    """Draw all recordings."""
    target = ROOT / "docs" / "terminal"
    target.mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "net.py").write_text(NET.lstrip())
        for code in (KERAS, ONNX) if READS_ONNX else (KERAS,):
            subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True)
        for name, commands in RECORDINGS.items():
            console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
            for command in commands:
                console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
                console.print(Text.from_ansi(said(command, folder, environment)))
                console.print()
            drawn = console.export_svg(title="tgc", unique_id=f"tgc-{name}")
            (target / f"{name}.svg").write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL))


if __name__ == "__main__":
    main()
