"""A process that runs one implementation with one number of threads: `python -m benchmarks.worker NAME`.

It reads requests from standard input and answers each on standard output, a line of JSON both ways, in this order:

    {"do": "setup", "workload": NAME, "folder": F}    {"results": {VARIANT: number of arrays}}
    {"do": "choose", "seconds": S}                    {"variant": the quickest one, which is kept}
    {"do": "time", "seconds": S}                      {"ns": [of each call]}
    {"do": "profile"}                                 what the variant's profile is, {} where there is none

`setup` leaves array k that a variant computes in F/VARIANT.k.npy; workers that share F share the models that they
export. The process ends with its input; an exception ends it
too, with the traceback on standard error.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.implementations import variants
from benchmarks.timing import timed
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.base import Variant


class Server:
    """What a worker holds between requests: the variants of the workload in hand."""

    def __init__(self, implementation: str) -> None:
        self._implementation = implementation
        self._variants: Mapping[str, Variant] = {}

    def setup(self, workload: str, folder: str) -> dict[str, Any]:
        self._variants = {}  # frees the memory of the last workload
        self._variants = variants(self._implementation, WORKLOADS[workload], Path(folder))
        counts = {}
        for label, variant in self._variants.items():
            arrays = variant.results()
            counts[label] = len(arrays)
            for k, array in enumerate(arrays):
                np.save(Path(folder, f"{label}.{k}.npy"), array)
        return {"results": counts}

    def choose(self, seconds: float) -> dict[str, Any]:
        label = next(iter(self._variants))
        if len(self._variants) > 1:
            medians = {k: statistics.median(timed(v.call, seconds)) for k, v in self._variants.items()}
            label = min(medians, key=medians.__getitem__)
        self._variants = {label: self._variants[label]}
        return {"variant": label}

    def time(self, seconds: float) -> dict[str, Any]:
        (variant,) = self._variants.values()
        return {"ns": timed(variant.call, seconds)}

    def profile(self) -> dict[str, Any]:
        (variant,) = self._variants.values()
        return variant.profile() if variant.profile else {}


def main() -> None:
    """Serve until the input ends."""
    server = Server(sys.argv[1])
    # what libraries print must not come between the answers
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            request = json.loads(line)
            answer = getattr(server, request.pop("do"))(**request)
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
