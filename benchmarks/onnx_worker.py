"""A process that runs an ONNX model: `python -m benchmarks.onnx_worker IMPLEMENTATION MODEL.onnx INPUT.npy OUTPUT.npy`.

It answers first with the seconds from the file to the first output, which it writes; then for each line of standard
input, a number of seconds, with the nanoseconds of each call made in that time.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.implementations import imported
from benchmarks.timing import timed


def prepared(implementation: str, path: Path, x: np.ndarray) -> Callable[[], Any]:
    """What runs the model on `x`."""
    if implementation != "tgc":
        (variant,) = imported(implementation).calls(path, {"x": x}).values()
        call: Callable[[], Any] = variant.call
        return call
    from tgc.frontends.onnx import load

    model = load(path)
    return lambda: model(x)


def main() -> None:
    """Serve until the input ends."""
    implementation, path, given, made = sys.argv[1:]
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # what libraries print must not come between the answers

        def answer(value: Any) -> None:
            answers.write(json.dumps(value) + "\n")
            answers.flush()

        begin = time.perf_counter()
        call = prepared(implementation, Path(path), np.load(given))
        np.save(made, np.array(call()))
        answer(time.perf_counter() - begin)
        for line in sys.stdin:
            answer(timed(call, float(line)))


if __name__ == "__main__":
    main()
