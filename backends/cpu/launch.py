"""The native half of `driver.py`: walking a list of launches, alone or with a team of helper threads.

Between the launches there may be rows that steer: they set words among the bases, copy memory and branch, so that loops
and branches of a program stay in native code. The arguments of a launch are resolved right before it.

This file is a kernel source (see `compile.py`) with three kernels. `run` is entered once per call of a program;
`helper` is where each helper thread lives. They meet in the words of the team, an int64 array whose address is `team`.
`lane` runs rows that do not meet those of other lanes: to the team it is a launch like any other, of a part for each.

A parallel launch is published by the thread that leads it: it opens one claim per part by writing the number of the
launch there, then makes that number the team's TICKET. Every thread that sees the ticket takes open claims, by atomic
exchange, and runs their parts, starting with the part that would be its own if all threads took one. The leader takes
part, so that a launch ends even if no helper ever comes: helpers make launches faster, they are never waited for
unless they hold a claim. Which thread runs a part has no influence on the result.

A helper may read the description of a launch while the next one is written, but then the claims that it tries to take
are no longer open for the launch it saw: a row that runs again gets another ticket. Nor does a kernel read arguments
that are being resolved for a later launch, since none begins before all claimed parts of this one have ended. A team
led by one thread is busy: a second leader runs its parts itself.
"""

from __future__ import annotations

import platform

from llvmlite import ir
from numba import int64 as i64
from numba import njit, types
from numba.extending import intrinsic

from tgc.backends.cpu.driver import (
    ACQUIRE,
    ARGUMENTS,
    ASLEEP,
    BRANCH,
    BUSY,
    CLAIMS,
    COPY,
    DONE,
    FORK,
    HELPER_WORDS,
    HELPERS,
    KERNEL,
    LAUNCH_WORDS,
    LOAD,
    LOCK,
    PARTS,
    PATIENCE,
    PRESENT,
    RELEASE,
    ROW,
    SET,
    SPINS,
    STATUS,
    STEERING,
    STOP,
    SWAP,
    THREADS,
    TICKET,
    TILES,
    YIELD,
)

# mypy: ignore-errors

_WORD, _INT = ir.IntType(64), ir.IntType(32)
_KERNEL = ir.FunctionType(_WORD, [_WORD] * 4).as_pointer()


def _word(builder, team, index):
    return builder.inttoptr(builder.add(team, builder.mul(index, _WORD(8))), _WORD.as_pointer())


