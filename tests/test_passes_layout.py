"""Layout selection: where transposes go, what is packed for register tiles, and the shapes of these."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fuzz_draft import OPS
from test_passes import FEATURES, TARGET, applied, ops, traced

import tgc
from tgc import numpy as tnp
from tgc.backends.cpu.target import X86_LEVELS, CpuTarget
from tgc.interpret import interpret
from tgc.ir import Graph
from tgc.ops.contraction import dot
from tgc.ops.scan import scan
from tgc.ops.window import window_argmax, window_gather, window_scatter
from tgc.passes import run
from tgc.passes.fold import Fold
from tgc.passes.hoist import Hoist
from tgc.passes.layout import Layout
from tgc.passes.sink import SinkTransposes
from tgc.passes.tiles import LOW, heights, tile_shape
from tgc.runtime.lowered import check_pass
from tgc.trace import Tracer, trace
from tgc.types import F32, F64, I32, tensor_type

FAR = replace(TARGET, near_l3=False)
NARROW = CpuTarget.of("x86_64-unknown-linux-gnu", X86_LEVELS["x86-64-v3"], threads=2)  # 8 float32 lanes


def test_dot_reads_transposes_in_place() -> None:
    after, refusals = applied(Layout(), traced(lambda x, y: x.T @ y.T, "f32[4,3]", "f32[5,4]"))
    assert ops(after) == ["relayout", "dot"]
    relayout, product = after.nodes
    assert product.operands == (after.inputs[0], relayout.result)
    assert product.attrs["contract"] == ((0,), (1,))
    assert str(relayout.result.type) == "f32[5,4]{1,0}"
    assert refusals == ["layout: dot of f32[5,4]: columns are strided: the operand is copied at every call"]


def test_rows_are_read_in_their_own_order() -> None:
    """The result is transposed instead, which costs nothing in its kernel."""
    after, _ = applied(Layout(), traced(lambda x, y: x.transpose(1, 0, 2) @ y, "f32[2,3,4]", "f32[4,5]"))
    assert ops(after) == ["dot", "transpose"]


def test_columns_stay_in_order() -> None:
    after, _ = applied(
        Layout(), traced(lambda x, y: tnp.tensordot(x, y.transpose(0, 2, 1), 1), "f32[2,3]", "f32[3,4,5]")
    )
    assert ops(after) == ["transpose", "dot"]


@pytest.mark.parametrize(
    ("columns", "pack", "panel"),
    [(128, True, 64), (80, True, 48), (160, True, 32), (64, True, 0), (32, True, 0), (16, True, 0), (80, False, 0)],
)
def test_constants_are_packed(columns: int, pack: bool, panel: int) -> None:
    """In panels as wide as register tiles, if there are several; the relayout is evaluated by the next pass."""
    y = np.arange(3 * columns, dtype=np.float32).reshape(3, columns)
    made = run([Layout(pack), Fold()], traced(lambda x: x @ y, "f32[7,3]"), TARGET, check_pass)
    assert ops(made.result) == ["dot"]
    (packed,) = (c.value.type for c in made.result.constants)
    assert str(packed) == f"f32[3,{columns}]" + (f"{{1,0;1:{panel}}}" if panel else "")
    assert packed.storage == ((-(-columns // panel), 3, panel) if panel else (3, columns))


@pytest.mark.parametrize(("k", "batch", "packed"), [(256, 5, True), (64, 5, False), (64, 1, True)])
def test_small_matrices_are_packed_alone(k: int, batch: int, packed: bool) -> None:
    """Many had better not go through memory once more."""
    lead = f"{batch}," if batch > 1 else ""
    made, _ = applied(Layout(), traced(lambda x, y: x @ y, f"f32[{lead}1024,{k}]", f"f32[{lead}{k},512]"))
    assert ops(made) == (["relayout", "dot"] if packed else ["dot"])


@pytest.mark.parametrize(
    ("m", "k", "n", "packed"),
    [
        (96, 256, 512, True),
        (95, 256, 512, False),  # few rows: the copy would cost as much as the product
        (96, 32, 256, False),  # small: the copy would cost more than lines read in two halves
        (96, 1 << 16, 512, False),  # one panel alone fills the cache
        (48, 1024, 512, True),  # lines of so many steps leave the first level, and are read again for the next rows
        (47, 1024, 512, False),
        (48, 512, 512, False),
        (48, 1024, 2048, False),  # the copy goes through memory
    ],
)
def test_large_operands_are_packed(m: int, k: int, n: int, packed: bool) -> None:
    def made(f: Any, x: str, y: str, target: Any = TARGET) -> Graph:
        graph = run([Layout()], traced(f, x, y), target, check_pass).result
        assert run([Layout()], graph, target, check_pass).result == graph
        return graph

    def plain(m: int, target: Any) -> list[str]:
        return ops(made(lambda x, y: x @ y, f"f32[{m},{k}]", f"f32[{k},{n}]", target))

    copied = made(lambda x, y: x @ y.T, f"f32[{m},{k}]", f"f32[{n},{k}]")
    assert str(copied.nodes[0].result.type) == f"f32[{n},{k}]" + ("{0,1;0:64}" if packed else "{1,0}")
    assert plain(m, NARROW) == (["relayout", "dot"] if packed else ["dot"])
    assert plain(m, TARGET) == ["dot"]  # wide tiles do not wait for lines,
    assert not packed or plain(m, FAR) == ["relayout", "dot"]  # unless these come from afar
    assert plain(1024, TARGET) == (["relayout", "dot"] if 256 <= k <= 1024 else ["dot"])


@pytest.mark.parametrize(
    ("m", "k", "n", "packed"),
    [
        (48, 512, 512, True),  # more than two threads hold in their caches
        (47, 512, 512, False),
        (95, 256, 512, False),
        (96, 192, 512, False),  # each holds all of it,
        (96, 192, 500, True),  # but vectors lie across two lines
        (192, 2048, 576, True),  # more than caches hold
        (191, 2048, 576, False),
    ],
)
def test_wide_tiles_wait_for_what_lies_far(m: int, k: int, n: int, packed: bool) -> None:
    for target in (FAR, TARGET):
        product = traced(lambda x, y: x @ y, f"f32[{m},{k}]", f"f32[{k},{n}]")
        made = run([Layout()], product, target, check_pass).result
        assert ops(made) == (["relayout", "dot"] if packed and target is FAR else ["dot"])


@pytest.mark.parametrize(("columns", "k", "packed"), [(256, 256, True), (255, 256, False), (256, 128, False)])
def test_wide_tiles_wait_for_rows_that_lie_far(columns: int, k: int, packed: bool) -> None:
    """Of a left operand, at each step of the sum; they do not where the second level holds it."""
    product = traced(lambda x, y: x.T @ y, f"f32[{k},{columns}]", f"f32[{k},100]")
    for target in (FAR, TARGET):
        made = run([Layout()], product, target, check_pass).result
        layout = "{1,0;1:6}" if packed and target is FAR else ""
        assert str(made.nodes[-1].operands[0].type) == f"f32[{k},{columns}]" + layout


@pytest.mark.parametrize(
    ("x", "y", "layout"),
    [
        ("f32[1024,160]", "f32[1024,100]", "{1,0;1:6}"),
        ("f32[3,1024,160]", "f32[3,1024,100]", "{2,0,1;2:6}"),
        ("f32[1024,160]", "f32[1024,90]", ""),  # few columns
        ("f32[256,160]", "f32[256,100]", ""),  # stays in the cache
    ],
)
def test_large_transposed_operands_are_packed_in_rows(x: str, y: str, layout: str) -> None:
    order = (1, 0) if x.count(",") == 1 else (0, 2, 1)
    for target in (NARROW, TARGET):
        made = run([Layout()], traced(lambda x, y: x.transpose(*order) @ y, x, y), target, check_pass).result
        (product,) = (node for node in made.nodes if node.op.name == "dot")
        assert str(product.operands[0].type) == x + (layout if target is NARROW else "")
        assert run([Layout()], made, target, check_pass).result == made


@pytest.mark.parametrize(
    ("f", "x", "y", "turned"),
    [
        (lambda x, y: x @ y.T, "f32[8,512]", "f32[512,512]", True),  # columns would be strided
        (lambda x, y: x.T @ y, "f32[512,512]", "f32[512,8]", True),  # rows are the fastest axis
        (lambda x, y: x.T @ y, "f32[512,512]", "f32[512,1]", True),
        (lambda x, y: x @ y.transpose(0, 2, 1), "f32[3,8,512]", "f32[3,512,512]", True),
        (lambda x, y: x @ y.T, "f32[17,512]", "f32[512,512]", False),  # more than a few rows
        (lambda x, y: x @ y.T, "f32[8,256]", "f32[256,256]", False),  # copied at once
        (lambda x, y: x @ y, "f32[8,512]", "f32[512,512]", False),  # lies as it should
        (lambda x, y: x @ y, "f32[512,512]", "f32[512,8]", False),
    ],
)
def test_a_large_matrix_is_read_as_it_lies(f: Any, x: str, y: str, turned: bool) -> None:
    """Beside few rows or columns: the product is computed transposed, and the large operand neither copied nor cut."""
    made, _ = applied(Layout(), traced(f, x, y))
    assert (ops(made)[-1] == "transpose") == turned
    (product,) = (node for node in made.nodes if node.op.name == "dot")
    if turned:
        large = max(made.inputs, key=lambda v: v.type.size)
        assert large in product.operands
    assert applied(Layout(), made)[0] == made


@pytest.mark.parametrize(("steps", "packed"), [(1, False), (31, False), (32, True), (64, True)])
def test_what_a_scan_reads_at_each_step_is_packed_once(steps: int, packed: bool) -> None:
    """The rows of all steps count: 32 of each."""

    def f(h: Any, w: Any) -> Any:
        return tgc.scan(lambda h, _: (h @ w, None), h, None, length=steps)[0]

    made = run([Layout(), Hoist()], traced(f, "f32[32,256]", "f32[256,256]"), TARGET, check_pass).result
    assert [name for name in ops(made) if name != "full"] == (["relayout", "scan"] if packed else ["scan"])
    (loop,) = (node for node in made.nodes if node.op is scan)
    assert ops(loop.body) == ["dot"]
    assert str(loop.operands[-1].type) == "f32[256,256]" + "{1,0;1:64}" * packed


@pytest.mark.parametrize(
    ("x", "order"),
    [
        ("f32[32,64,64]", "{1,0,2}"),  # a step along the batch would be 16 KiB
        ("f32[32,65,33]", ""),  # another set of the cache each
    ],
)
def test_sums_go_by_in_the_order_of_the_right_operand(x: str, order: str) -> None:
    """The gradient of a layer's weights: inputs [batch, time, features], what the steps gave [time, batch, units]."""
    time = x.split(",")[1]

    def f(x: Any, g: Any) -> Any:
        return dot(x, g, batch=((), ()), contract=((0, 1), (1, 0)))

    after, _ = applied(Layout(), traced(f, x, f"f32[{time},32,512]"))
    assert ops(after) == (["relayout", "dot"] if order else ["dot"])
    assert str(after.nodes[-1].operands[0].type) == x + order


