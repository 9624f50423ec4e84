"""Profiles: rows, FLOPs and bytes. What they take is nobody's concern here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgc
from tgc import nn
from tgc import numpy as tnp
from tgc.backends.cpu import roofline
from tgc.backends.cpu.compile import kernel_assembly
from tgc.backends.cpu.target import CpuTarget
from tgc.control import scan
from tgc.errors import BackendError
from tgc.ops.work import traffic
from tgc.runtime.profile import Profile, Roofline, Row

M, N, K = 12, 32, 8


def arrays(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(s, dtype=np.float32) for s in shapes]


def kernels(profile: Profile) -> list[Row]:
    return [row for row in profile.rows if row.kind != "call"]


def test_a_contraction_with_its_epilogue() -> None:
    x, w, b = arrays((M, K), (K, N), (N,))
    compiled = tgc.jit(lambda x, w, b: nn.relu(x @ w + b)).lower(x, w, b).compile()
    profile = compiled.profile(x, w, b)
    (row,) = kernels(profile)
    assert (row.kind, row.launches) == ("contraction", 1)
    assert row.flops == 2 * M * N * K + 2 * M * N
    assert row.bytes == 4 * (M * K + K * N + N + M * N)
    assert 0 < row.limit == profile.roofline.seconds(row.flops, row.bytes)
    assert row.loc
    assert profile.wall > 0
    assert profile.explained > 0


def test_the_table_has_a_line_for_each_row_and_its_sum() -> None:
    (x,) = arrays((M, N))
    profile = tgc.jit(lambda x: nn.softmax(x * 2)).profile(x)
    heading, *lines, total = str(profile).splitlines()
    assert heading.endswith("kernel")
    assert len(lines) == len(profile.rows)
    assert f"explain {100 * profile.explained:.1f} %" in total
    assert [row["name"] for row in profile.as_dicts()] == [row.name for row in profile.rows]


def test_donated_arguments_stay_as_they_are() -> None:
    (x,) = arrays((M, N))
    before = x.copy()
    step = tgc.jit(lambda x: x * 2 + 1, donate=0)
    (row,) = kernels(step.profile(x))
    np.testing.assert_array_equal(x, before)
    assert (row.flops, row.bytes) == (2 * M * N, 2 * 4 * M * N)


def test_kernels_in_a_loop_count_each_time() -> None:
    xs, h, w = arrays((5, M, K), (M, K), (K, K))

    def f(xs: Any, h: Any, w: Any) -> Any:
        return scan(lambda h, x: (tnp.tanh(h @ w + x), None), h, xs)[0]

    rows = kernels(tgc.jit(f).profile(xs, h, w))
    (product,) = (row for row in rows if row.kind == "contraction")
    assert product.launches == 5
    assert product.flops == 5 * (2 * M * K * K + 2 * M * K)
    assert product.bytes == 5 * 4 * (3 * M * K + K * K)


def test_a_slice_reads_no_more_than_it_takes() -> None:
    (x,) = arrays((100, N))
    lowered = tgc.jit(lambda x: x[3:5] + 1).lower(x)
    (node,) = lowered.compilation.result.nodes
    assert traffic(node) == 2 * 4 * 2 * N


def test_arguments_are_checked_as_in_a_call() -> None:
    (x,) = arrays((M, N))
    compiled = tgc.jit(lambda x: x + 1).lower(x).compile()
    with pytest.raises(tgc.errors.ShapeError, match="has shape"):
        compiled.profile(x[1:])


def test_float64_has_half_the_limit() -> None:
    roofline = Roofline(flops=100.0, bandwidth=10.0)
    assert roofline.seconds(100, 5) == 1.0
    assert roofline.seconds(100, 5, itemsize=8) == 2.0
    assert roofline.seconds(100, 50) == 5.0


@pytest.mark.parametrize("level", ["native", "avx2", "baseline"])
def test_what_measures_the_machine_is_as_much_arithmetic_as_it_counts(level: str) -> None:
    """A chain that LLVM sees through would make the machine look quicker; a call of the C library, slower."""
    try:
        target = CpuTarget.host(level)
    except BackendError as lacking:
        pytest.skip(str(lacking))
    source = Path(roofline.__file__).with_name("peak.py").read_text(encoding="utf-8")
    code = kernel_assembly(source, "arithmetic", target)
    operation = r"\s+v?fmadd\w*ps\s" if target.fuses else r"\s+mulps\s"
    loop = max(re.split(r"^\.LBB\w+:", code, flags=re.MULTILINE), key=lambda block: len(re.findall(operation, block)))
    vectors = len(re.findall(operation, loop))
    assert vectors >= roofline.CHAINS
    assert vectors % roofline.CHAINS == 0
    assert "fmaf" not in code
