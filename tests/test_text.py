from __future__ import annotations

import math
import struct
from types import MappingProxyType

import numpy as np
import pytest
from graphs import GRAPHS, applications, block, emit, f32, parametrize_cases, parametrize_graphs
from hypothesis import given
from hypothesis import strategies as st

from tgc.errors import AttributeSpecError, ParseError
from tgc.ir import Builder, Graph, Node, Value, digest_of
from tgc.ops import REGISTRY
from tgc.ops.kinds import Primitive
from tgc.ops.samples import Case
from tgc.text import parse, print_graph, value_names
from tgc.types import SHORT_NAMES, Layout, TensorType

HALF = digest_of(np.float32(0.5))
BLOCK = """\
graph @block(%x: f32[2,8,8,3], %w: f32[3,3,3,4], %b: f32[4]) {
  const %c0: f32[] = DIGEST
  %0: f32[2,8,8,4] = conv %x, %w {dilation=[1,1], groups=1, padding=[[1,1],[1,1]], stride=[1,1]}  # net.py:12
  %1: f32[2,8,8,4] = broadcast %b {axes=[3], shape=[2,8,8,4]}                                     # net.py:12
  %2: f32[2,8,8,4] = add %0, %1                                                                   # net.py:12
  %3: f32[2,8,8,4] = relu %2                                                                      # net.py:13
  %4: f32[2,8,8,4] = broadcast %c0 {axes=[], shape=[2,8,8,4]}
  %5: f32[2,8,8,4] = mul %3, %4
  return %5
}""".replace("DIGEST", HALF)
REGION = """\
graph @main(%x: f32[8], %y: f32[8]) {
  %0: f32[8], %1: i32[8] = fused %x, %y {kind="map", places=[]} body {
    graph @pair(%x: f32[8], %y: f32[8]) {
      %0: f32[8] = add %x, %y
      %1: i32[8] = cast %y {dtype=i32}
      return %0, %1
    }
  }  # net.py:12, net.py:13
  return %0, %1
}"""


def one_node(attrs: dict[str, object], loc: tuple[str, ...] = ()) -> Graph:
    """A graph with one node, whose attributes need not be those of its op."""
    node = Node.make(REGISTRY["add"], (), attrs, [f32()], loc)  # type: ignore[arg-type]
    return Graph("main", (), (), (node,), node.results)


def round_trip(graph: Graph) -> Graph:
    text = print_graph(graph)
    parsed = parse(text, {c.digest: c.data for c in graph.constants if c.data is not None})
    assert parsed == graph
    assert print_graph(parsed) == text
    assert [n.loc for n in parsed.nodes] == [n.loc for n in graph.nodes]
    return parsed


# --------------------------------------------------------------------------------------------------------- printing


def test_printed_block() -> None:
    assert str(block()) == print_graph(block()) == BLOCK


def test_printed_region() -> None:
    assert str(GRAPHS["two results"]) == REGION


def test_long_lists_of_inputs_take_a_line_each() -> None:
    b = Builder()
    inputs = [b.input(f32(128, 128), f"weights_{i}") for i in range(8)]
    graph = b.build(inputs)
    assert str(graph).startswith("graph @main(\n    %weights_0: f32[128,128],\n    %weights_1: f32[128,128],\n")
    round_trip(graph)


def test_one_long_line_does_not_push_all_comments() -> None:
    b = Builder()
    inputs = [b.input(f32(4), f"x{i}") for i in range(40)]
    emit(b, "concat", *inputs, axis=0, loc="a.py:1")
    emit(b, "neg", inputs[0], loc="a.py:2")
    *_, long, short, _, _ = str(b.build([], prune=False)).splitlines()
    assert len(long) > 150
    assert short == "  %1: f32[4] = neg %x0  # a.py:2"


def test_names_are_unique_identifiers() -> None:
    b = Builder()
    x = [b.input(f32(), name) for name in ("x", "x", "x_1", "a/b", "a.b", "0", "é", "%", "graph")]
    c = b.constant(np.int32(1))
    graph = b.build([*x, c])
    assert list(value_names(graph).values()) == ["x", "x_1", "x_1_1", "a_b", "a.b", "_0", "_", "__1", "graph", "c0"]
    assert [v.name for v in round_trip(graph).inputs] == list(value_names(graph).values())[:-1]


def test_undefined_values_print_and_do_not_parse() -> None:
    stray = Value(f32())
    node = Node.make(REGISTRY["neg"], (stray,), {}, [f32()])
    text = print_graph(Graph("main", (), (), (node,), (stray,)))
    assert "neg %?" in text
    assert "return %?" in text
    with pytest.raises(ParseError, match="line 2, column"):
        parse(text)