def test_filters_are_packed() -> None:
    filters = np.arange(3 * 3 * 2 * 80, dtype=np.float32).reshape(3, 3, 2, 80) / 100
    attrs = {"stride": (1, 1), "padding": ((0, 0),) * 2, "dilation": (1, 1), "groups": 1}
    g = traced(lambda x: OPS["conv"](x, filters, **attrs), "f32[1,5,5,2]")
    made = run([Layout(), Fold()], g, TARGET, check_pass)
    assert [str(c.value.type) for c in made.result.constants] == ["f32[3,3,2,80]{3,0,1,2;3:48}"]


@pytest.mark.parametrize(
    ("features", "dtype", "m", "n", "shape"),
    [
        (FEATURES, F32, 512, 512, (6, 64)),
        (FEATURES, F32, 512, 96, (8, 48)),  # no column of padding
        (FEATURES, F32, 512, 160, (8, 32)),
        (FEATURES, F32, 512, 1000, (6, 64)),  # as few columns of padding are not worth narrower tiles
        (FEATURES, F32, 512, 16, (8, 16)),
        (FEATURES, F64, 512, 512, (6, 32)),
        (FEATURES, F32, 1, 512, (1, 64)),
        (FEATURES, F32, 3, 512, (6, 64)),
        (FEATURES, F32, 12, 16, (8, 16)),
        (X86_LEVELS["x86-64-v3"], F32, 512, 512, (6, 16)),  # half of the registers
        (X86_LEVELS["x86-64-v3"], F32, 4, 8, (8, 8)),
    ],
)
def test_shapes_of_register_tiles(features: frozenset[str], dtype: Any, m: int, n: int, shape: tuple[int, int]) -> None:
    target = CpuTarget.of("x86_64-unknown-linux-gnu", features)
    rows, columns = tile_shape(target, dtype, m, n)
    assert (rows, columns) == shape
    vectors = columns // target.lanes(dtype)
    assert rows * vectors + vectors + 1 <= target.vector_registers


