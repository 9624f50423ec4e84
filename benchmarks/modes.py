"""How long rows are measured, and about how long that takes in all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks import harness, startup
from benchmarks.timing import WARMING
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
    harness.Settings(rounds=5, seconds=0.3, choice=0.15),
    harness.Settings(rounds=3, seconds=0.12, choice=0.06),
    startup.Settings(colds=3, warms=4, rounds=7, seconds=0.3),
)
QUICK = Mode(
    harness.Settings(rounds=3, seconds=0.06, choice=0.04),
    harness.Settings(rounds=3, seconds=0.06, choice=0.04),
    startup.Settings(colds=1, warms=2, rounds=3, seconds=0.05),
)

# For estimates, on two cores. Seconds until an implementation is ready to be timed, by whether a program has gradients:
READY = {
    "tgc": (0.7, 2.5),
    "torch": (0.5, 3.0),
    "torch.compile": (3.0, 14.0),
    "jax": (1.0, 7.0),
    "tensorflow": (3.0, 14.0),
    "onnxruntime": (5.0, 0.0),  # half an export, which workers share
    "openvino": (1.0, 0.0),
    "numpy": (0.2, 0.0),
}
SWEEP = 0.4  # the same for a row of a sweep, for any of them
CALL = {
    "resnet18_train": 0.9,
    "transformer_train": 0.35,
    "lstm_lm_train": 0.2,
    "matmul_4096": 0.7,
    "matmul_3072": 0.3,
}  # of slow rows
CHECKED = 8  # calls of a program that trains, before it is timed: steps that are compared, variants that are tried
START, COLD, WARM, NEW_BATCH = 3.0, 5.0, 0.8, 1.5  # of a worker; a cold and a warm start, one with a new batch size


def estimate(rows: Sequence[Workload], names: Sequence[str], threads: int, mode: Mode, *, starts: bool) -> float:
    """Seconds that implementations of those names need for the rows, each with so many numbers of threads."""
    team = [name for name in names if any(name in w.implementations for w in rows)]
    seconds = START * threads * len(team)
    for w in rows:
        settings, call = mode.of(w), CALL.get(w.name, 0.0)
        turn = harness.SETTLE + max(settings.seconds, call) + max(WARMING * settings.seconds, call)
        for name in team:
            if name in w.implementations:
                ready = READY[name][w.work != "calls"] if w.group == PROGRAMS else SWEEP
                checked = CHECKED * call if w.trains else 2 * call
                seconds += threads * (ready + checked + settings.choice + settings.rounds * turn)
    if starts:
        seconds += mode.startup.colds * (COLD + mode.startup.warms * WARM + NEW_BATCH) + 5
    return seconds
