"""Programs of one function for arguments that differ in sizes alone.

The first call is compiled for its sizes. A later call of other sizes gets a program in which those that have differed
from call to call are symbols (`tgc.sizes`). It is traced and lowered once and then serves all calls for which its
guards hold, each size by an instance: tables of plain numbers. Axes that had equal sizes in all calls share a symbol.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from tgc.sizes import LEAST, Symbols

T = TypeVar("T")
Sizes: TypeAlias = tuple[int, ...]  # those of all axes of all arguments, in order


class RecompilationWarning(UserWarning):
    """A function is compiled for each size of its arguments, because it cannot be traced with symbols for them."""


@dataclass(frozen=True)
class Dynamic(Generic[T]):
    """A program whose sizes are symbols.

    Attributes:
        instance: the program for values of the symbols for which the guards hold.
        fixed: axes of one size, with it.
        first: for each symbol the first axis that has it.
        same: other axes that have a symbol, with its number.
        holds: whether the guards hold for values of the symbols.
    """

    instance: Callable[[Sequence[int]], T]
    fixed: tuple[tuple[int, int], ...]
    first: tuple[int, ...]
    same: tuple[tuple[int, int], ...]
    holds: Callable[..., bool]

    def bind(self, sizes: Sizes) -> list[int] | None:
        """The values of the symbols in a call; None if the program does not serve it."""
        values = [sizes[axis] for axis in self.first]
        fits = (
            min(values) >= LEAST
            and all(sizes[axis] == n for axis, n in self.fixed)
            and all(sizes[axis] == values[k] for axis, k in self.same)
        )
        return values if fits and self.holds(*values) else None


class Family(Generic[T]):
    """What is known of the sizes of a function's arguments, and the programs that serve many of them."""

    def __init__(self) -> None:
        self.programs: list[Dynamic[T]] = []
        self._last: Sizes | None = None
        self._kind: list[int] = []  # of each axis: those of a kind had equal sizes in all calls
        self._varies: set[int] = set()
        self._plain: set[int] = set()  # axes whose sizes are needed as plain numbers
        self._pinned: set[int] = set()  # those that the last program pinned, maybe as their sizes equal others

    def find(self, sizes: Sizes) -> T | None:
        """An instance of the first program that serves a call of such sizes."""
        for program in self.programs:
            if (values := program.bind(sizes)) is not None:
                return program.instance(values)
        return None

    def learn(self, sizes: Sizes) -> None:
        """Note the sizes of a call."""
        if self._last is None:
            self._kind = [0] * len(sizes)
        else:
            self._varies |= {axis for axis, (m, n) in enumerate(zip(self._last, sizes, strict=True)) if m != n}
        kinds: dict[tuple[int, int], int] = {}
        self._kind = [kinds.setdefault(both, len(kinds)) for both in zip(self._kind, sizes, strict=True)]
        self._last = sizes

    def symbols(self, sizes: Sizes) -> tuple[Symbols, Sizes]:
        """New symbols, and the sizes of a call with symbols for those that have differed from call to call."""
        symbols, of_kind, found = Symbols(), {}, []
        for axis, (kind, n) in enumerate(zip(self._kind, sizes, strict=True)):
            if axis not in self._varies or axis in self._plain or n < LEAST:
                found.append(n)
                continue
            if kind not in of_kind:
                of_kind[kind] = symbols.new(n)
            found.append(of_kind[kind])
        return symbols, tuple(found)

    def add(self, instance: Callable[[Sequence[int]], T], symbols: Symbols, sizes: Sizes) -> None:
        """Keep a program for sizes that `symbols` gave; it serves calls from now on."""
        symbols.close()
        number: dict[int, int] = {}  # of the symbol, by what it is at hand as
        first: list[int] = []
        fixed, same = [], []
        for axis, n in enumerate(sizes):
            if type(n) is int:
                fixed.append((axis, n))
            elif id(n) in number:
                same.append((axis, number[id(n)]))
            else:
                number[id(n)] = len(first)
                first.append(axis)
        program = Dynamic(instance, tuple(fixed), tuple(first), tuple(same), symbols.checker())
        self.programs.append(program)
        alone = symbols.pinned
        pinned = {axis for k, axis in [*enumerate(first), *((k, axis) for axis, k in same)] if alone[k]}
        self._plain |= self._pinned & pinned
        self._pinned = pinned

    def give_up(self) -> None:
        """Make no more such programs: the function cannot be traced with symbols."""
        self._plain |= set(range(len(self._kind)))
