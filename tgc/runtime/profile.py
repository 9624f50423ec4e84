"""Where the time of a call goes: a row per kernel, beside what the machine allows (its roofline).

Work is counted on the graph (`tgc.ops.work`).

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model" (2009).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tgc.ir import Node
from tgc.types import is_float


@dataclass(frozen=True)
class Roofline:
    """What the machine can do with all threads of a program, as it was measured.

    Attributes:
        flops: float32 multiply-adds in registers, counted as two FLOPs each, per second; float64 has half of it.
        bandwidth: bytes per second, read and written, of an elementwise kernel on arrays beyond all caches.
    """

    flops: float
    bandwidth: float

    def seconds(self, flops: float, bytes: float, itemsize: int = 4) -> float:
        """The least time for work on floats of `itemsize` bytes."""
        return max(flops * max(itemsize, 4) / 4 / self.flops, bytes / self.bandwidth)


@dataclass(frozen=True)
class Row:
    """What one node of the planned graph took in a call.

    Attributes:
        name: of its kernel.
        kind: of its region: map, reduce, contraction, ...; `copy`, or `call` for what is no kernel's.
        launches: of kernels in the call, more than one in a loop or where a node has several.
        seconds: of all launches.
        flops, bytes: of all launches, as the module says. Opaque regions and calls have no known FLOPs.
        limit: seconds that the roofline allows.
        loc: the user's lines.
    """

    name: str
    kind: str
    launches: int
    seconds: float
    flops: int
    bytes: int
    limit: float
    loc: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Of the roofline: 1 is as quick as the machine can be; more is possible where data come from caches."""
        return self.limit / self.seconds if self.seconds > 0 else math.nan


@dataclass(frozen=True)
class Profile:
    """The rows of a call in the order of execution; as a string, a table, the longest first.

    Attributes:
        rows: medians over some calls that ran kernel by kernel.
        wall: seconds of a call, the median over as many that ran as usual, in turns with the others.
        roofline: of the machine.
    """

    rows: tuple[Row, ...]
    wall: float
    roofline: Roofline

    @property
    def explained(self) -> float:
        """The part of `wall` that the rows sum up to; more than 1 where kernels are quicker without a stop between."""
        return sum(row.seconds for row in self.rows) / self.wall

    def as_dicts(self) -> list[dict[str, Any]]:
        """The rows as data, each with its share."""
        return [{**asdict(row), "share": row.share} for row in self.rows]

    def __str__(self) -> str:
        heading = ("us", "% of call", "launches", "MFLOP", "GFLOP/s", "MB", "GB/s", "% of limit", "kernel")
        lines = [heading]
        for row in sorted(self.rows, key=lambda row: -row.seconds):
            s = max(row.seconds, 1e-12)
            work = (f"{row.flops / 1e6:.3f}", f"{row.flops / s / 1e9:.1f}") if row.flops else ("", "")
            data = (f"{row.bytes / 1e6:.3f}", f"{row.bytes / s / 1e9:.1f}") if row.bytes else ("", "")
            share = f"{100 * row.share:.0f}" if row.limit else ""
            where = f"  # {', '.join(row.loc[:2])}{', ...' * (len(row.loc) > 2)}" if row.loc else ""
            part = f"{100 * row.seconds / self.wall:.1f}"
            lines.append((f"{s * 1e6:.1f}", part, str(row.launches), *work, *data, share, row.name + where))
        widths = [max(len(line[k]) for line in lines) for k in range(len(heading) - 1)]
        table = ["  ".join([*(c.rjust(w) for c, w in zip(line, widths, strict=False)), line[-1]]) for line in lines]
        table.append(
            f"a call takes {self.wall * 1e6:.1f} us, of which the rows explain {100 * self.explained:.1f} %; "
            f"the limit is {self.roofline.flops / 1e9:.0f} GFLOP/s (float32) "
            f"and {self.roofline.bandwidth / 1e9:.1f} GB/s"
        )
        return "\n".join(table)

    __repr__ = __str__


def itemsize(node: Node) -> int:
    """Bytes of the widest float that a node reads or writes."""
    types: Sequence[Any] = [v.type.dtype for v in (*node.operands, *node.results)]
    return max((t.itemsize for t in types if is_float(t)), default=4)


__all__ = ["Profile", "Roofline", "Row", "itemsize"]
