"""The CPU backend: fused regions become Numba kernels."""

from tgc.backends.cpu.backend import CpuBackend as backend

__all__ = ["backend"]
