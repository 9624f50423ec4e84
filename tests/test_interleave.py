"""Loops that call functions of `vmath` are interleaved, others are left to LLVM."""

from __future__ import annotations

import re

from tgc.backends.cpu.compile import kernel_llvm
from tgc.backends.cpu.lowering import INTERLEAVED as COUNT
from tgc.backends.cpu.target import CpuTarget

SOURCE = """
from tgc.backends.cpu.vmath import exp_f32, log_f32

def f(x: f32[:], y: f32[:], n: i64, lo, hi, part):
    for tile in range(lo, hi):
        for i in range(0, n):
            y[i] = exp_f32(x[i])
        for i in range(0, n):
            y[i] = y[i] * x[i]
        for i in range(0, n):
            y[i] = log_f32(y[i])
        y[tile] = exp_f32(x[tile])
"""


def test_innermost_loops_with_functions_are_marked() -> None:
    text = kernel_llvm(SOURCE, "f", CpuTarget.host(), optimized=False)
    marked = re.findall(r"br label .*!llvm\.loop (!\d+)", text)
    assert len(set(marked)) == len(marked) == 2  # distinct nodes: equal ones would be one loop to LLVM
    for node in marked:
        (hint,) = re.findall(rf"^{node} = !{{ {node}, (!\d+) }}", text, re.MULTILINE)
        assert re.search(rf'^{hint} = !{{ !"llvm.loop.interleave.count", i32 {COUNT} }}', text, re.MULTILINE)


def test_a_short_constant_loop_is_all_vectors() -> None:
    """16 columns, as of a contraction's epilogue: what is interleaved leaves nothing over."""
    lanes = CpuTarget.host().lanes("f4")
    text = kernel_llvm(SOURCE.replace("range(0, n)", f"range(0, {COUNT * lanes})"), "f", CpuTarget.host())
    assert len(re.findall(rf"call <{lanes} x float> @llvm\.fma", text)) > 2 * COUNT
    assert len(re.findall(r"store float", text)) == 1  # of the call outside of the loops
