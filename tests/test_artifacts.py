"""Saved programs: what comes back, in this process and others, on other machines, and from damaged files."""

from __future__ import annotations

import io
import json
import os
import random
import stat
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import optree
import pytest
import safetensors.numpy
from test_processes import run

import tgc
import tgc.numpy as tnp
from tgc.errors import ArtifactError, BackendError, DTypeError, ShapeError, TgcError, TraceError
from tgc.jit import Compiled
from tgc.runtime import archive
from tgc.runtime.archive import ALIGNMENT, Archive
from tgc.runtime.registry import get_backend

X86 = pytest.mark.skipif("avx2" not in get_backend("cpu").target.features, reason="needs avx2")

RNG = np.random.default_rng(0)
W, B = RNG.standard_normal((64, 32)).astype(np.float32), RNG.standard_normal(7).astype(np.float32)
X = RNG.standard_normal((5, 64)).astype(np.float32)
HALF = RNG.standard_normal((3, 5)).astype(ml_dtypes.bfloat16)
EIGHTH = RNG.standard_normal(9).astype(ml_dtypes.float8_e4m3fn)
COMPLEX = RNG.standard_normal(6) * (1 + 2j)
INDEX, MASK, EMPTY = np.array([2, 0, 1]), np.array([True, False, True]), np.empty((0, 3))


def sequence(x: Any) -> Any:
    """A scan, a while loop and a branch, with a constant that their bodies read."""
    last, rows = tgc.scan(lambda h, row: (tnp.tanh(h + row @ W), h.sum()), tnp.zeros(32, np.float32), x)
    halved = tgc.while_loop(lambda v: (v > 1).any(), lambda v: v / 2, tnp.abs(x))
    return tgc.cond(rows.sum() > 0, lambda: last, lambda: -last), halved


PROGRAMS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = {
    "array": (lambda x: tnp.tanh(x @ W), (X,), {}),
    "nested": (lambda p, q: {"b": [p["w"] + q[0], (q[1][0], None)], "a": {0: q[0]}}, ({"w": X}, (X, [B])), {}),
    "ordered": (lambda x: OrderedDict(z=x + 1, a=x), (B,), {}),
    "keywords": (lambda x, *, scale, shift: x * scale + shift, (X,), {"scale": X, "shift": 2}),
    "numbers": (lambda x, k, c: (x * k, c + 1), (X, 2.5, True), {}),
    "no arguments": (lambda: tnp.arange(5) + INDEX.sum(), (), {}),
    "no results": (lambda x: (), (X,), {}),
    "an argument": (lambda x: (x, x), (X,), {}),
    "empty": (lambda x: (x + 1, x.sum()), (np.ones((0, 3), np.float32),), {}),
    "constants": (lambda x: (tnp.concatenate([x, EMPTY]), tnp.where(MASK, x, 0), EMPTY), (np.ones((2, 3)),), {}),
    "bfloat16": (lambda x: tnp.exp(x) @ HALF.T, (HALF,), {}),
    "float8": (lambda x: x + tnp.astype(EIGHTH, np.float32), (np.ones(9, np.float32),), {}),
    "complex": (lambda x: tnp.exp(x) * COMPLEX, (COMPLEX,), {}),
    "integers": (lambda x: tnp.take(B, x), (INDEX,), {}),
    "loops": (sequence, (X,), {}),
    "sorted": (lambda x: tnp.sort(x @ W, axis=1), (X,), {}),
}


