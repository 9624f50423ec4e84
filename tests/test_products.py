"""Products whose work is divided by blocks, panels and pieces: sizes where there is none, or just one too many."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_golden import compiled_for
from test_passes import TARGET, traced

import tgc
import tgc.numpy as tnp
from tgc.backends.cpu.target import CpuTarget
from tgc.backends.loops.ir import Prefetch
from tgc.backends.loops.lower import lower
from tgc.backends.loops.statements import statements
from tgc.backends.loops.tiled import even
from tgc.ops import contraction
from tgc.passes import PIPELINE, parse_pipeline, run
from tgc.passes.memory import planned


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize("most", range(6))
def test_parts_are_nearly_equal_and_few(number: int, most: int) -> None:
    size = even(number, most)
    assert 1 <= size <= max(1, most)
    parts = -(-number // size)
    assert parts == -(-number // max(1, most))


@pytest.mark.parametrize("rows", [0, 1, 100])
def test_packed_constants_meet_any_number_of_rows(rows: int) -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((40, 300), dtype=np.float32)
    x = rng.standard_normal((rows, 40), dtype=np.float32)
    product = tgc.jit(lambda x: x @ weights)(x)
    np.testing.assert_allclose(product, x @ weights, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ((5, 0), (0, 7)),
        ((200, 0), (0, 700)),
        ((0, 5, 3), (0, 3, 7)),
        ((3, 97, 5), (3, 5, 64)),
        ((1, 70), (70, 131)),
        ((1, 3000), (3000, 640)),
        ((4, 1, 9), (4, 9, 300)),
        ((2, 100, 9000), (2, 9000, 64)),
    ],
)
def test_products_of_few_and_many_steps(x: tuple[int, ...], y: tuple[int, ...]) -> None:
    """No sums and long ones, one panel for each of a batch; sums of small integers are exact in any order."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-4, 5, shape).astype(np.float32) for shape in (x, y))
    np.testing.assert_array_equal(tgc.jit(lambda a, b: a @ b)(a, b), a @ b)


@pytest.mark.parametrize("near_l3", [True, False])
def test_a_thread_takes_many_units_of_a_long_sum(near_l3: bool) -> None:
    """As of gradients by weights, where both operands are read as they lie."""
    target = replace(CpuTarget.host(), threads=1, near_l3=near_l3)
    made = run(parse_pipeline(PIPELINE), traced(lambda x, y: x.T @ y, "f32[2048,256]", "f32[2048,512]"), target).result
    x, y = (np.random.default_rng(0).integers(-4, 5, (2048, n)).astype(np.float32) for n in (256, 512))
    (got,) = compiled_for(target).compile(planned(made, {}), ())([x, y])
    np.testing.assert_array_equal(got, x.T @ y)


@pytest.mark.parametrize("columns", [7, 16, 64, 200])
def test_products_without_a_sum(columns: int) -> None:
    def outer(x: Any, y: Any) -> Any:
        return contraction.dot(x, y, batch=((), ()), contract=((), ()))

    x, y = np.arange(50, dtype=np.float32), np.arange(columns, dtype=np.float32)
    np.testing.assert_array_equal(tgc.jit(outer)(x, y), np.multiply.outer(x, y))