@pytest.mark.parametrize("attr", [[1], np.int64(1), np.dtype("c32"), (object(),), (1, block())])
def test_foreign_attributes_do_not_print(attr: object) -> None:
    with pytest.raises(AttributeSpecError, match="cannot be printed"):
        print_graph(one_node({"a": attr}))


def test_numbers_of_one_kind_print_alike() -> None:
    values = (1, 1.0, True, np.float64(0.1), -0.0, 10**30, 1e30, math.inf, -math.nan, None, "a\n", "1", (), ((1,), "x"))
    text = print_graph(one_node({f"a{i:02}": v for i, v in enumerate(values)}))
    found = [item.split("=")[1] for item in text[text.index("{a") + 1 : text.index("}\n")].split(", ")]
    wanted = ["1", "1.0", "true", "0.1", "-0.0", f"{10**30}", "1e+30", "inf", "-nan", "none", '"a\\n"', '"1"', "[]"]
    assert found == [*wanted, '[[1],"x"]']


# ------------------------------------------------------------------------------------------------------- round trip


@parametrize_graphs
def test_round_trip(graph: Graph) -> None:
    parsed = round_trip(graph)
    assert [c.data is None for c in parsed.constants] == [False] * len(graph.constants)


@parametrize_cases
def test_round_trip_of_every_op(op: Primitive, of: Case) -> None:
    for _, application in applications(op, of):
        round_trip(application.graph)


floats = st.floats(allow_nan=False) | st.sampled_from([math.nan, -math.nan])
dtypes = st.sampled_from(list(SHORT_NAMES))
items = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | st.text() | dtypes,
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=8,
)


@given(st.dictionaries(st.from_regex(r"[a-z_]\w{0,5}", fullmatch=True).filter(str.isascii), items, max_size=4))
def test_round_trip_of_any_attributes(attrs: dict[str, object]) -> None:
    parsed = round_trip(one_node(attrs))
    assert parsed.nodes[0].attrs.keys() == attrs.keys()


@given(st.text(), st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=3))
def test_round_trip_of_any_names_and_places(name: str, names: list[str], loc: list[str]) -> None:
    b = Builder(name)
    x = [b.input(f32(), n) for n in names]
    b.emit(REGISTRY["full"], (), {"shape": (), "dtype": f32().dtype, "value": 1.0}, tuple(loc))
    assert round_trip(b.build(x, prune=False)).name == name


@given(dtypes, st.lists(st.integers(0, 10**6), max_size=4), st.data())
def test_round_trip_of_any_type(dtype: np.dtype, shape: list[int], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(shape))))
    tiles = data.draw(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 64)), max_size=2))
    layout = data.draw(st.sampled_from([None, Layout(tuple(order), tuple(tiles))]))
    x = Value(TensorType(dtype, tuple(shape), layout), name="x")
    assert round_trip(Graph("main", (x,), (), (), (x,))).inputs[0].type == x.type


def test_nan_sign_survives() -> None:
    for value in (math.nan, -math.nan):
        parsed = parse(print_graph(one_node({"a": value}))).nodes[0].attrs["a"]
        assert struct.pack("<d", parsed) == struct.pack("<d", value)


# ---------------------------------------------------------------------------------------------------------- parsing


def test_handwritten_form() -> None:
    parsed = parse("""
        # a comment of its own line
        graph @main( # inputs
            %x: f32[2, 3], %y: f32[2,3]) {
            %sum: f32[2,3] = add %x,
                                 %y # net.py:1
            %k: f32[2,3] = full {dtype=f32,shape=[2,3],value=1.}
            # another
            %out: f32[2,3] = mul %sum, %k  return %out}
    """)
    b = Builder("main")
    x, y = b.input(f32(2, 3)), b.input(f32(2, 3))
    total = emit(b, "add", x, y)
    assert parsed == b.build([emit(b, "mul", total, emit(b, "full", shape=(2, 3), dtype="f32", value=1.0))])
    assert [n.loc for n in parsed.nodes] == [("net.py:1",), (), ()]


def test_line_ends_of_windows() -> None:
    parsed = parse(BLOCK.replace("\n", "\r\n"))
    assert parsed == block()
    assert parsed.nodes[0].loc == ("net.py:12",)


def test_constants_are_found_by_digest_and_frozen() -> None:
    assert parse(BLOCK).constants[0].data is None
    data = np.array(0.5, np.float32)
    found = parse(BLOCK, {HALF: data}).constants[0].data
    data[()] = 1
    assert found is not None
    assert found == 0.5
    assert not found.flags.writeable