def compiled(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Compiled:
    made: Compiled = tgc.jit(f).compiled(*args, **kwargs)
    return made


def same(a: Any, b: Any) -> bool:
    """Equal structures of arrays equal to the last bit."""
    (xs, s), (ys, t) = optree.tree_flatten(a), optree.tree_flatten(b)
    pairs = [(np.asarray(x), np.asarray(y)) for x, y in zip(xs, ys, strict=False)]
    return s == t and all((x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes()) for x, y in pairs)


# --------------------------------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize("name", PROGRAMS)
def test_round_trip(name: str, tmp_path: Path) -> None:
    f, args, kwargs = PROGRAMS[name]
    jitted, path = tgc.jit(f), tmp_path / "f.tgc"
    jitted.compiled(*args, **kwargs).save(path)
    loaded = tgc.load(path)
    assert loaded.notes == ()
    assert same(loaded(*args, **kwargs), jitted(*args, **kwargs))
    lowered = jitted.lower(*args, **kwargs)
    assert loaded.programs[0].program.graph == lowered.graph
    assert loaded.stages == {stage: str(graph) for stage, graph in lowered.stages.items()}
    assert loaded.graph == lowered.stages["memory"]
    assert loaded.kernels == lowered.kernels
    assert [str(t) for t in loaded.inputs.values()] == [str(v.type) for v in lowered.graph.inputs]
    assert [str(t) for t in loaded.outputs.values()] == [str(v.type) for v in lowered.graph.outputs]


def test_names(tmp_path: Path) -> None:
    """Of arguments and results, in the order in which they lie in the structures."""
    compiled(lambda p, x: {"y": [p["w"] + x], "z": x}, {"w": X}, X).save(tmp_path / "f.tgc")
    loaded = tgc.load(tmp_path / "f.tgc")
    assert [*loaded.inputs] == ["p.w", "x"]
    assert [*loaded.outputs] == ["y.0", "z"]
    assert repr(loaded) == "<lambda(p.w: f32[5,64], x: f32[5,64]) -> y.0: f32[5,64], z: f32[5,64]; native>"
    compiled(lambda x: x + 1, X).save(tmp_path / "f.tgc")
    assert [*tgc.load(tmp_path / "f.tgc").outputs] == ["result"]


def test_donated_arguments(tmp_path: Path) -> None:
    tgc.jit(lambda x, y: x * 2 + y, donate="x").compiled(X, X).save(tmp_path / "f.tgc")
    loaded, mine = tgc.load(tmp_path / "f.tgc"), X.copy()
    result = loaded(mine, X)
    assert np.shares_memory(result, mine)
    assert np.array_equal(result, X * 2 + X)
    with pytest.raises(TraceError, match="donated argument 0 shares its memory"):
        loaded(mine, mine)


def test_a_training_step(tmp_path: Path) -> None:
    """Donated state in nested dictionaries, step after step."""

    def loss(p: Any, x: Any) -> Any:
        return ((tnp.tanh(x @ p["layer"]["w"] + p["layer"]["b"])) ** 2).mean()

    def step(p: Any, x: Any, rate: float) -> Any:
        value, g = tgc.value_and_grad(loss)(p, x)
        return {"layer": {k: v - rate * g["layer"][k] for k, v in p["layer"].items()}}, value

    state = [{"layer": {"w": W.copy(), "b": np.zeros(32, np.float32)}} for _ in range(2)]
    jitted = tgc.jit(step, donate="p")
    jitted.compiled(state[0], X, 0.5).save(tmp_path / "f.tgc")
    for _ in range(3):
        (state[0], a), (state[1], b) = jitted(state[0], X, 0.5), tgc.load(tmp_path / "f.tgc")(state[1], X, 0.5)
        assert same((state[0], a), (state[1], b))


def test_static_arguments_are_left_out(tmp_path: Path) -> None:
    tgc.jit(lambda x, axis: x.sum(axis=axis), static="axis").compiled(X, 1).save(tmp_path / "f.tgc")
    assert np.allclose(tgc.load(tmp_path / "f.tgc")(X), X.sum(axis=1), rtol=1e-5)


def test_errors_name_what_is_out_of_range(tmp_path: Path) -> None:
    compiled(lambda i: tnp.take(B, i), INDEX).save(tmp_path / "f.tgc")
    with pytest.raises(tgc.errors.OutOfRangeError, match=r"test_artifacts\.py"):
        tgc.load(tmp_path / "f.tgc")(INDEX + 100)


def test_sizes_that_were_symbols_are_numbers_in_the_file(tmp_path: Path) -> None:
    jitted = tgc.jit(lambda x: tnp.tanh(x).sum(axis=1))
    for n in range(3, 7):
        jitted(X[:1].repeat(n, 0))
    jitted.compiled(X[:2]).save(tmp_path / "f.tgc")
    loaded = tgc.load(tmp_path / "f.tgc")
    assert np.allclose(loaded(X[:2]), jitted(X[:2]))
    with pytest.raises(ShapeError, match=r"x: f32\[2,64\]"):
        loaded(X[:3])


def test_profile(tmp_path: Path) -> None:
    compiled(lambda x: tnp.tanh(x @ W), X).save(tmp_path / "f.tgc")
    assert any("tanh" in row.name for row in tgc.load(tmp_path / "f.tgc").profile(X).rows)


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    lowered = tgc.jit(lambda x: x + 1).lower(X)
    lowered.save(tmp_path / "f.tgc")
    with pytest.raises(BackendError, match="a target must be one of"):
        lowered.save(tmp_path / "f.tgc", targets=["z80"])
    keys = tgc.jit(lambda p: p[1, 2]).lower({(1, 2): X})
    with pytest.raises(TraceError, match="arguments hold a dict"):
        keys.save(tmp_path / "f.tgc")
    assert same(tgc.load(tmp_path / "f.tgc")(X), X + 1)  # the file that was there


# ---------------------------------------------------------------------------------------------------- several programs


def test_several_shapes_in_one_file(tmp_path: Path) -> None:
    jitted, path = tgc.jit(lambda x: x @ W), tmp_path / "f.tgc"
    jitted.compiled(X).save(path)
    jitted.compiled(X[:3]).save(path, add=True)
    jitted.compiled(X.astype(np.float64)).save(path, add=True)
    constants = [array for p in tgc.load(path).programs for array in p.program.constants.values()]
    assert len({array.ctypes.data for array in constants if array.nbytes == W.nbytes}) == 1 < len(constants)
    loaded = tgc.load(path)
    assert len(loaded.programs) == 3
    for x in (X, X[:3], X.astype(np.float64)):
        assert same(loaded(x), jitted(x))
    with pytest.raises(ShapeError, match=r"f32\[2,64\].*x: f32\[5,64\]\) or \(x: f32\[3,64\]"):
        loaded(X[:2])
    with pytest.raises(DTypeError, match="i32"):
        loaded(X.astype(np.int32))
    with pytest.raises(TraceError, match="structure"):
        loaded(X, X)


def test_what_is_added_replaces_what_is_called_alike(tmp_path: Path) -> None:
    path = tmp_path / "f.tgc"
    compiled(lambda x: x + 1, X).save(path)
    compiled(lambda x: x + 2, X).save(path, add=True)
    loaded = tgc.load(path)
    assert len(loaded.programs) == 1
    assert same(loaded(X), X + 2)
    with pytest.raises(FileNotFoundError):
        compiled(lambda x: x, X).save(tmp_path / "none.tgc", add=True)


@X86
def test_several_targets_in_one_file(tmp_path: Path) -> None:
    f, path = compiled(lambda x: tnp.tanh(x @ W), X), tmp_path / "f.tgc"
    f.save(path, targets=["avx2"])
    f.save(path, targets=["native", "baseline"], add=True)
    loaded = tgc.load(path)
    assert [c.target for c in loaded.programs[0].program.codes] == ["native", "baseline", "avx2"]
    for level in ("avx2", "baseline"):
        other = tgc.load(path, backend=f"cpu:{level}")
        assert other.notes == ()
        assert np.allclose(other(X), loaded(X), rtol=1e-4, atol=1e-5)


@X86
def test_another_machine_compiles_from_the_graph(tmp_path: Path) -> None:
    path = tmp_path / "f.tgc"
    compiled(sequence, X).save(path)
    other = tgc.load(path, backend="cpu:avx2")
    [note] = other.notes
    assert "is compiled here from its graph: the code in the file (native) is for another machine" in note
    assert all(np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(other(X), tgc.load(path)(X), strict=True))
    assert other.kernels
    assert other.graph.nodes


@X86
def test_targets_are_added_without_the_function(tmp_path: Path) -> None:
    path = tmp_path / "f.tgc"
    compiled(sequence, X).save(path)
    tgc.load(path).compiled(X).save(path, targets=["avx2"], add=True)
    assert [c.target for c in tgc.load(path).programs[0].program.codes] == ["avx2", "native"]
    assert tgc.load(path, backend="cpu:avx2").notes == ()


PROGRAM = """
x = normal(5, 64)
loaded = tgc.load({path!r})
result = loaded(x)
compiler = sorted({{"numba", "tgc.backends.cpu.compile"}} & {{*sys.modules}})
print((loaded.notes, float(result.sum()), compiler))
"""


@X86
def test_other_processes(tmp_path: Path) -> None:
    """One with the same target compiles nothing, without a cache; one with another does."""
    path, x = tmp_path / "f.tgc", np.random.default_rng([0, 5, 64]).standard_normal((5, 64)).astype(np.float32)
    jitted = tgc.jit(lambda x: tnp.tanh(x @ W) + x.sum())
    jitted.compiled(x).save(path)
    code = PROGRAM.format(path=str(path))
    said = run(code, tmp_path / "none", TGC_CACHE="0")
    assert said[0] == ()
    assert said[1] == float(jitted(x).sum())
    assert said[2] == []
    other = run(code, tmp_path / "none", TGC_CACHE="0", TGC_TARGET="avx2", TGC_COMPILE_PROCESSES="1")
    assert "@lambda is compiled here" in other[0][0]
    assert other[1] == pytest.approx(said[1], rel=1e-4)
    assert other[2] != []


# ------------------------------------------------------------------------------------------------------------ the file


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with constants, loops and two programs."""
    return saved(tmp_path_factory.mktemp("artifact") / "sound.tgc")


def saved(path: Path) -> Path:
    compiled(sequence, X).save(path)
    compiled(lambda x: x @ W + 1, X[:2]).save(path, add=True)
    return path


def test_constants_are_mapped(sound: Path) -> None:
    found = tgc.load(sound).programs[0].program.constants
    (constant,) = (array for array in found.values() if array.shape == W.shape)
    assert np.array_equal(constant, W)
    assert constant.ctypes.data % ALIGNMENT == 0
    assert not constant.flags.writeable
    base: Any = constant
    while isinstance(base, np.ndarray):
        base = base.base
    assert type(base.obj).__name__ == "mmap"


def test_safetensors_reads_the_constants(sound: Path) -> None:
    with zipfile.ZipFile(sound) as file:
        assert file.testzip() is None
        arrays = safetensors.numpy.load(file.read(archive.TENSORS))
    assert any(a.dtype == W.dtype and np.array_equal(a, W) for a in arrays.values())


def test_equal_programs_are_equal_files(sound: Path, tmp_path: Path) -> None:
    assert saved(tmp_path / "again.tgc").read_bytes() == sound.read_bytes()


def test_a_file_is_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f.tgc"
    mask = os.umask(0o027)
    try:
        compiled(lambda x: x + 1, X).save(path)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    monkeypatch.setattr(archive, "_info", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compiled(lambda x: x + 2, X).save(path)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["f.tgc"]
    assert same(tgc.load(path)(X), X + 1)


# ------------------------------------------------------------------------------------------------------- damaged files


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {info.filename: file.read(info) for info in file.infolist()}


def zipped(contents: dict[str, bytes] | list[tuple[zipfile.ZipInfo | str, bytes]], **options: Any) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", **options) as file:
        for name, content in contents.items() if isinstance(contents, dict) else contents:
            file.writestr(name, content)
    return data.getvalue()


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def refused(path: Path, data: bytes, match: str) -> None:
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=match) as caught:
        tgc.load(path)
    assert str(path) in str(caught.value)


def test_what_is_no_artifact(tmp_path: Path) -> None:
    path = tmp_path / "f.tgc"
    with pytest.raises(FileNotFoundError):
        tgc.load(path)
    with pytest.raises(ArtifactError, match="is no regular file"):
        tgc.load(tmp_path)
    for data in (b"", b"PK", bytes(1000), b"PK\x05\x06" + bytes(18)):
        refused(path, data, "no whole zip file|no manifest")
    refused(path, zipped({"a": b"b"}), "no manifest")
    refused(path, zipped({"manifest.json": b"{"}), "manifest is no JSON")
    refused(path, zipped({"manifest.json": b"[" * 100_000}), "manifest is no JSON")
    refused(path, zipped({"manifest.json": b"{}"}), "not one of a tgc artifact")


def test_names_that_lead_elsewhere(sound: Path, tmp_path: Path) -> None:
    whole = members(sound)
    for name in ("../up", "/etc/passwd", "a/../../b", "c:\\d", "a//b", "a/", ".hidden", "\u202eabc"):
        refused(tmp_path / "f.tgc", zipped([*whole.items(), (name, b"")]), "has the name|no whole zip file")


def test_members_of_other_kinds(sound: Path, tmp_path: Path) -> None:
    whole, path = members(sound), tmp_path / "f.tgc"
    refused(path, zipped(whole, compression=zipfile.ZIP_DEFLATED), "is not stored as it is")
    refused(path, zipped([*whole.items(), (link("objects/a"), b"/etc/passwd")]), "is no regular file")
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = zipped([*whole.items(), ("objects/a", b""), ("objects/a", b"")])
    refused(path, twice, "two members have the name objects/a")
    refused(path, zipped({**whole, "objects/a": b""}), "lists other members than there are")
    refused(path, zipped({k: v for k, v in whole.items() if "trace" not in k}), "lists other members than there are")


def test_swapped_members(sound: Path, tmp_path: Path) -> None:
    whole = members(sound)
    objects = [name for name in whole if name.startswith("objects/")]
    for a, b in pairwise(objects):
        data = zipped({**whole, a: whole[b], b: whole[a]})
        refused(tmp_path / "f.tgc", data, "do not have the checksum in the manifest")


def test_versions(sound: Path, tmp_path: Path) -> None:
    whole = members(sound)
    manifest = json.loads(whole["manifest.json"])
    for version in (0, 2, 99, -1):
        data = zipped({**whole, "manifest.json": json.dumps({**manifest, "version": version}).encode()})
        refused(tmp_path / "f.tgc", data, f"has version {version} of the format; this tgc reads version 1")


def test_code_of_another_tgc_is_not_run(sound: Path, tmp_path: Path) -> None:
    whole, path = members(sound), tmp_path / "f.tgc"
    manifest = json.loads(whole["manifest.json"])
    for name in [name for name in whole if name.endswith("code.json")]:
        code = json.loads(whole[name])
        whole[name] = json.dumps({**code, "machine": code["machine"] + " older"}).encode()
        manifest["members"][name] = archive._entry(whole[name])
    path.write_bytes(zipped({**whole, "manifest.json": json.dumps(manifest).encode()}))
    loaded = tgc.load(path)
    assert len(loaded.notes) == 2
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(loaded(X), tgc.load(sound)(X), strict=True))


@pytest.mark.parametrize("member", ["program.json", "code.json"])
def test_fields_of_other_kinds(member: str, sound: Path, tmp_path: Path) -> None:
    """Written by another program, with checksums that are right."""
    whole, path, refusals = members(sound), tmp_path / "f.tgc", set()
    name = next(name for name in whole if name.endswith(member))
    for container, key in places(json.loads(whole[name])):
        for junk in JUNK if isinstance(container, dict) else JUNK[:3]:
            data = json.loads(whole[name])
            _at(data, container, key)[key] = junk
            manifest = json.loads(whole["manifest.json"])
            changed = {name: json.dumps(data).encode()}
            manifest["members"][name] = archive._entry(changed[name])
            path.write_bytes(zipped({**whole, **changed, "manifest.json": json.dumps(manifest).encode()}))
            try:
                tgc.load(path)
            except TgcError as error:
                refusals.add(str(error).removeprefix(f"{path}: ")[:24])
    assert len(refusals) > 5


def _at(data: Any, container: Any, key: Any) -> Any:
    """The container in `data` that is equal to another one."""
    return data if data == container else next(c for c, k in places(data) if c == container and k == key)


def test_members_that_overlap(sound: Path, tmp_path: Path) -> None:
    """As in zip bombs: the directory names one member twice."""
    data = zipped({"manifest.json": b"x" * 50, "objects/aaaaaaa.json": b"y" * 50})
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        second = file.infolist()[1].header_offset
    where = data.rindex(b"PK\x01\x02") + 42
    assert struct.unpack_from("<I", data, where) == (second,)
    refused(tmp_path / "f.tgc", data[:where] + struct.pack("<I", 0) + data[where + 4 :], "lie where|no whole zip")


JUNK: tuple[Any, ...] = (None, -1, 2**70, 1.5, "", "../x", [], {}, [[]], True, "f" * 32, ["f" * 32, "f32", [2**62] * 9])


def places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Containers in JSON, each with a key of it."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield data, key
        yield from places(value)


def mutant(rng: random.Random, data: bytes, whole: dict[str, bytes]) -> bytes:
    """A damaged file: bytes that differ, are missing or too many, members exchanged, or another manifest."""
    place, much = rng.randrange(len(data)), rng.choice((1, 4, 64, 5000))
    tail = max(0, len(data) - rng.randrange(1, 4000))
    match rng.randrange(8):
        case 0 | 1:
            place = rng.choice((place, tail, rng.randrange(200)))
            return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
        case 2:
            return data[: rng.choice((place, tail))]
        case 3:
            return data[:place] + data[place + much :]
        case 4:
            return data[:place] + rng.randbytes(much) + data[place:]
        case 5:
            return data[:place] + rng.randbytes(much) + data[place + much :]
        case 6:
            a, b = rng.sample(sorted(whole), 2)
            return zipped({**whole, a: whole[b], b: whole[a]})
        case _:
            manifest = json.loads(whole["manifest.json"])
            container, key = rng.choice(list(places(manifest)))
            container[key] = rng.choice(JUNK)
            return zipped({**whole, "manifest.json": json.dumps(manifest).encode()})


@pytest.mark.parametrize("seed", range(4))
def test_mutants_are_refused_or_right(seed: int, sound: Path, tmp_path: Path) -> None:
    """Errors are tgc's own; nothing else is raised, and no damaged machine code runs."""
    rng, data, whole = random.Random(seed), sound.read_bytes(), members(sound)
    path, want, outcomes = tmp_path / "f.tgc", tgc.load(sound)(X), {True: 0, False: 0}
    for _ in range(int(os.environ.get("TGC_MUTANTS", "250"))):
        path.write_bytes(mutant(rng, data, whole))
        try:
            loaded = tgc.load(path)
            result, _ = loaded(X), loaded.programs[0].program.graph
        except TgcError:
            outcomes[False] += 1
        else:
            assert all(np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(result, want, strict=True))
            outcomes[True] += 1
    assert outcomes[False] > 3 * outcomes[True] > 0


def test_a_damaged_constant_is_found_when_it_is_used(sound: Path, tmp_path: Path) -> None:
    data, path = sound.read_bytes(), tmp_path / "f.tgc"
    place = data.index(W.tobytes()) + 100
    path.write_bytes(data[:place] + b"!" + data[place + 1 :])
    found = Archive(path)
    name = archive.tensor_name(W)
    with pytest.raises(ArtifactError, match=f"tensor {name} is damaged: it has another checksum"):
        found.tensor(name)
    for other in found.tensors.keys() - {name}:
        found.tensor(other)
