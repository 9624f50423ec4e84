"""Operators of graphs, sequences and strings: in one compiled program where that can be, else around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx.parser import parse_model

import tgc
from tgc import numpy as tnp
from tgc.frontends.onnx import Model, load
from tgc.frontends.onnx.errors import OnnxError, UntraceableError


def model(text: str) -> Model:
    return load(parse_model(f'<ir_version: 8, opset_import: ["": 20]> {text}'))


def stages(found: Model) -> list[bool]:
    """Whether each stage is compiled."""
    return [stage.compiled for stage in found._program.planned.stages]


X = np.float32([1, -2, 3, 4])

# ------------------------------------------------------------------------------------------------------------------ If

BRANCHES = """
    g (bool c, float[n] x) => (float[k] y) {{
        y = If (c) <then_branch = t () => (float[k] p) {{ {then} }}, else_branch = e () => (float[k] q) {{ {other} }}>
    }}"""


def test_if_of_branches_of_one_type_is_compiled() -> None:
    found = model(BRANCHES.format(then="p = Exp(x)", other="q = Neg(x)"))
    np.testing.assert_allclose(found(np.array(True), X), np.exp(X), rtol=1e-6)
    np.testing.assert_array_equal(found(np.array(False), X), -X)
    assert stages(found) == [True]


def test_if_of_branches_of_different_shapes_runs_on_the_host() -> None:
    found = model(BRANCHES.format(then="p = Concat<axis = 0>(x, x)", other="q = Neg(x)"))
    np.testing.assert_array_equal(found(np.array(True), X), [*X, *X])
    np.testing.assert_array_equal(found(np.array(False), X), -X)
    assert stages(found) == [False]
    with pytest.raises(UntraceableError, match=r'node "y" \(If\)|branches cannot be traced'):
        tgc.jit(lambda c: found.apply({}, c, X))(np.array(True))


def test_if_of_a_condition_on_shapes_is_one_branch() -> None:
    found = model("""
        g (float[n] x) => (float[k] y) {
            s = Size(x) four = Constant<value_int = 4>() c = Greater(s, four)
            y = If (c) <then_branch = t () => (float[k] p) { p = Relu(x) }, else_branch = e () => (float[k] q) {
                z = Constant<value_ints = [2, 2]>() q = Reshape(x, z) }>
        }""")
    assert found(X).shape == (2, 2)
    assert found(np.ones(6, np.float32)).shape == (6,)
    assert stages(found) == [True]


def test_the_branch_that_is_not_taken_may_be_impossible() -> None:
    found = model(BRANCHES.format(then="p = Relu(x)", other="z = Constant<value_ints = [3, 5]>() q = Reshape(x, z)"))
    np.testing.assert_array_equal(found(np.array(True), X), np.maximum(X, 0))
    with pytest.raises(OnnxError, match=r'node "q" \(Reshape\)'):
        found(np.array(False), X)


# ---------------------------------------------------------------------------------------------------------------- Loop

LOOP = """
    g (int64 m, bool c, float[n] x) => (float[k] y{more}) {{
        {before}
        y{rows} = Loop ({trips}, {condition}, x) <body = b (int64 i, bool go, float[k] h) =>
            (bool on, float[k] z{scanned}) {{ {body} }}>
    }}"""


def loop(body: str, *, trips: str = "m", condition: str = "", before: str = "", rows: bool = False) -> Model:
    parts = (", float[a, b] r", ", r", ", float[k] w") if rows else ("", "", "")
    names = dict(zip(("more", "rows", "scanned"), parts, strict=True))
    return model(LOOP.format(body=body, trips=trips, condition=condition, before=before, **names))


M, YES = np.array(3), np.array(True)
THREE = "three = Constant<value_int = 3>()"


def test_loop_of_a_known_count_is_a_scan() -> None:
    found = loop("on = Identity(go) z = Add(h, h) w = Neg(z)", trips="three", before=THREE, rows=True)
    y, rows = found(M, YES, X)
    np.testing.assert_array_equal(y, 8 * X)
    np.testing.assert_array_equal(rows, [-2 * X, -4 * X, -8 * X])
    assert stages(found) == [True]
    assert {node.op.name for node in found.graph({"n": 4}).nodes} >= {"scan"}
    slope = tgc.grad(lambda x: tnp.sum(found.apply({}, M, YES, x)[0]))(X)
    np.testing.assert_array_equal(slope, np.full(4, 8))


def test_loop_of_an_unknown_count_or_condition_is_a_while_loop() -> None:
    found = loop("on = Identity(go) z = Add(h, h)")
    for m in (0, 1, 5):
        np.testing.assert_array_equal(found(np.array(m), YES, X), X * 2**m)
    assert stages(found) == [True]
    found = loop(
        "z = Add(h, h) s = ReduceMax<keepdims = 0>(z) on = Less(s, hundred)",
        before="hundred = Constant<value_float = 100.0>()", trips="", condition="c",
    )  # fmt: skip
    np.testing.assert_array_equal(found(M, YES, X), X * 32)
    np.testing.assert_array_equal(found(M, ~YES, X), X)
    assert {node.op.name for node in found.graph({"n": 4}).nodes} >= {"while_loop"}


def test_short_loops_whose_carry_grows_are_unrolled() -> None:
    found = loop("on = Identity(go) z = Concat<axis = 0>(h, x)", trips="three", before=THREE)
    np.testing.assert_array_equal(found(M, YES, X), [*X, *X, *X, *X])
    assert stages(found) == [True]


def test_other_loops_run_on_the_host() -> None:
    grows = loop("on = Identity(go) z = Concat<axis = 0>(h, x)")
    for m in (0, 2):
        np.testing.assert_array_equal(grows(np.array(m), YES, X), np.tile(X, m + 1))
    assert stages(grows) == [False]
    rows = loop("on = Identity(go) z = Add(h, h) w = Neg(z)", rows=True)
    y, r = rows(M, YES, X)
    np.testing.assert_array_equal(r[-1], -y)
    assert rows(np.array(0), YES, X)[1].shape[0] == 0
    assert stages(rows) == [False]


def test_loop_over_the_rows_of_a_shape() -> None:
    """The count is a size: one program serves all."""
    found = model("""
        g (float[n, 2] x) => (float[2] y) {
            s = Shape<start = 0, end = 1>(x) zero = Constant<value_floats = [0.0, 0.0]>() m = Squeeze(s)
            y = Loop (m, , zero) <body = b (int64 i, bool go, float[2] h) => (bool on, float[2] z) {
                on = Identity(go) row = Gather(x, i) z = Add(h, row) }>
        }""")
    for n in (3, 5, 8):
        x = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
        np.testing.assert_array_equal(found(x), x.sum(0))
    (family,) = found._program.planned.direct._families.values()  # type: ignore[union-attr]
    assert len(family.programs) == 1


# ---------------------------------------------------------------------------------------------------------------- Scan


def test_scan_along_other_axes_and_backwards() -> None:
    found = model("""
        g (float[2] s, float[2, n] x) => (float[2] t, float[2, n] y) {
            t, y = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_input_directions = [1],
                scan_output_axes = [1], scan_output_directions = [1],
                body = b (float[2] h, float[2] r) => (float[2] k, float[2] o) { k = Add(h, r) o = Identity(k) }> (s, x)
        }""")
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    t, y = found(np.zeros(2, np.float32), x)
    np.testing.assert_array_equal(t, x.sum(1))
    np.testing.assert_array_equal(y, x[:, ::-1].cumsum(1)[:, ::-1])
    assert {node.op.name for node in found.graph({"n": 4}).nodes} >= {"scan"}


def test_scan_whose_body_computes_on_the_host() -> None:
    found = model("""
        g (float s, float[n, k] x) => (float t, int64[n] y) {
            t, y = Scan <num_scan_inputs = 1, body = b (float h, float[k] r) => (float e, int64 o) {
                e = Identity(h) i = NonZero(r) o = Size(i) }> (s, x)
        }""")
    assert found(np.float32(1), np.float32([[0, 1], [2, 3]]))[1].tolist() == [1, 2]
    assert stages(found) == [False]


# ----------------------------------------------------------------------------------------------- sequences and strings


def test_sequences_are_compiled() -> None:
    found = model("""
        g (float[n] x) => (float[n] y, int64 k, float[2, n] z) {
            one = Constant<value_int = 1>() minus = Constant<value_int = -1>()
            a = Neg(x) s = SequenceConstruct(x, a) t = SequenceInsert(s, x, one) u = SequenceErase(t, minus)
            y = SequenceAt(u, minus) k = SequenceLength(t) z = ConcatFromSequence<axis = 0, new_axis = 1>(s)
        }""")
    y, k, z = found(X)
    np.testing.assert_array_equal(y, X)
    assert k == 3
    np.testing.assert_array_equal(z, [X, -X])
    assert stages(found) == [True]


@pytest.mark.parametrize(
    ("split", "attributes", "shapes"),
    [
        (None, "axis = 1", [(2, 1)] * 5),
        (None, "axis = 1, keepdims = 0", [(2,)] * 5),
        (2, "axis = 1", [(2, 2), (2, 2), (2, 1)]),
        ([1, 4], "axis = -1", [(2, 1), (2, 4)]),
    ],
)
def test_split_to_sequence(split: Any, attributes: str, shapes: list[tuple[int, ...]]) -> None:
    operand = "" if split is None else ", k"
    kind = "value_int" if isinstance(split, int) else "value_ints"
    constant = "" if split is None else f"k = Constant<{kind} = {split}>()"
    found = model(
        f"g (float[2, 5] x) => (seq(float[a, b]) s) {{ {constant} s = SplitToSequence<{attributes}>(x{operand}) }}"
    )
    x = np.arange(10, dtype=np.float32).reshape(2, 5)
    parts = found(x)
    assert [part.shape for part in parts] == shapes
    np.testing.assert_array_equal(np.concatenate([p.reshape(2, -1) for p in parts], 1), x)


def test_sequence_errors_name_the_node() -> None:
    found = model("g (seq(float[n]) s, int64 i) => (float[n] y) { y = SequenceAt(s, i) }")
    assert found([X], np.array(-1)).tolist() == X.tolist()
    with pytest.raises(OnnxError, match=r'node "y" \(SequenceAt\): position 1 in a sequence of 1'):
        found([X], np.array(1))


def test_strings() -> None:
    found = model("""
        g (string[n] a, string[1] b) => (string[n] c, string[n, k] p, int64[n] m, bool[n] f, string[j] w) {
            c = StringConcat(a, b) p, m = StringSplit<maxsplit = 1>(a) f = RegexFullMatch<pattern = "[a-c ]+">(a)
            w = StringNormalizer<case_change_action = "UPPER", stopwords = ["x Y"]>(a)
        }""")
    c, p, m, f, w = found(np.array(["a b c", "x y"], object), np.array(["!"], object))
    assert c.tolist() == ["a b c!", "x y!"]
    assert p.tolist() == [["a", "b c"], ["x", "y"]]
    assert m.tolist() == [2, 2]
    assert f.tolist() == [True, False]
    assert w.tolist() == ["A B C"]
