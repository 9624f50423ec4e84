"""How far the usual schedules are from those that measurements choose: `python -m benchmarks.autotune`."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks import report
from benchmarks.startup import answers
from benchmarks.study import Rows, Study
from benchmarks.workloads import WORKLOADS

ABOUT = """\
Milliseconds of a call as usual and with `tgc.jit(..., autotune=True)`, the median of rounds in turns in one process
whose cache was empty. *Usual to tuned*: how many times as quick the tuned program is. *Regions*: different ones in the
program, and those of them for which another schedule than the usual one was chosen, of so many that were *tried*;
*seconds*: what tuning took."""

PROGRAMS = (
    "cnn_train_32", "cnn_inference", "transformer_train", "transformer_inference", "resnet18_inference",
    "resnet18_train", "lstm_layer", "softmax", "gelu_layer_norm", "pointwise",
)  # fmt: skip
PRODUCTS = (
    "matmul_256", "matmul_1024", "matmul_tn_1024", "matmul_few_rows", "matmul_one_row", "matmul_few_columns",
    "matmul_tall", "matmul_long_sum", "matmul_outer", "matmul_odd", "matmul_batched_32", "matmul_scores",
)  # fmt: skip
CONVOLUTIONS = (
    "conv_first_7x7_forward", "conv_r50_1x1_64_256_forward", "conv_r50_3x3_128_forward", "conv_depthwise_56_s2_forward",
    "conv_grouped_forward", "conv_r50_3x3_128_input_grad", "conv_depthwise_14_input_grad",
    "conv_r50_1x1_1024_256_kernel_grad", "conv_r50_3x3_256_kernel_grad", "conv_depthwise_112_kernel_grad",
)  # fmt: skip
FULL, QUICK = (60, 0.05), (12, 0.03)  # rounds, and seconds of each: short ones, for how fast machines are drifts


def measure(row: str, implementations: Sequence[str], quick: bool) -> dict[str, Any]:
    """What `benchmarks.tuned` tells of a workload.

    Raises:
        WorkerError: the process failed.
    """
    with tempfile.TemporaryDirectory(prefix="tgc-benchmark-") as folder:
        (found,) = answers("benchmarks.tuned", row, *map(str, QUICK if quick else FULL), caches=folder)
    return {"title": WORKLOADS[row].title, "implementations": {"tgc": found}}


def tables(rows: Rows) -> Iterator[tuple[str, report.Rows]]:
    """A table of the rows, the mean of their ratios in the last line."""
    heading = ("workload", "usual, ms", "tuned, ms", "usual to tuned", "regions", "others chosen", "tried", "seconds")
    lines: report.Rows = [heading]
    ratios = []
    for row in rows.values():
        each = row["implementations"]["tgc"]
        usual, tuned = each["usual"]["median"], each["tuned"]["median"]
        ratios.append(usual / tuned)
        counts = (str(each[key]) for key in ("regions", "changed", "tried"))
        times = map(report.figure, (usual, tuned))
        lines.append((row["title"], *times, f"{ratios[-1]:.2f}", *counts, f"{each['seconds']:.0f}"))
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    lines.append(("geometric mean", "", "", f"{mean:.2f}", "", "", "", ""))
    yield "usual and tuned schedules", lines


STUDY = Study("autotune", ABOUT, [*PROGRAMS, *PRODUCTS, *CONVOLUTIONS], ["tgc"], measure, tables)

if __name__ == "__main__":
    STUDY.main()
