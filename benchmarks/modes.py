"""How long rows are measured, and about how long that takes in all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks import harness, startup
from benchmarks.workloads.base import PROGRAMS, Workload


class Mode(NamedTuple):
    """Settings for the rows of programs, for those of sweeps and for the figures of starts."""

    programs: harness.Settings
    sweeps: harness.Settings
    startup: startup.Settings

    def of(self, workload: Workload) -> harness.Settings:
        """Those of a workload."""
        return self.programs if workload.group == PROGRAMS else self.sweeps


FULL = Mode(
    harness.Settings(rounds=5, seconds=0.4, choice=0.2),
    harness.Settings(rounds=3, seconds=0.12, choice=0.06),
    startup.Settings(colds=3, warms=4, rounds=7, seconds=0.3),
)
QUICK = Mode(
    harness.Settings(rounds=3, seconds=0.06, choice=0.04),
    harness.Settings(rounds=3, seconds=0.06, choice=0.04),
    startup.Settings(colds=1, warms=2, rounds=3, seconds=0.05),
)

# For estimates: seconds until an implementation is ready to be timed, of a program that is called and one that trains.
READY = {
    "tgc": (1.0, 4.0),
    "torch": (0.5, 3.0),
    "torch.compile": (8.0, 25.0),
    "jax": (1.5, 8.0),
    "tensorflow": (2.0, 10.0),
    "onnxruntime": (6.0, 0.0),  # the export
    "openvino": (1.0, 0.0),
    "numpy": (0.3, 0.0),
}
CALL = {"resnet18_train": 0.8, "transformer_train": 0.35, "matmul_4096": 0.7, "matmul_3072": 0.3}  # of slow rows
START, COLD, WARM = 3.0, 5.0, 0.8  # of a worker; a cold and a warm start


def estimate(rows: Sequence[Workload], names: Sequence[str], threads: int, mode: Mode, *, starts: bool) -> float:
    """Seconds that implementations of those names need for the rows, each with so many numbers of threads."""
    team = [name for name in names if any(name in w.implementations for w in rows)]
    seconds = START * threads * len(team)
    for w in rows:
        settings, call = mode.of(w), CALL.get(w.name, 0.0)
        turn = harness.SETTLE + max(settings.seconds, call) + max(0.2 * settings.seconds, call)
        sweep = w.group != PROGRAMS
        ready = (READY[name][w.trains] * (0.3 if sweep else 1) for name in team if name in w.implementations)
        seconds += threads * sum(r + (settings.rounds + 1) * turn for r in ready)
    if starts:
        seconds += mode.startup.colds * (COLD + mode.startup.warms * WARM) + 5
    return seconds
