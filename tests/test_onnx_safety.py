"""Files that are not to be trusted: every one is refused by an error that says what is wrong, or it is a model."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_mutations
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.parser import parse_model

from tgc.frontends.onnx import load
from tgc.frontends.onnx.errors import InvalidModelError, OnnxError
from tgc.frontends.onnx.reader import MAX_DEPTH, MAX_NODES

HEAD = '<ir_version: 8, opset_import: ["": 17, "local": 1]> '


def proto(text: str) -> ModelProto:
    return parse_model(HEAD + text)


def weighted() -> ModelProto:
    made = proto("g (float[n, 3] x) => (float[n, 4] y) { y = MatMul(x, w) }")
    made.graph.initializer.append(numpy_helper.from_array(np.ones((3, 4), np.float32), "w"))
    return made


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "g (float[n] x) => (float[n] y) { a = Add(x, b) b = Relu(a) y = Neg(b) }",
            'in a cycle: node "a".*node "b".*node "a"',
        ),
        ("g (float[n] x) => (float[n] y) { y = Relu(z) }", r'node "y" \(Relu\) reads "z", which nothing'),
        ("g (float[n] x) => (float[n] y) { z = Relu(x) }", 'nothing in graph "g" defines its output "y"'),
        ("g (float[n] x) => (float[n] y) { y = Relu(x) y = Neg(x) }", '"y" is defined twice'),
        ("g (float[n] x, float[n] x) => (float[n] y) { y = Relu(x) }", '"x" is defined twice'),
        ("g (float[n] x) => (float[n] x) { x = Relu(x) }", '"x" is defined twice'),
        ("g (float[n] x) => (float[n] y) { y = Relu<axis = 1, axis = 2>(x) }", '"axis" is defined twice'),
        ("g (float[n] x) => (float[n] y) { y = other.Relu(x) }", "imports no operator set of the domain 'other'"),
        ("g (float[n] x) => (float[n] y, float[n] z) { y, z = Relu(x) }", r'node "y" \(Relu\) has no output for z'),
        (
            """g (float[n] x) => (float[n] y) { y = local.f(x) }
               <domain: "local", opset_import: ["": 17, "local": 1]> f (x) => (y) { y = local.f(x) }""",
            "the function calls itself",
        ),
    ],
)
def test_graphs_that_contradict_themselves(text: str, message: str) -> None:
    with pytest.raises(InvalidModelError, match=message):
        load(proto(text))(np.ones(3, np.float32))


def test_nodes_in_another_order_are_sorted() -> None:
    found = load(proto("g (float[n] x) => (float[n] y) { y = Relu(z) z = Neg(x) }"))
    np.testing.assert_array_equal(found(np.float32([-1, 1])), [1, 0])


def change(**fields: Any) -> Callable[[TensorProto], None]:
    def apply(t: TensorProto) -> None:
        for name, value in fields.items():
            if name == "dims":
                t.dims[:] = value
            else:
                setattr(t, name, value)

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change(raw_data=bytes(47)), r'tensor "w" of shape \(3, 4\) and type float32 has 47 bytes'),
        (change(dims=(3, 5)), r"\(3, 5\).*48 bytes"),
        (change(dims=(2**40, 2**40)), "has the shape"),
        (change(dims=(2**35,)), "48 bytes"),
        (change(dims=(-3, -4)), "has the shape"),
        (change(data_type=99), "element type 99"),
        (change(data_type=0), "element type 0"),
        (change(data_type=TensorProto.STRING), "48 bytes"),
        (lambda t: t.ClearField("raw_data"), "0 numbers of data in float_data"),
        (change(name="x"), "initializer"),
        (change(name=""), "without a name"),
        (lambda t: t.segment.CopyFrom(TensorProto.Segment(begin=0, end=1)), "segment"),
    ],
)
def test_initializers_whose_data_do_not_fit(damage: Callable[[TensorProto], None], message: str) -> None:
    made = weighted()
    damage(made.graph.initializer[0])
    with pytest.raises(InvalidModelError, match=message):
        load(made)


def test_sparse_initializers() -> None:
    made = proto("g (float[n, 3] x) => (float[n, 4] y) { y = MatMul(x, w) }")
    values = numpy_helper.from_array(np.float32([5, 7]), "w")
    made.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, numpy_helper.from_array(np.int64([1, 11])), [3, 4])
    )
    assert load(made).weights["w"][[0, 2], [1, 3]].tolist() == [5, 7]
    for dims in ([3, 3], [2**40], [-1]):
        made.graph.sparse_initializer[0].dims[:] = dims
        with pytest.raises(InvalidModelError, match='sparse tensor "w"'):
            load(made)


def test_versions_and_names_that_there_are_none_of(tmp_path: Path) -> None:
    made = weighted()
    for version in (0, -3, 2**40):
        made.opset_import[0].version = version
        with pytest.raises(InvalidModelError, match=f"has the version {version}"):
            load(made)
    path = tmp_path / "model.onnx"
    path.write_bytes(weighted().SerializeToString().replace(b"MatMul", b"Mat\xbcul"))
    with pytest.raises(InvalidModelError, match="not UTF-8"):
        load(path)


def test_files_that_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    data = weighted().SerializeToString()
    for content in (b"", b"\x00" * 100, os.urandom(1000), data[: len(data) // 2]):
        path.write_bytes(content)
        with pytest.raises(InvalidModelError):
            load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.onnx")


# ------------------------------------------------------------------------------------------------------ external data


def external(path: Path, **entries: str) -> Path:
    made = weighted()
    t = made.graph.initializer[0]
    t.ClearField("raw_data")
    t.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        t.external_data.add(key=key, value=value)
    path.write_bytes(made.SerializeToString())
    return path


def test_external_data(tmp_path: Path) -> None:
    w = np.arange(12, dtype=np.float32).reshape(3, 4)
    (tmp_path / "data").write_bytes(b"head" + w.tobytes())
    found = load(external(tmp_path / "model.onnx", location="data", offset="4", length="48"))
    np.testing.assert_array_equal(found.weights["w"], w)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "../secret"}, "outside of the model's folder"),
        ({"location": "inner/../../secret"}, "outside of the model's folder"),
        ({"location": "/etc/passwd"}, "outside of the model's folder"),
        ({"location": "link"}, "no file in the model's folder"),
        ({"location": "linked/secret"}, "no file in the model's folder"),
        ({"location": "nothing"}, "no file in the model's folder"),
        ({"location": "."}, "no file in the model's folder"),
        ({"location": ""}, "outside of the model's folder"),
        ({}, "outside of the model's folder"),
        ({"location": "data", "offset": "8"}, "needs 48 bytes"),
        ({"location": "data", "offset": "-1"}, "needs 48 bytes"),
        ({"location": "data", "length": "4"}, "needs 48 bytes"),
        ({"location": "data", "offset": "x"}, "invalid literal"),
    ],
)
def test_external_data_lies_in_the_folder_of_the_model(tmp_path: Path, entries: dict[str, str], message: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "data").write_bytes(bytes(48))
    (tmp_path / "secret").write_bytes(bytes(48))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "linked").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(InvalidModelError, match=message):
        load(external(folder / "model.onnx", **entries))


def test_external_data_of_a_model_without_a_file() -> None:
    made = weighted()
    made.graph.initializer[0].data_location = TensorProto.EXTERNAL
    with pytest.raises(InvalidModelError, match="load the model by its path"):
        load(made)


# -------------------------------------------------------------------------------------------------------------- growth


def nested(depth: int) -> ModelProto:
    """Ifs in ifs."""
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g", [], [helper.make_empty_tensor_value_info("y")]
    )
    for _ in range(depth):
        node = helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([node], "g", [], [helper.make_empty_tensor_value_info("y")])
        if len(graph.SerializeToString()) > 10**7:
            break
    graph.input.append(helper.make_tensor_value_info("x", 1, ["n"]))
    graph.input.append(helper.make_tensor_value_info("c", 9, []))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_depth_is_bounded() -> None:
    calls = "".join(
        f'<domain: "local", opset_import: ["": 17, "local": 1]> f{k} (a) => (b) {{ b = local.f{k + 1}(a) }}'
        for k in range(200)
    )
    last = '<domain: "local", opset_import: ["": 17]> f200 (a) => (b) { b = Relu(a) }'
    with pytest.raises(InvalidModelError, match=f"more than {MAX_DEPTH} deep"):
        load(proto("g (float[n] x) => (float[n] y) { y = local.f0(x) }" + calls + last))
    assert load(nested(3)) is not None


def test_functions_that_multiply_are_bounded() -> None:
    calls = "".join(
        f'<domain: "local", opset_import: ["": 17, "local": 1]> f{k} (a) => (b) '
        f"{{ c = local.f{k + 1}(a) d = local.f{k + 1}(c) e = local.f{k + 1}(d) b = local.f{k + 1}(e) }}"
        for k in range(20)
    )
    last = '<domain: "local", opset_import: ["": 17]> f20 (a) => (b) { b = Relu(a) }'
    with pytest.raises(InvalidModelError, match=f"more than {MAX_NODES} nodes"):
        load(proto("g (float[n] x) => (float[n] y) { y = local.f0(x) }" + calls + last))


def test_what_is_computed_while_tracing_is_bounded() -> None:
    """A shape of 2**40 zeros, of which one is asked for."""
    found = load(
        proto("""
        g (float[n] x) => (float[k] y) {
            n = Constant<value_ints = [1099511627776]>() z = ConstantOfShape(n) i = Constant<value_ints = [3]>()
            m = Gather(z, i) k = Cast<to = 7>(m) y = Tile(x, k)
        }""")
    )
    with pytest.raises(OnnxError, match=r'node "z" \(ConstantOfShape\): .* 1099511627776 elements'):
        found(np.ones(3, np.float32))


@pytest.mark.parametrize("group", range(8))
def test_damaged_models(group: int) -> None:
    """Each is traced, or refused by an error of tgc's own: any other fails."""
    outcomes = [onnx_mutations.attempt(seed) for seed in range(group, 400, 8)]
    assert {"traced", "InvalidModelError"} <= set(outcomes)
