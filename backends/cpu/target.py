"""What the machine offers to generated code: instruction set, vector registers, caches, threads."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import llvmlite.binding as llvm
import numpy as np

from tgc.errors import BackendError

# The micro-architecture levels of the x86-64 psABI, widest first: LLVM tunes for a level, `features` decides what is
# used. Each level contains the ones below it.
X86_LEVELS: dict[str, frozenset[str]] = {
    "x86-64-v4": frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
    "x86-64-v3": frozenset({"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave"}),
    "x86-64-v2": frozenset({"cx16", "popcnt", "sahf", "sse3", "sse4.1", "sse4.2", "ssse3"}),
    "x86-64": frozenset(),
}

# what TGC_TARGET may say; `native` is all that the machine has
RESTRICTIONS = {"native": "", "avx512": "x86-64-v4", "avx2": "x86-64-v3", "baseline": "x86-64"}

# (architecture prefix, features needed): (bits of a vector register, number of them); the first row that fits counts.
REGISTERS: tuple[tuple[str, frozenset[str], int, int], ...] = (
    ("x86_64", X86_LEVELS["x86-64-v4"], 512, 32),
    ("x86_64", frozenset({"avx", "avx2", "fma"}), 256, 16),
    ("x86_64", frozenset(), 128, 16),
    ("aarch64", frozenset(), 128, 32),
    ("arm64", frozenset(), 128, 32),
    ("", frozenset(), 128, 16),
)

L1_BYTES, L2_BYTES = 32 << 10, 512 << 10  # where the system does not tell: the smallest of current machines

FAR_L3 = frozenset({"GenuineIntel"})  # vendors, as the instruction cpuid tells them, whose third-level cache is far
# of <asm/unistd_64.h> and <asm/prctl.h>, and the number of the state in XCR0
_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XTILEDATA = 158, 0x1023, 18

_CPUS = Path("/sys/devices/system/cpu")
_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class CpuTarget:
    """A CPU as generated code sees it.

    Attributes:
        triple: LLVM target triple.
        features: names of the LLVM features that code may use, such as "avx2".
        vector_bits: bits of the vector registers that the vectorizer fills.
        vector_registers: number of those registers.
        threads: number of threads that a parallel launch is meant for.
        l1_bytes: first-level data cache of one core.
        l2_bytes: second-level cache of one core.
        near_l3: whether lines of the third-level cache come soon that no prefetcher has foreseen: within some 50 cycles
            on AMD's processors, but 200 and more on Intel's for servers, whose cores all share one such cache.
    """

    triple: str
    features: frozenset[str]
    vector_bits: int
    vector_registers: int
    threads: int
    l1_bytes: int = L1_BYTES
    l2_bytes: int = L2_BYTES
    near_l3: bool = True

    @classmethod
    def of(
        cls, triple: str, features: frozenset[str], threads: int = 1, *, near_l3: bool = True, **caches: int
    ) -> CpuTarget:
        """The target with these features, its vector registers derived from them."""
        bits, count = next(
            (bits, count)
            for architecture, needed, bits, count in REGISTERS
            if triple.startswith(architecture) and needed <= features
        )
        return cls(triple, features, bits, count, threads, near_l3=near_l3, **caches)

    @classmethod
    def host(cls, level: str | None = None) -> CpuTarget:
        """The machine that runs this process, with the threads that `thread_count` grants: what `level`, by default
        TGC_TARGET, leaves of it.

        Raises:
            BackendError: TGC_NUM_THREADS is no positive integer, or TGC_TARGET no level that the machine has.
        """
        return _host(thread_count(), level or os.environ.get("TGC_TARGET") or "native")

    def restricted(self, name: str) -> CpuTarget:
        """The same machine as if it had only what a level of `RESTRICTIONS` has.

        Raises:
            BackendError: there is no such level, or the machine lacks some of it.
        """
        if name not in RESTRICTIONS:
            raise BackendError(f"a target must be one of {', '.join(RESTRICTIONS)}, not {name!r}")
        level = RESTRICTIONS[name]
        if not level:
            return self
        lower = list(X86_LEVELS)[list(X86_LEVELS).index(level) :]
        kept: frozenset[str] = frozenset().union(*(X86_LEVELS[own] for own in lower))
        if not self.triple.startswith("x86_64") or not kept <= self.features:
            lacking = ", ".join(sorted(kept - self.features)) or "x86-64 instructions"
            raise BackendError(f"target {name}: this machine, {self.triple}, lacks {lacking}")
        caches = {"l1_bytes": self.l1_bytes, "l2_bytes": self.l2_bytes}
        return CpuTarget.of(self.triple, kept, self.threads, near_l3=self.near_l3, **caches)

    @property
    def key(self) -> str:
        """Text that is equal for two targets if and only if the same source compiles to the same code for both."""
        return f"{self.triple} {self.cpu} {self.llvm_features}"

    @property
    def cpu(self) -> str:
        """The LLVM processor to tune for: an architecture level that `features` covers, never the host's own name.

        LLVM derives the host's name from model numbers, which virtual machines report wrongly.
        """
        if not self.triple.startswith("x86_64"):
            return "generic"
        above: frozenset[str] = frozenset()
        for level, own in reversed(X86_LEVELS.items()):
            above |= own
            if not above <= self.features:
                break
            name = level
        return name

    @property
    def llvm_features(self) -> str:
        """The feature string of an LLVM target machine."""
        names = [f"+{name}" for name in sorted(self.features)]
        if "avx512f" in self.features:  # the tuning of x86-64-v4 prefers half-width vectors
            names.append("-prefer-256-bit" if self.vector_bits == 512 else "+prefer-256-bit")
        return ",".join(names)

    @property
    def fuses(self) -> bool:
        """Whether a product and a sum are one instruction; else LLVM calls the C library for each number."""
        return "fma" in self.features or self.triple.startswith(("aarch64", "arm64"))

    @property
    def rounds(self) -> bool:
        """Whether floats are rounded to whole numbers by an instruction; else, too, LLVM calls the C library."""
        return "sse4.1" in self.features or not self.triple.startswith("x86_64")

    @property
    def converts_half(self) -> bool:
        """Whether float16 is converted by instructions; else LLVM calls functions that no process here defines."""
        return "f16c" in self.features or self.triple.startswith(("aarch64", "arm64"))

    @property
    def tile_registers(self) -> bool:
        """Whether 8-bit integers are multiplied in tile registers (see `amx.py`)."""
        return {"amx-tile", "amx-int8"} <= self.features and self.vector_bits == 512

    @property
    def byte_products(self) -> Literal["amx", "vpdpbusd", "pmaddwd", "mul"]:
        """How products of 8-bit integers are added up: in tile registers, or four in each lane of 32 bits (see
        `byte_tile.py`).
        """
        if self.tile_registers:
            return "amx"
        if ("avx512vnni" if self.vector_bits == 512 else "avxvnni") in self.features and self.vector_bits >= 256:
            return "vpdpbusd"
        return "pmaddwd" if self.triple.startswith("x86_64") else "mul"

    def lanes(self, dtype: Any) -> int:
        """How many elements of a NumPy `dtype` one vector register holds."""
        return self.vector_bits // (8 * int(np.dtype(dtype).itemsize))


@functools.cache
def _host(threads: int, level: str) -> CpuTarget:
    features = frozenset(name for name, enabled in llvm.get_host_cpu_features().items() if enabled)
    if "amx-tile" in features and (level != "native" or not _grants_tiles()):
        features = frozenset(name for name in features if not name.startswith("amx-"))
    target = CpuTarget.of(llvm.get_process_triple(), features, threads, near_l3=l3_is_near(), **_cache_sizes())
    return target.restricted(level)


def _grants_tiles() -> bool:
    """Whether the system lets this process use tile registers, for which Linux wants to be asked.

    The answer is for all threads, those to come too, and for forks.
    """
    if not sys.platform.startswith("linux"):
        return False
    call = ctypes.CDLL(None).syscall
    return int(call(*map(ctypes.c_long, (_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XTILEDATA)))) == 0


def thread_count() -> int:
    """Threads for parallel work: TGC_NUM_THREADS, or the physical cores this process may run on.

    The cores are those of the affinity mask, hardware threads of one core counted once, and no more than the CPU quota
    of the control group (version 2) allows.

    Raises:
        BackendError: TGC_NUM_THREADS is no positive integer.
    """
    if text := os.environ.get("TGC_NUM_THREADS"):
        if not text.isdecimal() or int(text) < 1:
            raise BackendError(f"TGC_NUM_THREADS must be a positive integer, not {text!r}")
        return int(text)
    if not hasattr(os, "sched_getaffinity"):  # macOS, Windows
        return os.cpu_count() or 1
    cpus = os.sched_getaffinity(0)
    cores = {_read(_CPUS / f"cpu{cpu}/topology/thread_siblings_list") or str(cpu) for cpu in cpus}
    match _read(Path("/sys/fs/cgroup/cpu.max")).split():
        case [quota, period] if quota != "max":
            return max(1, min(len(cores), -(-int(quota) // int(period))))
    return len(cores)


def _cache_sizes() -> dict[str, int]:
    """Sizes of the data caches of the first core, as keywords of `CpuTarget`; what Linux does not tell is left out."""
    names = {("1", "Data"): "l1_bytes", ("2", "Unified"): "l2_bytes"}
    sizes = {}
    for index in _CPUS.glob("cpu0/cache/index*"):
        name = names.get((_read(index / "level"), _read(index / "type")))
        text = _read(index / "size")  # such as "32K"
        if name and text.endswith("K") and text[:-1].isdecimal():
            sizes[name] = int(text[:-1]) << 10
    return sizes


def l3_is_near() -> bool:
    """What `CpuTarget.near_l3` says, by the vendor of the first core, which virtual machines report rightly; True where
    Linux does not tell it.
    """
    lines = (line.partition(":") for line in _read(_CPUINFO).splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() == "vendor_id"), "") not in FAR_L3


def _read(path: Path) -> str:
    """The text of a file of the system, "" where there is none."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
