"""How many register tiles of a contraction make a unit of work, and in what order the units come.

A unit is a group of blocks of rows, beside each other, and a run of panels of columns. A run of panels fills half of
the second-level cache and stays there while all groups of blocks pass by: the left operand is read once for each run,
the right one once. Where the left operand stays there itself, a run fills half of the first level instead, unless sums
are short: then results count, which are written to memory best in whole rows. They count more where the third level is
far: there a run fills an eighth of the second. All in pieces small enough to share among threads.

Where sums are long the results of a unit are held while both operands go by, a piece after the other. A large matrix
that few rows meet goes by in whole rows, some pages at a time, as memory is read best: its panels would jump a row of
it at each step.
"""

from __future__ import annotations

from tgc.backends.loops.schedule import Schedule
from tgc.backends.loops.tiled import even

SHARES = 32  # pieces of work to share among threads, at least
PIECE = 128  # register tiles of a piece of work, at most: threads wait for the one that is at the last of them
HELD = 128  # register tiles whose results a thread holds while slower loops over k run
PAGE = 16  # panels of a run where few rows meet a large matrix
RUNS = 1, 4, 8  # of panels, beside the usual one
SHALLOW = 64  # steps of k: products of fewer are as quick as their results are written
FEW_SHARES = 8  # pieces of work then, at least: each reads an operand once more
GATHERED_SHARES = 16  # where each gathers its rows of the left operand


def unit(
    schedule: Schedule, blocks: int, panels: int, outer: int, panel: tuple[int, int], slow: bool, streamed: bool,
    gathered: bool, operands: tuple[int, int], batches: int, caches: tuple[int, int], alone: bool,
) -> tuple[int, int]:  # fmt: skip
    """Blocks of rows and panels of columns of a unit.

    Args:
        schedule: of the kernel, which may choose others.
        blocks, panels: of each of the `outer` products, of which there are `batches` with other left operands.
        panel: its steps of k, of a piece if sums are long (`slow`), and its bytes.
        streamed: whether few rows meet a large matrix.
        gathered: whether a unit gathers its rows of the left operand: as few panels as fill the first level do not pay.
        operands: bytes of both.
        caches: bytes of the one of which a run fills half if the left operand stays, and of the second level.
        alone: whether one thread computes the product, whose right operand stays in its second-level cache.
    """
    (lhs, rhs), (close, l2), (depth, size), choose = operands, caches, panel, schedule.choose
    shares = FEW_SHARES if slow else GATHERED_SHARES if gathered else SHARES
    share = max(1, outer * blocks * panels // shares)
    share = share if slow else min(share, PIECE)
    if slow and streamed:
        most = min(panels, PAGE, HELD // blocks)
        return blocks, choose("run", most, *(n for n in RUNS if n < most))
    held = min(HELD, share) if slow else share
    stays = not slow and not gathered and depth >= SHALLOW and lhs <= batches * l2 // 4
    room = (close if stays else l2) // 2 // max(1, size)
    if alone and not slow:  # nothing to share: each unit would only cost what it takes to begin
        held, room = blocks * panels, panels
    most = max(1, min(panels, held, room))

    def traffic(run: int) -> int:  # bytes of both operands that go by
        return -(-blocks // (held // run)) * rhs + -(-panels // run) * lhs

    run = min(range(1, most + 1), key=traffic) if slow else even(panels, most)
    limit = HELD if slow else panels * blocks
    run = choose("run", run, *(n for n in (run // 2, 2 * run, 4 * run, panels) if 0 < n <= min(panels, limit)))
    group = even(blocks, held // run)
    others = (1, group // 2, 2 * group, 4 * group, blocks)
    return choose("group", group, *(n for n in others if 0 < n <= min(blocks, limit // run))), run


def turns(groups: int, runs: int, rhs: int, l2: int) -> tuple[int, int]:
    """Whether other panels come with each unit (else other blocks of rows), and how many units until all have been.

    The first half of the units is one thread's. Panels that all stay in the second-level cache every thread reads:
    these share the rows, which kernels before and behind this one also share so, and find what they made themselves.
    """
    return (1, runs) if 2 * rhs <= l2 else (0, groups)


__all__ = ["HELD", "PAGE", "SHARES", "turns", "unit"]
