from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from graphs import GRAPHS, block, f32, in_region, laid_out

from tgc.errors import AttributeSpecError, CacheError, ParseError, VerifyError
from tgc.ir import Builder, Constant, Graph, Node, Value, digest_of
from tgc.ops import REGISTRY
from tgc.text import load_graph, parse, save_graph
from tgc.types import SHORT_NAMES

HALF = digest_of(np.float32(0.5))  # of the constant of `block`


def packed() -> Graph:
    """A graph with constants of many dtypes and shapes, some in a region."""
    b = Builder("packed")
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 2, (2, 3)).astype(d) for d in SHORT_NAMES]
    arrays += [np.zeros((0, 3), np.float32), np.array(1, ml_dtypes.bfloat16), np.full(3, np.nan, np.float32)]
    constants = [b.constant(a) for a in arrays]
    region = in_region(block())
    inputs = [b.input(v.type) for v in region.inputs]
    return b.build([*constants, *b.emit(REGISTRY["fused"], inputs, {"kind": "map", "body": region, "places": ()})])


def data_of(graph: Graph) -> list[tuple[np.dtype, tuple[int, ...], bytes]]:
    found = [(c.data.dtype, c.data.shape, c.data.tobytes()) for c in graph.constants if c.data is not None]
    assert len(found) == len(graph.constants)
    return found


def test_save_and_load(tmp_path: Path) -> None:
    graph = packed()
    save_graph(graph, tmp_path / "model.tgir")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.tgir", "model.tgir.safetensors"]
    loaded = load_graph(str(tmp_path / "model.tgir"))
    assert loaded == graph
    assert data_of(loaded) == data_of(graph)
    assert data_of(loaded.nodes[0].body.nodes[0].body) == data_of(block())
    assert not any(c.data.flags.writeable for c in loaded.constants if c.data is not None)
    assert (tmp_path / "model.tgir").read_text() == f"{graph}\n"


def test_save_without_constants_leaves_no_sidecar(tmp_path: Path) -> None:
    save_graph(packed(), tmp_path / "model.tgir")
    save_graph(GRAPHS["empty"], tmp_path / "model.tgir")
    assert [p.name for p in tmp_path.iterdir()] == ["model.tgir"]
    assert load_graph(tmp_path / "model.tgir") == GRAPHS["empty"]


def test_save_of_a_strided_constant(tmp_path: Path) -> None:
    data = np.arange(12, dtype=np.float32).reshape(3, 4).T
    value = Value(f32(4, 3), name="c0")
    graph = Graph("main", (), (Constant(value, digest_of(data), data),), (), (value,))
    save_graph(graph, tmp_path / "model.tgir")
    found = load_graph(tmp_path / "model.tgir").constants[0].data
    assert found is not None
    np.testing.assert_array_equal(found, data)


def test_failed_save_keeps_the_old_files(tmp_path: Path) -> None:
    path = tmp_path / "model.tgir"
    save_graph(block(), path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(VerifyError, match=f"constant {HALF} of graph @block has no data"):
        save_graph(parse(str(block())), path)
    node = Node.make(REGISTRY["neg"], (), {"a": object()}, [f32()])  # type: ignore[dict-item]
    with pytest.raises(AttributeSpecError):
        save_graph(Graph("main", (), (), (node,), ()), path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_interrupted_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.tgir"
    save_graph(GRAPHS["empty"], path)

    def full_disk(*args: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="no space left"):
        save_graph(GRAPHS["two results"], path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.tgir"]
    assert load_graph(path) == GRAPHS["empty"]


def test_every_flipped_byte_of_the_sidecar_is_noticed(tmp_path: Path) -> None:
    path, sidecar = tmp_path / "model.tgir", tmp_path / "model.tgir.safetensors"
    save_graph(block(), path)
    good = sidecar.read_bytes()
    noticed = 0
    for i in range(len(good)):
        sidecar.write_bytes(good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :])
        try:
            loaded = load_graph(path)
        except CacheError:
            noticed += 1
        else:  # a byte that changes nothing, such as white space
            assert data_of(loaded) == data_of(block())
    assert noticed > len(good) // 2


def test_missing_and_cut_sidecars_are_noticed(tmp_path: Path) -> None:
    path, sidecar = tmp_path / "model.tgir", tmp_path / "model.tgir.safetensors"
    save_graph(block(), path)
    good = sidecar.read_bytes()
    for data in (b"", good[:-1], good[: len(good) // 2]):
        sidecar.write_bytes(data)
        with pytest.raises(CacheError, match=r"model.tgir.safetensors is corrupted"):
            load_graph(path)
    sidecar.unlink()
    with pytest.raises(CacheError, match=f"has no data of constant {HALF}"):
        load_graph(path)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"graph @main() {", ParseError, r"model.tgir: line 1, column 16: expected a node"),
        (b"\xff", ParseError, r"model.tgir: 'utf-8' codec"),
        (b"graph @main(%x: f32[2]) {\n%0: f32[3] = neg %x\nreturn %0\n}", VerifyError, r"node 0 of @main \(%0 = neg\)"),
    ],
)
def test_damaged_texts_are_refused(tmp_path: Path, data: bytes, error: type[Exception], message: str) -> None:
    path = tmp_path / "model.tgir"
    path.write_bytes(data)
    with pytest.raises(error, match=message):
        load_graph(path)


def test_loading_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_graph(tmp_path / "model.tgir")


def test_layouts_survive_files(tmp_path: Path) -> None:
    save_graph(laid_out(), tmp_path / "model.tgir")
    assert load_graph(tmp_path / "model.tgir") == laid_out()