@pytest.mark.parametrize("rows", [600, 3, 2051])
def test_a_vector_meets_a_large_matrix_by_rows(rows: int) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.integers(-4, 5, (rows, 120_000 // rows + 500, 3)).astype(np.float32)
    vector = rng.integers(-4, 5, (rows,)).astype(np.float32)
    got = tgc.jit(lambda m, v: (v @ m.reshape(rows, -1), m.reshape(rows, -1).T @ v[:, None]))(matrix, vector)
    np.testing.assert_array_equal(got[0], vector @ matrix.reshape(rows, -1))
    np.testing.assert_array_equal(got[1], matrix.reshape(rows, -1).T @ vector[:, None])


@pytest.mark.parametrize(
    ("f", "types", "asked"),
    [
        (lambda x, y, z: x @ y + z, ("f32[20,30]", "f32[30,70]", "f32[20,70]"), {("y0", True), ("x2", False)}),
        (lambda x, y, z: x @ y + z, ("f32[20,30]", "f32[30,70]", "f32[70]"), {("y0", True)}),  # that every row reads
        (lambda x, y, z: x @ y + z, ("f32[20,30]", "f32[30,70]", "f32[20,1]"), {("y0", True)}),
        (lambda x, y, z: (x @ y + z.T).T, ("f32[20,30]", "f32[30,70]", "f32[70,20]"), set()),  # columns are far apart
        (lambda x, y, z: x @ y + z, ("f32[20,9000]", "f32[9000,70]", "f32[20,70]"), set()),  # ends are rare
    ],
)
def test_short_sums_ask_for_what_they_need_at_their_ends(
    f: Any, types: tuple[str, ...], asked: set[tuple[str, bool]]
) -> None:
    """Where the third-level cache is far."""
    for near_l3 in (True, False):
        target = replace(TARGET, near_l3=near_l3)
        *_, node = run(parse_pipeline(PIPELINE), traced(f, *types), target).result.nodes
        (kernel,) = lower(node, target)
        found = {(s.buffer.name, s.written) for s in statements(kernel.body) if isinstance(s, Prefetch)}
        assert found == (set() if near_l3 else asked)


@pytest.mark.parametrize("rows", [1, 5, 13, 64, 101])
@pytest.mark.parametrize("columns", [1, 64, 100, 192])
def test_tiles_add_their_sums_to_what_lies_in_memory(rows: int, columns: int) -> None:
    """Alone, to a bias or a number, to a residual in place and elsewhere, to the same row again; in rows or turned."""
    rng = np.random.default_rng(0)
    shapes = (2, rows, 7), (7, columns), (columns,), (2, rows, columns), ()
    x, w, y, z, one = (np.asarray(rng.integers(-4, 5, shape), np.float32) for shape in shapes)

    functions: list[Callable[..., Any]] = [
        lambda w, x: x @ w,
        lambda w, x, y=y: x @ w + y,
        lambda w, x, one=one: x @ w + one,
        lambda w, x, z=z: x @ w + z[:, :, :1],
        lambda w, x, z=z: z + x @ w,
        lambda w, x, z=z: (x @ w + z).transpose(1, 0, 2),
        lambda w, x, z=z: x @ w + z[:, ::-1],
        lambda w, x, z=z: x @ w + z.transpose(0, 2, 1).reshape(z.shape),
    ]
    for f in functions:
        more = f.__defaults__ or ()
        wanted = f(w, x, *more)
        np.testing.assert_array_equal(tgc.jit(f)(w, x, *more), wanted)
        np.testing.assert_array_equal(tgc.jit(lambda x, f=f: f(w, x))(x), wanted)
    donated = tgc.jit(lambda x, w, z: z + x @ w, donate=("z",))
    np.testing.assert_array_equal(donated(x, w, z * 2), x @ w + z * 2)


def test_sums_that_are_only_stored_do_not_lie_on_the_stack_first() -> None:
    x, w, b = (np.ones(shape, np.float32) for shape in ((12, 5), (5, 64), 64))
    for f, direct in ((lambda x, w, b: x @ w + b, True), (lambda x, w, b: tnp.maximum(x @ w + b, 0), False)):
        (source,) = (s for name, s in tgc.jit(f).lower(x, w, b).kernels.items() if "contraction" in name)
        assert ("tile_c" in source) is not direct


def test_parts_of_a_long_sum_share_no_lines() -> None:
    """They lie side by side in each row of the left operand, as groups of channels do, but far apart: a unit of work
    takes all rows of a part, which so reads its right operand once.
    """
    made = run(parse_pipeline(PIPELINE), traced(lambda x, y: x @ y, "f32[64,65536]", "f32[65536,64]"), TARGET).result
    (kernel,) = (k for node in made.nodes if node.attrs.get("kind") == "contraction" for k in lower(node, TARGET))
    assert kernel.values["group"] == kernel.values["blocks"]