@pytest.mark.parametrize(
    ("m", "tiles"),
    [
        (1, (0, 1)),
        (4, (0, 1)),
        (5, (1, 0)),
        (8, (0, 2)),
        (10, (1, 1)),
        (12, (2, 0)),
        (16, (2, 1)),
        (32, (4, 2)),
        (64, (10, 1)),
    ],
)
def test_low_tiles_take_the_last_rows(m: int, tiles: tuple[int, int]) -> None:
    assert heights(m, 6) == tiles


@pytest.mark.parametrize("rows", [6, 8])
def test_tiles_of_both_heights_compute_all_rows(rows: int) -> None:
    for m in range(300):
        high, low = heights(m, rows)
        assert m <= high * rows + low * LOW < m + LOW


# ------------------------------------------------------------------------------------------------------- transposes


def test_layout_again_changes_nothing() -> None:
    once, _ = applied(Layout(), traced(lambda x, y: x.T @ y.T, "f32[4,3]", "f32[5,4]"))
    assert "relayout" in str(once)
    again, _ = applied(Layout(), once)
    assert again == once


@pytest.mark.parametrize(("perm", "sinks"), [((0, 3, 1, 2), True), ((3, 2, 1, 0), False), ((0, 2, 1, 3), False)])
def test_sink_keeps_places_in_windows(perm: tuple[int, ...], sinks: bool) -> None:
    """A place in a window is counted row-major: another number where two axes of the window change places."""
    shape, window = (3, 4, 5, 2), (1, 2, 3, 1)  # before the transpose
    grid = [n - w + 1 for n, w in zip(shape, window, strict=True)]
    attrs = dict(window=[window[a] for a in perm], stride=(1,) * 4, padding=((0, 0),) * 4, dilation=(1,) * 4)

    def f(x: Tracer, g: Tracer, at: Tracer) -> list[Any]:
        x, g, at = (y.transpose(*perm) for y in (x, g, at))
        return [
            window_argmax(x, **attrs), window_gather(x, at, **attrs), window_scatter(g, at, shape=x.shape, **attrs)
        ]  # fmt: skip

    graph = trace(f, [tensor_type(F64, shape), tensor_type(F64, grid), tensor_type(I32, grid)])
    after, _ = applied(SinkTransposes(), graph)
    windows = [node for node in after.nodes if node.op.name.startswith("window")]
    assert [all(v.node is None for v in node.operands) for node in windows] == [sinks] * 3
    rng = np.random.default_rng(0)
    arrays = rng.standard_normal(shape), rng.standard_normal(grid), rng.integers(0, 6, grid, np.int32)
    for a, b in zip(interpret(graph, *arrays), interpret(after, *arrays), strict=True):
        np.testing.assert_array_equal(a, b)


def test_sink_cancels_relayouts() -> None:
    """A block in NCHW form, whose convolution is channels-last between transposes, has transposes at its ends alone."""
    attrs = {"stride": (1, 1), "padding": ((1, 1),) * 2, "dilation": (1, 1), "groups": 1}

    def layer(x: Any, w: Any) -> Any:
        y = OPS["conv"](x.transpose(0, 2, 3, 1), w, **attrs).transpose(0, 3, 1, 2)
        return OPS["relu"](y + y)

    g = traced(lambda x, w: layer(layer(x, w), w), "f32[2,3,6,6]", "f32[3,3,3,3]")
    after, _ = applied(SinkTransposes(), g)
    assert ops(after) == ["transpose", "conv", "add", "relu", "conv", "add", "relu", "transpose"]


def test_a_batch_of_no_products() -> None:
    g = traced(lambda x, y: dot(x, y, batch=((0,), (0,)), contract=((2,), (2,))), "f32[0,2,4]", "f32[0,1000,4]")
    assert ops(Layout()(g, TARGET))[-1] == "dot"
