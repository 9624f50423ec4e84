"""The CPU backend: fused regions become Numba kernels."""

from tgc.backends.cpu.backend import CpuBackend

backend = CpuBackend  # what the entry point names

__all__ = ["CpuBackend", "backend"]
