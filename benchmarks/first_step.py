"""A new process up to its first step: `python -m benchmarks.first_step IMPLEMENTATION WORKLOAD`.

Prints two lines of JSON of seconds, one as soon as the first step is done: {"import_s", "draw_s", "first_step_s"}, for
importing the implementation, drawing the program's inputs, and all from then to the first result; then {"step_s"}, the
quickest of some later steps.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import pairwise

IMPORTING = time.perf_counter()


from benchmarks.implementations import imported  # noqa: E402  # timed
from benchmarks.workloads import WORKLOADS  # noqa: E402

LATER = 3


def main() -> None:
    """Print what is measured."""
    name, workload = sys.argv[1:]
    module, row = imported(name), WORKLOADS[workload]
    ready = time.perf_counter()
    inputs = row.program.inputs()
    drawn = time.perf_counter()
    variant = next(iter(getattr(module, row.work)(row.program, inputs).values()))
    variant.call()
    done = time.perf_counter()
    found = {"import_s": ready - IMPORTING, "draw_s": drawn - ready, "first_step_s": done - drawn}
    print(json.dumps(found), flush=True)
    times = [time.perf_counter()]
    for _ in range(LATER):
        variant.call()
        times.append(time.perf_counter())
    print(json.dumps({"step_s": min(b - a for a, b in pairwise(times))}))


if __name__ == "__main__":
    main()
