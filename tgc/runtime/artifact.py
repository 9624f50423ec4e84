"""Saved programs: what is in a file that `Compiled.save` writes and `tgc.load` reads.

    manifest.json                     versions, checksums, and of each program types, structures and codes
    tensors.safetensors               constants of the traced graphs, and as compiled programs have them in memory
    programs/0/trace.tgir             the traced graph, from which any machine can compile it
    programs/0/91c2ab03/plan          of code for one kind of machine: what the backend needs beside object code
    programs/0/91c2ab03/stages/03-fuse.tgir
    programs/0/91c2ab03/kernels/map_add.py
    objects/map_add_5f0c...           object code, shared by programs

A file holds programs for several types of arguments, and of each one code for several machines. There is no pickle in
it, but there is machine code: **trust a file as you would trust a program.** Its checksums find damage, not malice.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from tgc import __version__
from tgc.errors import ArtifactError, ParseError, TgcError, VerifyError
from tgc.ir import Graph, Value
from tgc.runtime import archive
from tgc.runtime.archive import Archive, tensor_name
from tgc.runtime.lowered import Lowered
from tgc.runtime.registry import Packed, get_backend
from tgc.text import constants_of, parse, print_graph
from tgc.types import BY_SHORT_NAME, F8E4M3, F8E5M2, SHORT_NAMES, TensorType
from tgc.verify import verify

LAST = "memory"  # the stage that is compiled


@dataclass(frozen=True)
class Code:
    """A program as compiled for one kind of machine.

    Attributes:
        target: what was asked for: "native", or a level such as "avx2".
        packed: what the backend makes an executable of.
        stages: the graph after each pass, as text, in order; the traced one is the program's.
        kernels: name -> source.
    """

    target: str
    packed: Packed
    stages: Mapping[str, str]
    kernels: Mapping[str, str]


@dataclass(frozen=True)
class Program:
    """A traced function of arrays of exactly some types, with the codes that there are of it.

    Attributes:
        name: of the graph.
        trace: the traced graph as text, without its constants.
        constants: digest -> array, of the traced graph.
        inputs, outputs: names and types.
        arguments, results: structures, as of `tgc.runtime.structures`.
        donated, backend, memory_limit, autotune, pipeline: as `Lowered` has them.
        codes: for different targets.
    """

    name: str
    trace: str
    constants: Mapping[str, np.ndarray] = field(repr=False)
    inputs: tuple[tuple[str, TensorType], ...]
    outputs: tuple[tuple[str, TensorType], ...]
    arguments: Any
    results: Any
    donated: tuple[int, ...]
    backend: str
    memory_limit: int | None
    autotune: bool
    pipeline: str | None
    codes: tuple[Code, ...] = ()

    @staticmethod
    def of(lowered: Lowered, arguments: Any, results: Any, outputs: Iterable[str], targets: Sequence[str]) -> Program:
        """A traced function, compiled for some targets: "native", or what the backend knows by name.

        Raises:
            BackendError: the backend knows no such target.
            VerifyError: a constant has no data.
        """
        graph, backend = lowered.graph, lowered.backend.split(":")[0]
        codes = []
        for target in targets:
            own = replace(lowered, backend=lowered.backend if target == "native" else f"{backend}:{target}")
            stages = {name: print_graph(g) for name, g in list(own.stages.items())[1:]}
            made = get_backend(own.backend)
            packed = made.pack(own.compilation.result, own.donated)
            codes.append(Code(made.level, packed, stages, own.kernels))
        return Program(
            graph.name, print_graph(graph), graph_constants(graph), tuple((v.name, v.type) for v in graph.inputs),
            tuple(zip(outputs, (v.type for v in graph.outputs), strict=True)), arguments, results, lowered.donated,
            backend, lowered.memory_limit, lowered.autotune, lowered.pipeline, tuple(codes),
        )  # fmt: skip

    @property
    def call(self) -> tuple[object, ...]:
        """What calls of it have in common."""
        return repr(self.arguments), tuple(t for _, t in self.inputs)

    @cached_property
    def graph(self) -> Graph:
        """The traced graph.

        Raises:
            ArtifactError: a constant is damaged, or the text is no graph.
        """
        try:
            graph = parse(self.trace, self.constants)
            verify(graph)
        except (ParseError, VerifyError) as error:
            raise ArtifactError(f"the traced graph of {self.name} is none: {error}") from error
        return graph

    @property
    def values(self) -> tuple[Value, ...]:
        """The inputs as a graph has them."""
        return tuple(Value(t, name=name) for name, t in self.inputs)

    def lowered(self, backend: str | None = None) -> Lowered:
        """The traced graph on its way to machine code once more, for `backend` or the one that it was saved for."""
        options = self.memory_limit, self.autotune, self.pipeline
        return Lowered(self.graph, self.donated, backend or self.backend, *options)

    def and_codes(self, other: Program) -> Program:
        """This program with the codes of one that is the same otherwise, for targets that it has none for itself."""
        own = {c.packed.machine for c in self.codes}
        return replace(self, codes=(*self.codes, *(c for c in other.codes if c.packed.machine not in own)))


def graph_constants(graph: Graph) -> dict[str, np.ndarray]:
    """Digest -> data, of a graph and its regions.

    Raises:
        VerifyError: one has no data.
    """
    found: dict[str, np.ndarray] = {}
    for c in constants_of(graph):
        if c.data is None:
            raise VerifyError(f"constant {c.digest} of graph @{graph.name} has no data to save")
        found[c.digest] = np.asarray(c.data)
    return found


def merged(old: Sequence[Program], new: Sequence[Program]) -> list[Program]:
    """All programs; of those for the same calls the new one, with codes of the old one if it has the same graph."""
    found = {p.call: p for p in old}
    for p in new:
        before = found.get(p.call)
        same = before is not None and (before.trace, before.donated) == (p.trace, p.donated)
        found[p.call] = p.and_codes(before) if same and before is not None else p
    return list(found.values())


# ---------------------------------------------------------------------------------------------------------- writing


def write(path: str | os.PathLike[str], programs: Sequence[Program]) -> None:
    """Write a file at once: it has its old or its new content, whatever happens."""
    members: dict[str, bytes] = {}
    tensors: dict[str, np.ndarray] = {}
    labels: dict[str, tuple[str, tuple[int, ...]]] = {}

    def stored(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        names = {}
        for key, array in arrays.items():
            names[key] = name = tensor_name(array)
            tensors.setdefault(name, array)
        return names

    listed = []
    for number, p in enumerate(programs):
        folder = f"programs/{number}"
        members[f"{folder}/trace.tgir"] = p.trace.encode()
        constants = {}
        for digest, name in stored(p.constants).items():
            array = p.constants[digest]
            labels.setdefault(name, (_LABELS.get(array.dtype, "U8"), array.shape))
            constants[digest] = [name, SHORT_NAMES[array.dtype], array.shape]
        codes = []
        for c in p.codes:
            place, packed = _folder(number, c.packed.machine), c.packed
            members[f"{place}/plan"] = packed.plan
            members |= {_stage(place, k, n): t.encode() for k, (n, t) in enumerate(c.stages.items(), 1)}
            members |= {f"{place}/kernels/{n}.py": text.encode() for n, text in c.kernels.items()}
            members |= {f"objects/{symbol}": code for symbol, code in packed.objects.items()}
            codes.append({
                "target": c.target, "machine": packed.machine, "tools": packed.tools, "stages": list(c.stages),
                "kernels": list(c.kernels), "objects": list(packed.objects), "tensors": stored(packed.tensors),
            })  # fmt: skip
        listed.append({
            "name": p.name, "constants": constants, "inputs": _types_to_json(p.inputs),
            "outputs": _types_to_json(p.outputs), "arguments": p.arguments, "results": p.results, "donated": p.donated,
            "backend": p.backend, "memory_limit": p.memory_limit, "autotune": p.autotune, "pipeline": p.pipeline,
            "codes": codes,
        })  # fmt: skip
    labels = {name: label for name, label in labels.items() if label[0] != "U8" or tensors[name].dtype.itemsize == 1}
    archive.write_archive(path, {"tgc": __version__, "programs": listed}, members, tensors, labels)


# dtypes as safetensors names them; complex numbers are bytes there
_LABELS = {
    dtype: {F8E4M3: "F8_E4M3", F8E5M2: "F8_E5M2"}.get(dtype, short.upper())
    for dtype, short in SHORT_NAMES.items()
    if dtype.kind != "c"
}


def _types_to_json(named: Iterable[tuple[str, TensorType]]) -> list[Any]:
    return [[name, SHORT_NAMES[t.dtype], t.shape] for name, t in named]


def _folder(number: int, machine: str) -> str:
    return f"programs/{number}/{hashlib.sha256(machine.encode()).hexdigest()[:8]}"


def _stage(folder: str, number: int, name: str) -> str:
    return f"{folder}/stages/{number:02d}-{re.sub('[^A-Za-z0-9_]', '_', name)}.tgir"


# ---------------------------------------------------------------------------------------------------------- reading


def read(path: str | os.PathLike[str]) -> tuple[Archive, list[Program]]:
    """What `write` wrote; tensors are read from the file when they are used.

    Raises:
        ArtifactError: the file is damaged, of another version of the format, or nothing of the kind.
    """
    found = Archive(path)
    try:
        listed = _list(_get(found.manifest, "programs", list), dict)
        return found, [_program(found, number, item) for number, item in enumerate(listed)]
    except ArtifactError as error:
        raise ArtifactError(f"{found.path}: {error}") from error


class _Tensors(Mapping[str, np.ndarray]):
    """Arrays in an archive, which are read and checked when they are asked for."""

    def __init__(self, archive: Archive, entries: Mapping[str, tuple[str, TensorType | None]]) -> None:
        self._archive, self._entries = archive, entries

    def __getitem__(self, key: str) -> np.ndarray:
        name, t = self._entries[key]
        array = self._archive.tensor(name)
        if t is None:
            return array
        if array.nbytes != t.nbytes:
            raise ArtifactError(f"constant {key} has {array.nbytes} bytes; its type is {t}")
        return array.view(t.dtype).reshape(t.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _program(archive: Archive, number: int, item: Mapping[str, Any]) -> Program:
    folder = f"programs/{number}"
    constants = {
        digest: (_name(name), _type(dtype, shape))
        for digest, (name, dtype, shape) in _rows(_get(item, "constants", dict).items(), 3)
    }
    inputs = _types(_get(item, "inputs", list))
    donated = tuple(_list(_get(item, "donated", list), int))
    if not all(0 <= i < len(inputs) for i in donated):
        raise ArtifactError(f"an input that is donated is none: {donated}")
    return Program(
        _get(item, "name", str), _text(archive, f"{folder}/trace.tgir"), _Tensors(archive, constants), inputs,
        _types(_get(item, "outputs", list)), _get(item, "arguments", object), _get(item, "results", object), donated,
        _get(item, "backend", str), _get(item, "memory_limit", int | None), _get(item, "autotune", bool),
        _get(item, "pipeline", str | None),
        tuple(_code(archive, number, code) for code in _list(_get(item, "codes", list), dict)),
    )  # fmt: skip


def _code(archive: Archive, number: int, item: Mapping[str, Any]) -> Code:
    machine = _get(item, "machine", str)
    folder = _folder(number, machine)
    tools = {key: str(version) for key, version in _get(item, "tools", dict).items()}
    names = {key: (_name(name), None) for key, name in _get(item, "tensors", dict).items()}
    objects = {
        symbol: bytes(_member(archive, f"objects/{symbol}")) for symbol in _list(_get(item, "objects", list), str)
    }
    plan = bytes(_member(archive, f"{folder}/plan"))
    stages = [(n, _stage(folder, k, n)) for k, n in enumerate(_list(_get(item, "stages", list), str), 1)]
    kernels = [(n, f"{folder}/kernels/{n}.py") for n in _list(_get(item, "kernels", list), str)]
    texts = [{name: _text(archive, place) for name, place in pairs} for pairs in (stages, kernels)]
    return Code(_get(item, "target", str), Packed(machine, tools, plan, _Tensors(archive, names), objects), *texts)


def _get(item: Mapping[str, Any], key: str, kind: Any) -> Any:
    """A field of the manifest, which must be of a type."""
    if key not in item or not isinstance(item[key], kind):
        what = f"it is {item[key]!r:.40}" if key in item else "there is none"
        raise ArtifactError(f"field {key!r} of the manifest is not of type {getattr(kind, '__name__', kind)}: {what}")
    return item[key]


def _list(items: list[Any], kind: type) -> list[Any]:
    if wrong := [i for i in items if not isinstance(i, kind)]:
        raise ArtifactError(f"{wrong[0]!r:.40} in the manifest is not of type {kind.__name__}")
    return items


def _rows(items: Iterable[tuple[str, Any]], length: int) -> Iterator[tuple[str, list[Any]]]:
    for key, row in items:
        if not isinstance(row, list) or len(row) != length:
            raise ArtifactError(f"{key!r:.40} in the manifest has no row of {length}")
        yield key, row


def _types(items: list[Any]) -> tuple[tuple[str, TensorType], ...]:
    return tuple((str(name), _type(dtype, shape)) for _, (name, dtype, shape) in _rows((("", i) for i in items), 3))


def _type(dtype: Any, shape: Any) -> TensorType:
    sizes = _list(shape, int) if isinstance(shape, list) else [-1]
    if not isinstance(dtype, str) or dtype not in BY_SHORT_NAME or min(sizes, default=0) < 0:
        raise ArtifactError(f"the manifest has a type of dtype {dtype!r:.40} and shape {shape!r:.60}")
    try:
        return TensorType(BY_SHORT_NAME[dtype], tuple(sizes))
    except TgcError as error:
        raise ArtifactError(str(error)) from error


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise ArtifactError(f"the manifest has {name!r:.40} for the name of a tensor")
    return name


def _member(archive: Archive, name: str) -> memoryview:
    if name not in archive.members:
        raise ArtifactError(f"it has no member {name!r:.80}")
    return archive.members[name]


def _text(archive: Archive, name: str) -> str:
    try:
        return str(_member(archive, name), "utf-8")
    except UnicodeDecodeError as error:
        raise ArtifactError(f"member {name} is no text: {error}") from error