@intrinsic
def load(typing_context, team, index):
    """The word at `index`; nothing that follows is read before it."""

    def codegen(context, builder, signature, arguments):
        return builder.load_atomic(_word(builder, *arguments), "seq_cst", 8)

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def store(typing_context, team, index, value):
    """Set the word at `index`, after all that precedes."""

    def codegen(context, builder, signature, arguments):
        team, index, value = arguments
        builder.store_atomic(value, _word(builder, team, index), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@intrinsic
def prepare(typing_context, team, index, value):
    """Set the word at `index` before the `store` that follows."""

    def codegen(context, builder, signature, arguments):
        team, index, value = arguments
        builder.store_atomic(value, _word(builder, team, index), "monotonic", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@intrinsic
def add(typing_context, team, index, value):
    """Add to the word at `index`; its value before."""

    def codegen(context, builder, signature, arguments):
        team, index, value = arguments
        return builder.atomic_rmw("add", _word(builder, team, index), value, "seq_cst")

    return types.int64(types.int64, types.int64, types.int64), codegen


@intrinsic
def raise_to(typing_context, team, index, value):
    """Set the word at `index` to the greater of itself and `value`, as unsigned numbers."""

    def codegen(context, builder, signature, arguments):
        team, index, value = arguments
        return builder.atomic_rmw("umax", _word(builder, team, index), value, "seq_cst")

    return types.int64(types.int64, types.int64, types.int64), codegen


@intrinsic
def exchange(typing_context, team, index, old, new):
    """Set the word at `index` to `new` if it is `old`; whether it was."""

    def codegen(context, builder, signature, arguments):
        team, index, old, new = arguments
        result = builder.cmpxchg(_word(builder, team, index), old, new, "seq_cst", "seq_cst")
        return builder.extract_value(result, 1)

    return types.boolean(*[types.int64] * 4), codegen


@intrinsic
def greater(typing_context, a, b):
    """Whether a > b, as unsigned numbers."""

    def codegen(context, builder, signature, arguments):
        return builder.icmp_unsigned(">", *arguments)

    return types.boolean(types.int64, types.int64), codegen


@intrinsic
def pause(typing_context):
    """Tell the core that this thread waits in a loop."""

    def codegen(context, builder, signature, arguments):
        hints = {"x86_64": ("llvm.x86.sse2.pause", []), "AMD64": ("llvm.x86.sse2.pause", [])}
        hints |= dict.fromkeys(("aarch64", "arm64"), ("llvm.aarch64.hint", [_INT(1)]))
        if hint := hints.get(platform.machine()):
            name, operands = hint
            function = ir.FunctionType(ir.VoidType(), [operand.type for operand in operands])
            builder.call(builder.module.globals.get(name) or ir.Function(builder.module, function, name), operands)
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def call_kernel(typing_context, address, arguments, lo, hi, part):
    """The status of the kernel at `address`."""

    def codegen(context, builder, signature, values):
        return builder.call(builder.inttoptr(values[0], _KERNEL), values[1:])

    return types.int64(*[types.int64] * 5), codegen


@intrinsic
def copy_bytes(typing_context, target, source, size):
    """Copy `size` bytes, which may overlap."""

    def codegen(context, builder, signature, arguments):
        byte = ir.IntType(8).as_pointer()
        function = ir.FunctionType(byte, [byte, byte, _WORD])
        found = builder.module.globals.get("memmove") or ir.Function(builder.module, function, "memmove")
        target, source, size = arguments
        builder.call(found, [builder.inttoptr(target, byte), builder.inttoptr(source, byte), size])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


def _reader(bits):
    @intrinsic
    def read(typing_context, address):
        """The signed integer at an address."""

        def codegen(context, builder, signature, arguments):
            number = builder.load(builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer()))
            return builder.sext(number, _WORD) if bits < 64 else number

        return types.int64(types.int64), codegen

    return read


read_byte, read_int, read_word = _reader(8), _reader(32), _reader(64)


@intrinsic
def call_lock(typing_context, address, lock):
    """Call `int PyThread_acquire_lock(lock, WAIT_LOCK)` or `void PyThread_release_lock(lock)`, both without the GIL."""

    def codegen(context, builder, signature, values):
        function = ir.FunctionType(_INT, [_WORD, _INT]).as_pointer()
        builder.call(builder.inttoptr(values[0], function), [values[1], _INT(1)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def call_yield(typing_context, address):
    """Call `int sched_yield(void)`."""

    def codegen(context, builder, signature, values):
        builder.call(builder.inttoptr(values[0], ir.FunctionType(_INT, []).as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def address_of(typing_context, pointer):
    """The address in a pointer."""

    def codegen(context, builder, signature, arguments):
        return builder.ptrtoint(arguments[0], _WORD)

    return types.int64(pointer), codegen


@njit
def take_parts(team, ticket, member):
    """Run parts of the launch `ticket` until none is open, as number `member` of its threads."""
    kernel, arguments, tiles = load(team, KERNEL), load(team, ARGUMENTS), load(team, TILES)
    parts, threads, claims = load(team, PARTS), load(team, THREADS), load(team, CLAIMS)
    if member >= threads:
        return
    part = member * parts // threads
    for turn in range(parts):
        # A look at a claim before the exchange costs a transfer of its cache line; the first is probably open.
        if (turn == 0 or load(team, claims + part) == ticket) and exchange(team, claims + part, ticket, -ticket):
            status = call_kernel(kernel, arguments, part * tiles // parts, (part + 1) * tiles // parts, part)
            if status != 0:
                raise_to(team, STATUS, status)
            add(team, DONE, 1)
        part += 1
        if part == parts:
            part = 0


@njit
def lead(team, threads, kernel, arguments, tiles, parts):
    """Run a launch with the help of the team, which the caller has made busy; the greatest status of its parts."""
    ticket, claims = load(team, TICKET) + 1, load(team, CLAIMS)
    prepare(team, DONE, 0)
    prepare(team, STATUS, 0)
    prepare(team, KERNEL, kernel)
    prepare(team, ARGUMENTS, arguments)
    prepare(team, TILES, tiles)
    prepare(team, PARTS, parts)
    prepare(team, THREADS, threads)
    for part in range(parts):
        prepare(team, claims + part, ticket)
    store(team, TICKET, ticket)
    helper = HELPERS
    for _ in range(1, threads):
        if load(team, helper + ASLEEP) == 1 and exchange(team, helper + ASLEEP, 1, 0):
            call_lock(load(team, RELEASE), load(team, helper + LOCK))
        helper += HELPER_WORDS
    take_parts(team, ticket, 0)
    turns = 0
    while load(team, DONE) != parts:
        turns += 1
        if turns % PATIENCE:
            pause()
        else:
            call_yield(load(team, YIELD))
    return load(team, STATUS)


@njit
def steer(code, a, b, c, row, arguments, bases):
    """Carry out a row that is no launch; the row that follows."""
    if code == SET:
        bases[a] = bases[b] + c
    elif code == BRANCH:
        return c if bases[a] < b else row + 1
    elif code == SWAP:
        bases[a], bases[b] = bases[b], bases[a]
    elif code == COPY:
        target = bases[arguments[2 * a]] + arguments[2 * a + 1]
        copy_bytes(target, bases[arguments[2 * a + 2]] + arguments[2 * a + 3], b)
    elif code == LOAD:
        address = bases[arguments[2 * b]] + arguments[2 * b + 1]
        bases[a] = read_byte(address) if c == 1 else read_int(address) if c == 4 else read_word(address)
    return row + 1


@njit
def walk(launches, arguments, bases, resolved, team, threads, failure, lane, words, lo, hi):
    """Run the rows lo..hi; 0, or one more than the number of the launch that failed, its status in `failure`."""
    first = address_of(resolved)
    k = lo
    while k < hi:
        row = LAUNCH_WORDS * k
        kernel, begin, tiles, parts = launches[row], launches[row + 1], launches[row + 2], launches[row + 3]
        if kernel == FORK and threads > 1 and exchange(team, BUSY, 0, 1):
            words[ROW] = k
            failed = lead(team, threads, lane, address_of(words), begin, begin)
            store(team, BUSY, 0)
            if failed != 0:
                return failed
            k = launches[row + LAUNCH_WORDS * begin + 2]
            continue
        if kernel < STEERING:
            k = steer(kernel, begin, tiles, parts, k, arguments, bases)
            continue
        for a in range(begin, begin + launches[row + 4]):
            resolved[a] = bases[arguments[2 * a]] + arguments[2 * a + 1]
        own = first + 8 * begin
        if parts > tiles:
            parts = tiles
        status = 0
        if parts > 1 and threads > 1 and exchange(team, BUSY, 0, 1):
            status = lead(team, threads, kernel, own, tiles, parts)
            store(team, BUSY, 0)
        else:
            for p in range(parts):
                other = call_kernel(kernel, own, p * tiles // parts, (p + 1) * tiles // parts, p)
                if greater(other, status):
                    status = other
        k += 1
        if status != 0:
            failure[0] = status
            return k
    return 0


def run(
    launches: i64[:], arguments: i64[:], bases: i64[:], resolved: i64[:], team: i64, threads: i64, failure: i64[:],
    lane: i64, words: i64[:], fork: i64, lo, hi, part,
):  # fmt: skip
    """Run the rows lo..hi, alone or with the team, as `walk` does."""
    return walk(launches, arguments, bases, resolved, team, threads, failure, lane, words, lo, hi)


def lane(
    launches: i64[:], arguments: i64[:], bases: i64[:], resolved: i64[:], team: i64, threads: i64, failure: i64[:],
    lane: i64, words: i64[:], fork: i64, lo, hi, part,
):  # fmt: skip
    """Run the lanes lo..hi of row `fork`, whose launches are shared with nobody; as `walk` does."""
    for p in range(lo, hi):
        row = LAUNCH_WORDS * (fork + 1 + p)
        failed = walk(
            launches, arguments, bases, resolved, team, 1, failure, lane, words, launches[row + 1], launches[row + 2]
        )
        if failed != 0:
            return failed
    return 0


def helper(team: i64, member: i64, lo, hi, part):
    """Help with the launches of the team until it stops."""
    own = HELPERS + HELPER_WORDS * (member - 1)
    if not exchange(team, own + PRESENT, 0, 1):
        return
    seen, idle = 0, 0  # a launch that began before this thread did may still have open claims
    while load(team, STOP) == 0:
        ticket = load(team, TICKET)
        if ticket != seen:
            take_parts(team, ticket, member)
            seen, idle = ticket, 0
        elif idle < SPINS:
            idle += 1
            if idle % PATIENCE:
                pause()
            else:
                call_yield(load(team, YIELD))
        else:
            store(team, own + ASLEEP, 1)
            waiting = load(team, TICKET) == seen and load(team, STOP) == 0
            if waiting or not exchange(team, own + ASLEEP, 1, 0):  # not: a leader has just woken this thread
                call_lock(load(team, ACQUIRE), load(team, own + LOCK))
            idle = 0