ERRORS = {  # text -> line, column, what was expected
    "": (1, 1, "expected 'graph', got the end of the text"),
    "graph main() {\n return}": (1, 7, "expected '@', got 'main'"),
    "graph @1() { return }": (1, 8, "expected the name of the graph, got '1'"),
    "graph @main(x: f32[2]) { return }": (1, 13, "expected a value such as %x, got 'x'"),
    "graph @main(%x f32[2]) { return }": (1, 16, "expected ':', got 'f32[2]'"),
    "graph @main(%x: f32[2) { return }": (1, 17, "expected a type such as f32[8,32], got 'f32'"),
    "graph @main(%x: f31[2]) { return }": (1, 17, "expected a type of dtype bool, u8"),
    "graph @main(%x: f32[-2]) { return }": (1, 17, "expected a type such as f32[8,32], got 'f32'"),
    "graph @main(%x: f32[2]\n %y: f32[2]) { return }": (2, 2, "expected ',' or ')', got '%y'"),
    "graph @main(%x: f32[2],\n %x: f32[2]) { return }": (2, 2, "expected a value that is not defined yet, got '%x'"),
    "graph @main() {\n  const %c: f32[2] = zz\n}": (2, 22, "expected a digest of 16 hexadecimal digits, got 'zz'"),
    "graph @main() {\n  %0: f32[2] = magic\n}": (2, 16, "expected the name of an op, got 'magic'"),
    "graph @main() {\n  %0: f32[2] = %1\n}": (2, 16, "expected an op, got '%1'"),
    "graph @main() {\n  %0: f32[2] = neg %1\n": (2, 20, "expected a value that is defined above, got '%1'"),
    "graph @main() {\n  return %1\n}": (2, 10, "expected a value that is defined above, got '%1'"),
    "graph @main() {\n  return": (2, 9, "expected a value such as %x, got the end of the text"),
    "graph @main() {\n}": (2, 1, "expected a node or 'return', got '}'"),
    "graph @main() { return } }": (1, 26, "expected the end of the text, got '}'"),
    "graph @main() {\n\tadd {a=$}\n}": (2, 9, "expected a token, got '$'"),
    "graph @main() {\n\tadd {a=truth}\n}": (2, 9, "expected a number, string, dtype, list, true, false or none"),
    "graph @main() { add {a=%true} }": (1, 24, "expected a number, string"),
    "graph @main() { add {a=1_0} }": (1, 24, "expected a number, string"),
    "graph @main() { add {a=1,a=2} }": (1, 26, "expected an attribute that is not given yet, got 'a'"),
    "graph @main() { add {a=1} a {\ngraph": (1, 27, "expected an attribute that is not given yet, got 'a'"),
    "graph @main() { add {a=[1 2]} }": (1, 27, "expected ',' or ']', got '2'"),
    'graph @main() { add {a="\\q"} }': (1, 24, "expected a token, got '\"'"),
    "graph @main() { add body {\n} }": (2, 1, "expected 'graph', got '}'"),
}


@pytest.mark.parametrize("text", ERRORS)
def test_errors_name_the_place(text: str) -> None:
    line, column, expected = ERRORS[text]
    with pytest.raises(ParseError) as caught:
        parse(text)
    message, quoted, caret = str(caught.value).split("\n")
    assert message.startswith(f"line {line}, column {column}: {expected}")
    assert quoted == "    " + text.split("\n")[line - 1]
    assert caret.endswith("^")
    assert len(caret) == 4 + column


def test_the_body_does_not_see_values_around_it() -> None:
    with pytest.raises(ParseError, match="line 4, column 28: expected a value that is defined above, got '%outer'"):
        parse(
            REGION.replace("%y", "%outer", 1)
            .replace("fused %x, %y", "fused %x, %outer")
            .replace("add %x, %y", "add %x, %outer")
        )


@pytest.mark.parametrize("nested", ["[" * 100_000, "graph @main() {\n add body {\n" * 20_000])
def test_deep_nesting_is_refused(nested: str) -> None:
    with pytest.raises(ParseError, match="nested too deeply"):
        parse(f"graph @main() {{ add {{a={nested}" if nested[0] == "[" else nested)


@given(st.text())
def test_any_text_parses_or_is_refused(text: str) -> None:
    with pytest.raises(ParseError, match=r"^line "):
        parse(text)


@given(st.data())
def test_damaged_text_parses_or_is_refused(data: st.DataObject) -> None:
    text = str(data.draw(st.sampled_from(list(GRAPHS.values()))))
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 5))
    damaged = text[:at] + data.draw(st.text('%@{}[]()=,:;"#.-+09aex\n ', max_size=3)) + text[at + cut :]
    try:
        parsed = parse(damaged)
    except ParseError:
        return
    assert parse(print_graph(parsed)) == parsed


def test_parsed_attributes_are_read_only() -> None:
    assert isinstance(parse(REGION).nodes[0].attrs, MappingProxyType)
