"""A compiled graph as data: the rows of the launch loop, and all that is known of them. It can be kept and read again.

graph --planning--> Plan --addresses of its kernels--> CpuProgram
                    Plan <--> bytes in the cache
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import safetensors.numpy

from tgc.backends.cpu.driver import STEERING, Int64s
from tgc.runtime.address import aligned
from tgc.types import ALIGNMENT, BY_SHORT_NAME, SHORT_NAMES, TensorType

ZERO, ARENA = 0, 1  # bases

Kernels = tuple[tuple[str, str], ...]  # cache key and symbol of each


def laid_out(arena: int, moved: Mapping[int, int]) -> tuple[dict[int, int], int]:
    """Where results that are moved at the end lie behind an arena, and the bytes of all, aligned anywhere.

    Args:
        arena: its bytes.
        moved: the bytes of each.
    """
    places: dict[int, int] = {}
    end = arena
    for k, size in sorted(moved.items()):
        places[k] = -(-end // ALIGNMENT) * ALIGNMENT
        end = places[k] + size
    return places, end + ALIGNMENT


@dataclass(frozen=True, slots=True)
class Fact:
    """What errors and profiles tell of a launch.

    Attributes:
        node: a number of the fused node that it belongs to; some nodes have several launches.
        kernel, kind, loc: the kernel's name, the kind of its region, the user's lines.
        operands: types of the node's operands.
        checked: whether it may report an index out of range.
        again: whether the node runs a second time because its results were not kept.
        flops, bytes, itemsize: the node's work (`tgc.ops.work`), bytes of its widest float.
    """

    node: int
    kernel: str
    kind: str
    loc: tuple[str, ...]
    operands: str
    checked: bool
    again: bool
    flops: int
    bytes: int
    itemsize: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything of a program but the addresses of its kernels.

    Attributes:
        name: of the graph.
        kernels: where the machine code of the kernels is kept.
        rows: the launches of a frame (`Driver`), with `STEERING` + number of the kernel for its address. Callbacks are
            numbered behind the kernels.
        arguments: of the frame.
        facts: of the launches; `owners` has for each row the index of its own, -1 for rows that steer.
        words: bases of the frame.
        arena: bytes.
        inputs: how many there are; their bases begin at 2, those of results behind them.
        constants: base -> array as it lies in memory.
        results: their types.
        donations: result -> the input in whose memory it is returned; `moved` are those computed elsewhere before.
        largest: which value takes most memory, in words.
    """

    name: str
    kernels: Kernels
    rows: Int64s
    arguments: Int64s
    owners: Int64s
    facts: tuple[Fact, ...]
    words: int
    arena: int
    inputs: int
    constants: Mapping[int, np.ndarray]
    results: tuple[TensorType, ...]
    donations: Mapping[int, int]
    moved: frozenset[int]
    largest: str

    @property
    def fresh(self) -> list[tuple[int, TensorType]]:
        """Results that a call returns in new arrays."""
        return [(k, t) for k, t in enumerate(self.results) if k not in self.donations]

    @property
    def nbytes(self) -> int:
        """Of its constants and tables."""
        return sum(a.nbytes for a in (self.rows, self.arguments, self.owners, *self.constants.values()))

    def launches(self, addresses: Sequence[int]) -> Int64s:
        """The rows with the addresses of kernels and callbacks."""
        rows = self.rows.copy()
        launching = rows[:, 0] >= STEERING
        rows[launching, 0] = np.array(addresses, np.int64)[rows[launching, 0] - STEERING]
        return rows

    def to_bytes(self) -> bytes:
        """The plan as a file of safetensors: tables, the constants' bytes, and JSON for the rest."""
        rest = {
            "name": self.name,
            "kernels": self.kernels,
            "facts": [asdict(f) for f in self.facts],
            "words": self.words,
            "arena": self.arena,
            "inputs": self.inputs,
            "results": [(SHORT_NAMES[t.dtype], t.shape) for t in self.results],
            "donations": list(self.donations.items()),
            "moved": list(self.moved),
            "largest": self.largest,
        }
        arrays = {"rows": self.rows, "arguments": self.arguments, "owners": self.owners}
        arrays |= {str(base): np.frombuffer(c, np.uint8) for base, c in self.constants.items()}
        arrays["rest"] = np.frombuffer(json.dumps(rest).encode(), np.uint8)
        return safetensors.numpy.save(arrays)

    @staticmethod
    def of_bytes(data: bytes) -> Plan:
        """What `to_bytes` made."""
        arrays = safetensors.numpy.load(data)
        rest = json.loads(arrays.pop("rest").tobytes())
        tables = {name: arrays.pop(name) for name in ("rows", "arguments", "owners")}
        return Plan(
            **tables,
            name=rest["name"],
            kernels=tuple((key, symbol) for key, symbol in rest["kernels"]),
            facts=tuple(Fact(**{**f, "loc": tuple(f["loc"])}) for f in rest["facts"]),
            words=rest["words"],
            arena=rest["arena"],
            inputs=rest["inputs"],
            constants={int(base): aligned(a, ALIGNMENT) for base, a in arrays.items()},
            results=tuple(TensorType(BY_SHORT_NAME[d], tuple(shape)) for d, shape in rest["results"]),
            donations=dict(rest["donations"]),
            moved=frozenset(rest["moved"]),
            largest=rest["largest"],
        )
