"""Decisions of a lowering that a measurement may overrule.

A template takes a decision by `Schedule.choose`: its name, the value that is usual here, and the others that are legal.
Results differ by rounding at most, whatever is chosen. What a lowering has decided is noted, so that lowering a region
once tells what can be chosen for it. As text, an attribute of its node: `vectors=2,rows=6`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tgc.errors import BackendError

PARTS = (1, 4, 16, 64)  # of a launch, beside 0: as many as are usual for its work


@dataclass(frozen=True)
class Choice:
    """A decision: the value that was taken, and all that can be, the usual one first."""

    value: int
    values: tuple[int, ...]


class Schedule:
    """The decisions of one lowering.

    Args:
        chosen: values by the names of decisions; the others are as usual.

    Attributes:
        choices: the decisions that were taken, by name, in order. Which values there are for one may depend on those
            taken before it.
    """

    def __init__(self, chosen: Mapping[str, int] = MappingProxyType({})) -> None:
        self.chosen = dict(chosen)
        self.choices: dict[str, Choice] = {}

    @staticmethod
    def parse(text: str) -> Schedule:
        """The schedule of which `text` is the form.

        Raises:
            BackendError: it is none.
        """
        if not re.fullmatch(r"(\w+=\d{1,9}(,\w+=\d{1,9})*)?", text, re.ASCII):
            raise BackendError(f"{text!r} is no schedule, such as rows=6,run=4")
        return Schedule({name: int(value) for name, value in (pair.split("=") for pair in text.split(",") if text)})

    def __str__(self) -> str:
        return ",".join(f"{name}={value}" for name, value in self.chosen.items())

    def choose(self, name: str, usual: int, *others: int) -> int:
        """The value of a decision.

        Raises:
            BackendError: what was chosen is neither the usual value nor one of the others.
        """
        values = tuple(dict.fromkeys((usual, *others)))
        value = self.chosen.get(name, usual)
        if value not in values:
            raise BackendError(f"{name} of this region can be {', '.join(map(str, values))}, not {value}")
        self.choices[name] = Choice(value, values)
        return value

    def others(self, name: str) -> list[Schedule]:
        """Schedules that differ in this decision from what was taken."""
        taken = self.choices[name]
        return [Schedule({**self.chosen, name: value}) for value in taken.values if value != taken.value]

    def check(self) -> None:
        """To be called when all decisions are taken.

        Raises:
            BackendError: something was chosen that the lowering did not ask for.
        """
        if unknown := self.chosen.keys() - self.choices.keys():
            raise BackendError(f"nothing of this region is called {', '.join(sorted(unknown))}")
