"""What ran the benchmarks."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tgc.backends.cpu.target import CpuTarget, thread_count

TOOLS = (
    "tgc",
    "numba",
    "llvmlite",
    "numpy",
    "torch",
    "jax",
    "jaxlib",
    "onnxruntime",
    "tensorflow",
    "tensorflow-cpu",
    "keras",
    "openvino",
)

# LLVM's names of the features beyond the architecture level that speed of tensor code may depend on
NOTABLE = (
    "avx512bf16",
    "avx512fp16",
    "avx512vnni",
    "avxvnni",
    "amx-bf16",
    "amx-int8",
    "bf16",
    "dotprod",
    "i8mm",
    "sve",
)


def describe() -> dict[str, Any]:
    """CPU, cores, instruction set, system and the versions of the tools that are installed."""
    target = CpuTarget.host()
    return {
        "cpu": _cpu(),
        "cores": thread_count(),
        "features": [target.cpu, f"{target.vector_bits}-bit vectors", *(f for f in NOTABLE if f in target.features)],
        "caches_kib": {"l1": target.l1_bytes >> 10, "l2": target.l2_bytes >> 10},
        "system": f"{platform.system()} {platform.release()}",
        "versions": {"python": platform.python_version(), **_versions()},
    }


def moment() -> dict[str, Any]:
    """What may differ among rows of one result: date, commit of this checkout, load of the machine."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def summary(machine: dict[str, Any]) -> str:
    """One sentence about `describe()`'s result."""
    tools = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(machine['features'])}), {machine['system']}; {tools}"
    )


def _cpu() -> str:
    """The model's name as the system has it; virtual machines may give a generic one."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _versions() -> dict[str, str]:
    found = {}
    for name in TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """The commit of this checkout, with a plus if files differ from it; None outside of a checkout."""
    try:
        command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except FileNotFoundError:  # no git
        return None
    return done.stdout.strip() or None
