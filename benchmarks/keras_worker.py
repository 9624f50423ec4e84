"""A process that trains with Keras on one backend: `python -m benchmarks.keras_worker BACKEND MODEL STEPS`.

For each line of standard input it prints a number of seconds: `epoch`, of `fit` over that many steps; `program`, of
tgc's compiled programs in it, for each step.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import Any

from benchmarks.keras_models import BATCH, compiled


def program_seconds(model: Any, x: Any, y: Any) -> float:
    """What the calls of compiled programs take of an epoch of `fit`, for each step."""
    from tgc.backends.cpu.program import CpuProgram

    calls: list[float] = []
    call = CpuProgram.__call__

    def timed(self: Any, *args: Any) -> Any:
        begin = time.perf_counter()
        try:
            return call(self, *args)
        finally:
            calls.append(time.perf_counter() - begin)

    CpuProgram.__call__ = timed  # type: ignore[method-assign]
    try:
        model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)
    finally:
        CpuProgram.__call__ = call  # type: ignore[method-assign]
    return sum(calls) / (len(x) // BATCH)


def main() -> None:
    """Serve until the input ends."""
    backend, name, steps = sys.argv[1:]
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # what libraries print must not come between the answers
        if backend == "tgc":
            importlib.import_module("tgc.keras")
        else:
            os.environ["KERAS_BACKEND"] = backend
        model, x, y = compiled(name, int(steps))
        for line in sys.stdin:
            if line.strip() == "program":
                seconds = program_seconds(model, x, y)
            else:
                begin = time.perf_counter()
                model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)
                seconds = time.perf_counter() - begin
            answers.write(json.dumps(seconds) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
