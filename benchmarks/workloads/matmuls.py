"""Matrix products: squares, skinny and batched ones, those of attention, transposed operands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.workloads.base import Program, Tensor, Workload
from benchmarks.workloads.cnn import PEERS

# name -> m, n, k, leading axes, whether the left and the right operand are transposed
SWEEP: dict[str, tuple[int, int, int, tuple[int, ...], bool, bool]] = {
    **{f"{n}": (n, n, n, (), False, False) for n in (128, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)},
    "tn_1024": (1024, 1024, 1024, (), True, False),
    "nt_1024": (1024, 1024, 1024, (), False, True),
    "tt_1024": (1024, 1024, 1024, (), True, True),
    "few_rows": (16, 4096, 4096, (), False, False),
    "one_row": (1, 4096, 4096, (), False, False),
    "one_column": (4096, 1, 4096, (), False, False),
    "few_columns": (4096, 10, 1024, (), False, False),
    "tall": (16384, 64, 64, (), False, False),
    "long_sum": (64, 64, 65536, (), False, False),
    "outer": (2048, 2048, 16, (), False, False),
    "odd": (1001, 997, 1003, (), False, False),
    "batched_32": (32, 32, 32, (1024,), False, False),
    "batched_256": (256, 256, 256, (32,), False, False),
    "scores": (128, 128, 64, (16, 4), False, True),
    "weighted": (128, 64, 128, (16, 4), False, False),
    "scores_long": (1024, 1024, 64, (1, 12), False, True),
    "weighted_long": (1024, 64, 1024, (1, 12), False, False),
}


def _product(name: str) -> Program:
    m, n, k, lead, tx, ty = SWEEP[name]
    x, y = (k, m) if tx else (m, k), (n, k) if ty else (k, n)

    def product(ops: Any, p: Any, x: Any, y: Any) -> Any:
        return ops.matmul(x, y, tx, ty)

    return Program(product, {"x": Tensor("plain", (*lead, *x)), "y": Tensor("plain", (*lead, *y))})


def _title(name: str) -> str:
    m, n, k, lead, tx, ty = SWEEP[name]
    times = f"{' x '.join(map(str, lead))} of " if lead else ""
    turned = " and ".join(side for side, t in (("left", tx), ("right", ty)) if t)
    return f"{times}{m}x{k} by {k}x{n}" + (f", {turned} transposed" if turned else "")


def _sweep() -> Iterator[Workload]:
    for name in SWEEP:
        yield Workload(
            f"matmul_{name}",
            _title(name),
            _product(name),
            ("torch", "numpy"),
            tolerance=1e-4 if name == "long_sum" else 1e-5,
            group="matrix products",
            quick=name == "512",
        )


WORKLOADS = (
    Workload("matmul", "matrix product, 2048^3", _product("2048"), (*PEERS, "numpy")),
    *_sweep(),
)
