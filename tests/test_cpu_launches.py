"""The launch loop: tiles, parts and threads, and the steering of loops and branches."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from machine import HOST, frame_of, run_script

from tgc.backends.cpu import driver as team
from tgc.backends.cpu.driver import ASLEEP, BRANCH, COPY, FORK, HELPERS, LANE, LOAD, SET, SWAP, Driver, Int64s
from tgc.backends.cpu.loader import Loader
from tgc.errors import BackendError
from tgc.runtime.cache import KernelCache

COUNT = """
def kernel(count: i64[:], part_of: i64[:], lo, hi, part):
    for i in range(lo, hi):
        count[i] += 1
        part_of[i] = part
"""


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 64, 4096])
def test_every_tile_is_run_once(driver: Driver, load: Callable[[str], int], parts: int) -> None:
    kernel = load(COUNT)
    for tiles in (1, 2, 3, 5, 7, 8, 31, 64, 101, 1023, 1025, 4099):
        count, part_of = np.zeros(tiles + 1, np.int64), np.full(tiles, -1, np.int64)
        assert driver.run(frame_of(driver, [(kernel, tiles, parts)], count, part_of)) == 0
        assert (count[:-1] == 1).all()
        assert count[-1] == 0
        used = min(parts, tiles)
        expected = np.repeat(np.arange(used), np.diff([p * tiles // used for p in range(used + 1)]))
        np.testing.assert_array_equal(part_of, expected)


def test_a_launch_without_tiles_is_passed_over(driver: Driver, load: Callable[[str], int]) -> None:
    kernel = load("def kernel(lo, hi, part): return 1")
    assert driver.run(frame_of(driver, [(kernel, 0, 4)] * 3)) == 0
    assert driver.run(frame_of(driver, [])) == 0


def test_arguments_are_bases_and_offsets(driver: Driver, load: Callable[[str], int]) -> None:
    kernel = load("def kernel(x: i32[:], n: i64, y: i32[:], lo, hi, part):\n    x[0] = y[0] + n")
    buffer = np.arange(10, dtype=np.int32)
    bases = np.array([0, buffer.ctypes.data, buffer.ctypes.data + 16], np.int64)
    arguments = np.array([(0, 1 << 40), (1, 8), (0, -100), (2, 4)], np.int64)
    frame = driver.frame(np.array([[kernel, 1, 1, 1, 3]], np.int64), arguments, bases)
    assert driver.run(frame) == 0
    assert buffer.tolist() == [0, 1, 5 - 100, *range(3, 10)]
    other = np.full(10, 7, np.int32)
    bases[1:] = other.ctypes.data, other.ctypes.data + 16  # bases are read at each run
    assert driver.run(frame) == 0
    assert other[2] == 7 - 100


def test_launches_run_in_order_and_in_ranges(driver: Driver, load: Callable[[str], int]) -> None:
    append = load("def kernel(n: i64[:], log: i64[:], value: i64, lo, hi, part):\n    log[n[0]] = value; n[0] += 1")
    n, log = np.zeros(1, np.int64), np.zeros(32, np.int64)
    bases = np.array([0, n.ctypes.data, log.ctypes.data], np.int64)
    arguments = np.array([row for k in range(10) for row in ((1, 0), (2, 0), (0, k))], np.int64)
    launches = np.array([(append, 3 * k, 1, 1, 3) for k in range(10)], np.int64)
    frame = driver.frame(launches, arguments, bases)
    for ranges, expected in (
        ([()], range(10)),
        ([(0, 4), (4, 4), (4, None)], range(10)),
        ([(7, 9), (2, 3)], [7, 8, 2]),
    ):
        n[0] = 0
        assert [driver.run(frame, *r) for r in ranges] == [0] * len(ranges)
        assert log[: n[0]].tolist() == list(expected)


@pytest.mark.parametrize("parts", [1, 6])
def test_a_failure_ends_the_run(driver: Driver, load: Callable[[str], int], parts: int) -> None:
    count = load(COUNT)
    fail = load("def kernel(x: i64[:], y: i64[:], lo, hi, part):\n    if lo <= 4 < hi: return 70\n    return part * 10")
    counts, parts_of = np.zeros(6, np.int64), np.zeros(6, np.int64)
    frame = frame_of(driver, [(count, 6, 1), (count, 6, parts), (fail, 6, parts), (count, 6, 1)], counts, parts_of)
    for _ in range(3):
        counts[:] = 0
        assert driver.run(frame) == 3
        assert frame.failure == 70
        assert (counts == 2).all()


def test_scratch_of_parts_does_not_overlap(driver: Driver, load: Callable[[str], int]) -> None:
    """A reduction in two launches, by way of one partial sum per part: bitwise the same, whoever runs the parts."""
    partial = load("""
        def kernel(x: f32[:], sums: f32[:], out: f32[:], parts: i64, lo, hi, part):
            s = x[0] - x[0]
            for i in range(lo * 64, hi * 64):
                s += x[i]
            sums[part] = s
        """)
    finish = load("""
        def kernel(x: f32[:], sums: f32[:], out: f32[:], parts: i64, lo, hi, part):
            s = x[0] - x[0]
            for p in range(parts):
                s += sums[p]
            out[0] = s
        """)
    x = np.random.default_rng(0).standard_normal(64 * 500, np.float32)
    sums, out = np.zeros(5, np.float32), np.zeros(1, np.float32)
    frame = frame_of(driver, [(partial, 500, 5), (finish, 1, 1)], x, sums, out, 5)
    results = set()
    for _ in range(200):
        assert driver.run(frame) == 0
        results.add(out.tobytes())
    assert len(results) == 1
    np.testing.assert_allclose(out[0], x.sum(dtype=np.float64), rtol=1e-4)


MEET = """
from tgc.backends.cpu.driver import YIELD
from tgc.backends.cpu.launch import address_of, call_yield, load, store

def kernel(flags: i64[:], team: i64, lo, hi, part):
    flag = address_of(flags)
    store(flag, part, 1)
    for turn in range(1 << 24):
        if load(flag, 1 - part) == 1:
            return 0
        call_yield(load(team, YIELD))
    return 1
"""


def meet(driver: Driver, kernel: int) -> int:
    """Run two parts that wait for each other: 0 if two threads ran them at the same time."""
    return driver.run(frame_of(driver, [(kernel, 2, 2)], np.zeros(2, np.int64), driver._team.address))


def test_parts_run_at_the_same_time(driver: Driver, load: Callable[[str], int]) -> None:
    kernel = load(MEET)
    for _ in range(20):
        assert meet(driver, kernel) == 0


def test_sleeping_helpers_are_woken(driver: Driver, load: Callable[[str], int]) -> None:
    kernel = load(MEET)
    for _ in range(3):
        assert meet(driver, kernel) == 0
        while not driver._team._words[HELPERS + ASLEEP]:
            time.sleep(0.001)
    assert meet(driver, kernel) == 0


def test_other_python_threads_go_on(driver: Driver, load: Callable[[str], int]) -> None:
    kernel = load(MEET)
    flags = np.zeros(2, np.int64)

    def answer() -> None:
        while not flags[0]:
            time.sleep(0.001)
        flags[1] = 1

    thread = threading.Thread(target=answer)
    thread.start()
    assert driver.run(frame_of(driver, [(kernel, 1, 1)], flags, driver._team.address)) == 0
    thread.join()


def test_threads_run_frames_at_once(driver: Driver, load: Callable[[str], int]) -> None:
    kernel = load("""
        def kernel(x: i64[:], n: i64, step: i64, lo, hi, part):
            for i in range(lo * n, hi * n):
                x[i] += step
        """)
    wrong: list[object] = []

    def work(step: int) -> None:
        x = np.zeros(3000, np.int64)
        frame = frame_of(driver, [(kernel, 300, 3), (kernel, 300, 1), (kernel, 300, 7)], x, 10, step)
        for run in range(1, 400):
            if driver.run(frame) != 0 or not (x == 3 * step * run).all():
                wrong.append((step, run, x))
                return

    threads = [threading.Thread(target=work, args=(step,)) for step in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_one_thread_starts_none(cache: KernelCache, loader: Loader, load: Callable[[str], int]) -> None:
    before = threading.active_count()
    single = Driver(dataclasses.replace(HOST, threads=1), cache, loader)
    count, part_of = np.zeros(99, np.int64), np.zeros(99, np.int64)
    for _ in range(5):
        assert single.run(frame_of(single, [(load(COUNT), 99, 8)], count, part_of)) == 0
    assert (count == 5).all()
    assert part_of.max() == 7
    assert threading.active_count() == before


def test_the_helpers_end_with_their_driver(cache: KernelCache, loader: Loader, load: Callable[[str], int]) -> None:
    other = Driver(dataclasses.replace(HOST, threads=4), cache, loader)
    assert meet(other, load(MEET)) == 0
    members = list(other._team._members)
    assert [member.is_alive() for member in members] == [True] * 3
    del other
    for member in members:
        member.join(10)
    assert not any(member.is_alive() for member in members)


def test_a_forked_child_leaves_the_launch_that_its_parent_was_in(
    cache: KernelCache, loader: Loader, load: Callable[[str], int]
) -> None:
    driver = Driver(dataclasses.replace(HOST, threads=2), cache, loader)
    count, part_of = np.zeros(2, np.int64), np.zeros(2, np.int64)
    arguments = np.array([count.ctypes.data, part_of.ctypes.data], np.int64)
    words = driver._team._words  # as at a fork in the middle of a launch, no part of which has been taken
    words[[team.TICKET, team.KERNEL, team.ARGUMENTS]] = 5, load(COUNT), arguments.ctypes.data
    words[[team.TILES, team.PARTS, team.THREADS]] = 2
    words[words[team.CLAIMS] : words[team.CLAIMS] + 2] = 5
    driver._team.forget()
    driver._team.start()
    while not words[HELPERS + ASLEEP]:
        time.sleep(0.001)
    assert count.tolist() == [0, 0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_has_threads_of_its_own(cache: KernelCache, driver: Driver, load: Callable[[str], int]) -> None:
    load(MEET)
    load(COUNT)
    run_script(f"""
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on fork with threads: what this is about
        MEET, COUNT = {MEET!r}, {COUNT!r}
        cache = KernelCache(Path({str(cache.root)!r}))
        driver = Driver(dataclasses.replace(HOST, threads=3), cache, loader := Loader())
        meet, count = load_kernels([(MEET, "kernel"), (COUNT, "kernel")], HOST, cache, loader)
        flags, counts, part_of = np.zeros(2, np.int64), np.zeros(1001, np.int64), np.zeros(1001, np.int64)
        meeting = frame_of(driver, [(meet, 2, 2)], flags, driver._team.address)
        counting = frame_of(driver, [(count, 1001, 3)] * 50, counts, part_of)

        def check():
            for _ in range(5):
                flags[:] = counts[:] = 0
                assert driver.run(counting) == 0 and (counts == 50).all()
                assert driver.run(meeting) == 0
                time.sleep(0.005)

        def in_child(sleep):
            time.sleep(sleep)  # forks while the helpers sleep, and while they wait for work
            pid = os.fork()
            if pid == 0:
                check()
                sys.stdout.flush()
                os._exit(7 if threading.active_count() == 3 else 8)
            return pid

        check()
        busy = True
        def others():  # another thread leads launches while this one forks
            mine = frame_of(driver, [(count, 1001, 3)] * 50, np.zeros(1001, np.int64), np.zeros(1001, np.int64))
            while busy:
                assert driver.run(mine) == 0
        thread = threading.Thread(target=others)
        thread.start()
        children = [in_child(sleep) for sleep in (0, 0.01, 0, 0)]
        busy = False
        thread.join()
        check()
        children += [in_child(sleep) for sleep in (0, 0.05)]
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [7] * 6
        check()
        """)


# --- steering --------------------------------------------------------------------------------------------------------


def test_rows_between_launches_make_loops_and_branches(driver: Driver, load: Callable[[str], int]) -> None:
    """Adds the numbers of a table up to the first negative one, its pointer moved on, two sums exchanged each time."""
    accumulate = load("def kernel(x: i64[:], old: i64[:], new: i64[:], lo, hi, part):\n    new[0] = old[0] + x[0]")
    table = np.array([3, 1, 4, 1, 5, -9, 2], np.int64)
    sums, small = np.zeros(2, np.int64), np.array([-3, 0, 0, 0, 0, 0, 0, 0], np.int8)
    data = [a.ctypes.data for a in (table, sums, small)]
    arguments = np.array([(4, 0), (5, 0), (6, 0), (3, 1), (1, 0), (3, 0), (3, 0)], np.int64)
    launches = [
        (SET, 4, 1, 0, 0),  # a word that moves over the table
        (SET, 5, 2, 0, 0),  # two sums, of which each step reads one and writes the other
        (SET, 6, 2, 8, 0),
        (LOAD, 7, 0, 8, 0),  # row 3: until the number is negative
        (BRANCH, 7, 0, 9, 0),
        (accumulate, 0, 1, 1, 3),
        (SWAP, 5, 6, 0, 0),
        (SET, 4, 4, 8, 0),
        (BRANCH, 0, 1, 3, 0),
        (COPY, 3, 7, 0, 0),  # row 9: the first bytes of the table, behind the first of the small numbers
        (LOAD, 8, 5, 1, 0),
        (LOAD, 9, 6, 4, 0),
    ]
    bases = np.array([0, *data, *[0] * 6], np.int64)
    frame = driver.frame(np.array(launches, np.int64), arguments, bases)
    for _ in range(2):
        sums[:] = 0
        assert driver.run(frame) == 0
        assert bases[5] == data[1] + 8  # five exchanges
        assert max(sums) == 14
        assert small.tolist() == [-3, 3, 0, 0, 0, 0, 0, 0]
        assert bases[7] == -9
        assert bases[8] == -3
        assert bases[9] == np.array([-3, 3, 0, 0], np.int8).view(np.int32)[0]


def test_a_launch_of_a_loop_that_fails_is_named(driver: Driver, load: Callable[[str], int]) -> None:
    kernel = load("def kernel(n: i64[:], lo, hi, part):\n    n[0] += 1\n    return 7 if n[0] == 5 else 0")
    n = np.zeros(1, np.int64)
    rows = [(SET, 2, 2, 1, 0), (kernel, 0, 1, 1, 1), (BRANCH, 2, 100, 0, 0)]
    bases = np.array([0, n.ctypes.data, 0], np.int64)
    frame = driver.frame(np.array(rows, np.int64), np.array([(1, 0)], np.int64), bases)
    assert driver.run(frame) == 2
    assert (frame.failure, int(n[0])) == (7, 5)


def test_a_parallel_launch_runs_again_with_new_arguments(driver: Driver, load: Callable[[str], int]) -> None:
    """Helpers of one run of a row never see the arguments of the next."""
    kernel = load("def kernel(x: i64[:], lo, hi, part):\n    for i in range(lo, hi): x[i] += 1")
    steps, parts = 2000, 6
    x = np.zeros((steps, 8 * parts), np.int64)
    rows = [
        (SET, 2, 1, 0, 0),
        (SET, 3, 0, 0, 0),
        (kernel, 0, 8 * parts, parts, 1),
        (SET, 2, 2, x.strides[0], 0),
        (SET, 3, 3, 1, 0),
        (BRANCH, 3, steps, 2, 0),
    ]
    bases = np.array([0, x.ctypes.data, 0, 0], np.int64)
    frame = driver.frame(np.array(rows, np.int64), np.array([(2, 0)], np.int64), bases)
    for turn in range(1, 6):
        assert driver.run(frame) == 0
        np.testing.assert_array_equal(x, turn)


BASES, ARGUMENTS = np.array([0, 64], np.int64), np.array([[0, 5], [1, 0]], np.int64)


@pytest.mark.parametrize(
    ("launches", "arguments", "bases", "message"),
    [
        (np.zeros((1, 4), np.int64), ARGUMENTS, BASES, r"launches must be int64 with rows of shape \(5,\)"),
        (np.zeros((1, 5), np.int32), ARGUMENTS, BASES, "launches must be int64"),
        (np.zeros((2, 10), np.int64)[:, ::2], ARGUMENTS, BASES, "launches must be contiguous"),
        ([(64, 0, 1, 1, 0), (0, 0, 1, 1, 0)], ARGUMENTS, BASES, "an address of a kernel is 0, in row 1"),
        ([(64, 3, 1, 1, 0)], ARGUMENTS, BASES, "an index of a first argument is 3, in row 0: .* at most 2"),
        ([(64, 0, -1, 1, 0)], ARGUMENTS, BASES, "a number of tiles is -1"),
        ([(64, 0, 1, 0, 0)], ARGUMENTS, BASES, "a number of parts is 0"),
        ([(64, 0, 1, 4097, 0)], ARGUMENTS, BASES, "a number of parts is 4097, in row 0: .* at most 4096"),
        ([(64, 1, 1, 1, 2)], ARGUMENTS, BASES, "an end of arguments is 3, in row 0: .* at most 2"),
        ([(64, 0, 1, 1, 0)], np.array([[0, 5], [2, 0]]), BASES, "a base is 2, in row 1"),
        ([(SET, 0, 0, 0, 0)], ARGUMENTS, BASES, "a word is 0, in row 0"),
        ([(64, 0, 1, 1, 0), (SET, 1, 2, 0, 0)], ARGUMENTS, BASES, "a base is 2, in row 1"),
        ([(SWAP, 1, 2, 0, 0)], ARGUMENTS, BASES, "a word is 2, in row 0"),
        ([(COPY, 1, 8, 0, 0)], ARGUMENTS, BASES, "an index of two arguments is 1, in row 0"),
        ([(COPY, 0, -8, 0, 0)], ARGUMENTS, BASES, "a number of bytes is -8"),
        ([(LOAD, 1, 2, 8, 0)], ARGUMENTS, BASES, "an argument is 2, in row 0"),
        ([(BRANCH, 1, 2, 2, 0)], ARGUMENTS, BASES, "a row is 2, in row 0: .* at most 1"),
        ([(FORK, 0, 0, 0, 0)], ARGUMENTS, BASES, "a number of lanes is 0"),
        ([(LANE, 0, 2, 0, 0)], ARGUMENTS, BASES, "a row is 2, in row 0: .* at most 1"),
        ([(64, 0, 1, 1, 0)], ARGUMENTS, np.array([64, 64]), r"bases\[0\] is 64"),
        ([(64, 0, 1, 1, 0)], ARGUMENTS, np.array([[0, 64]]), "bases must be int64"),
    ],
)
def test_tables_are_checked(driver: Driver, launches: object, arguments: Int64s, bases: Int64s, message: str) -> None:
    table = launches if isinstance(launches, np.ndarray) else np.array(launches, np.int64)
    with pytest.raises(BackendError, match=message):
        driver.frame(table, arguments, bases)


def lanes_of(kernel: int, steps: int, other: int) -> tuple[Int64s, Int64s]:
    """Rows of two lanes, each of which counts in a word of its own; the second one calls another kernel."""
    rows = [(FORK, 2, 0, 0, 0), (LANE, 3, 7, 0, 0), (LANE, 7, 11, 0, 0)]
    for lane, address in enumerate((kernel, other)):
        word, top = 3 + 8 * lane, 4 + 4 * lane
        rows += [
            (SET, word, 0, 0, 0),
            (address, 8 * lane, 4, 4, 1),
            (SET, word, word, 1, 0),
            (BRANCH, word, steps, top, 0),
        ]
    rows.append((kernel, 16, 1, 1, 1))
    arguments = np.zeros((17, 2), np.int64)
    arguments[[0, 8, 16]] = [(1, 0), (1, 64), (1, 128)]
    return np.array(rows, np.int64), arguments


@pytest.mark.parametrize("first", [0, 1])  # a row to begin with: behind the fork, lanes run one after the other
def test_lanes_run_side_by_side(driver: Driver, load: Callable[[str], int], first: int) -> None:
    kernel = load("def kernel(x: i64[:], lo, hi, part):\n    x[0] = x[0] + hi - lo")
    x, steps = np.zeros(24, np.int64), 1000
    rows, arguments = lanes_of(kernel, steps, kernel)
    frame = driver.frame(rows, arguments, np.array([0, x.ctypes.data, *[0] * 20], np.int64))
    for turn in range(1, 4):
        assert driver.run(frame, first) == 0
        assert x[[0, 8, 16]].tolist() == [4 * steps * turn, 4 * steps * turn, turn]


def test_a_lane_that_fails_ends_the_run(driver: Driver, load: Callable[[str], int]) -> None:
    good = load("def kernel(x: i64[:], lo, hi, part):\n    x[0] += 1")
    bad = load("def kernel(x: i64[:], lo, hi, part):\n    x[0] += 1\n    return 7 if x[0] == 20 else 0")
    x = np.zeros(24, np.int64)
    rows, arguments = lanes_of(good, 100, bad)
    frame = driver.frame(rows, arguments, np.array([0, x.ctypes.data, *[0] * 20], np.int64))
    assert driver.run(frame) == 9
    assert frame.failure == 7
    assert x[[0, 8, 16]].tolist() == [400, 20, 0]  # the other lane comes to its end
