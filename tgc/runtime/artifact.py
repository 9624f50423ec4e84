"""Saved programs: what is in a file that `Compiled.save` writes and `tgc.load` reads.

    manifest.json                     versions, checksums of all that follows, and which programs and codes there are
    tensors.safetensors               constants of the traced graphs, and as compiled programs have them in memory
    programs/0/program.json           types, structures, options
    programs/0/trace.tgir             the traced graph, from which any machine can compile it
    programs/0/91c2ab03/code.json     of code for one kind of machine: that machine, and what there is of it
    programs/0/91c2ab03/plan          what the backend needs beside object code
    programs/0/91c2ab03/stages/03-fuse.tgir
    programs/0/91c2ab03/kernels/map_add.py
    objects/map_add_5f0c...           object code, shared by programs

A file holds programs for several types of arguments, and of each one code for several machines. There is no pickle in
it, but there is machine code: **trust a file as you would trust a program.** Its checksums find damage, not malice.
"""

from __future__ import annotations

import hashlib
import json
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
from tgc.runtime.structures import from_json
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
        codes: dict[str, Code] = {}
        for target in targets:
            own = replace(lowered, backend=lowered.backend if target == "native" else f"{backend}:{target}")
            stages = {name: print_graph(g) for name, g in list(own.stages.items())[1:]}
            made = get_backend(own.backend)
            packed = made.pack(own.compilation.result, own.donated)
            codes.setdefault(packed.machine, Code(made.level, packed, stages, own.kernels))
        return Program(
            graph.name, print_graph(graph), graph_constants(graph), tuple((v.name, v.type) for v in graph.inputs),
            tuple(zip(outputs, (v.type for v in graph.outputs), strict=True)), arguments, results, lowered.donated,
            backend, lowered.memory_limit, lowered.autotune, lowered.pipeline, tuple(codes.values()),
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

    listed: list[list[str]] = []
    for number, p in enumerate(programs):
        folder = f"programs/{number}"
        members[f"{folder}/trace.tgir"] = p.trace.encode()
        constants = {}
        for digest, name in stored(p.constants).items():
            array = p.constants[digest]
            if array.dtype in _LABELS:
                labels.setdefault(name, (_LABELS[array.dtype], array.shape))
            constants[digest] = [name, SHORT_NAMES[array.dtype], array.shape]
        listed.append([_machine_name(c.packed.machine) for c in p.codes])
        for place, c in zip((f"{folder}/{name}" for name in listed[-1]), p.codes, strict=True):
            packed = c.packed
            members[f"{place}/plan"] = packed.plan
            members |= {_stage(place, k, n): t.encode() for k, (n, t) in enumerate(c.stages.items(), 1)}
            members |= {f"{place}/kernels/{n}.py": text.encode() for n, text in c.kernels.items()}
            members |= {f"objects/{symbol}": code for symbol, code in packed.objects.items()}
            members[f"{place}/code.json"] = _to_json({
                "target": c.target, "machine": packed.machine, "tools": packed.tools, "stages": list(c.stages),
                "kernels": list(c.kernels), "objects": list(packed.objects), "tensors": stored(packed.tensors),
            })  # fmt: skip
        members[f"{folder}/program.json"] = _to_json({
            "name": p.name, "constants": constants, "inputs": _types_to_json(p.inputs),
            "outputs": _types_to_json(p.outputs), "arguments": p.arguments, "results": p.results, "donated": p.donated,
            "backend": p.backend, "memory_limit": p.memory_limit, "autotune": p.autotune, "pipeline": p.pipeline,
        })  # fmt: skip
    archive.write_archive(path, {"tgc": __version__, "programs": listed}, members, tensors, labels)


# dtypes as safetensors names them; complex numbers are bytes there
_LABELS = {
    dtype: {F8E4M3: "F8_E4M3", F8E5M2: "F8_E5M2"}.get(dtype, short.upper())
    for dtype, short in SHORT_NAMES.items()
    if dtype.kind != "c"
}


def _types_to_json(named: Iterable[tuple[str, TensorType]]) -> list[Any]:
    return [[name, SHORT_NAMES[t.dtype], t.shape] for name, t in named]


def _machine_name(machine: str) -> str:
    """The folder of code for that machine."""
    return hashlib.sha256(machine.encode()).hexdigest()[:8]


def _to_json(data: Any) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()


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
        listed = _list(_get(found.manifest, "programs", list), list)
        return found, [_program(found, f"programs/{k}", _list(codes, str)) for k, codes in enumerate(listed)]
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


def _program(archive: Archive, folder: str, codes: Sequence[str]) -> Program:
    item = _json(archive, f"{folder}/program.json")
    constants = {
        digest: (_name(name), _type(dtype, shape))
        for digest, (name, dtype, shape) in _rows(_get(item, "constants", dict).items(), 3)
    }
    inputs, outputs = (_types(_get(item, key, list)) for key in ("inputs", "outputs"))
    for key, types in (("arguments", inputs), ("results", outputs)):
        structure = _get(item, key, object)
        if from_json(structure).num_leaves != len(types):
            raise ArtifactError(f"a structure does not hold {len(types)} arrays: {structure!r:.60}")
    donated = tuple(_list(_get(item, "donated", list), int))
    if not all(0 <= i < len(inputs) for i in donated):
        raise ArtifactError(f"an input that is donated is none: {donated}")
    return Program(
        name=_get(item, "name", str),
        trace=_text(archive, f"{folder}/trace.tgir"),
        constants=_Tensors(archive, constants),
        inputs=inputs,
        outputs=outputs,
        arguments=item["arguments"],
        results=item["results"],
        donated=donated,
        backend=_get(item, "backend", str),
        memory_limit=_get(item, "memory_limit", int | None),
        autotune=_get(item, "autotune", bool),
        pipeline=_get(item, "pipeline", str | None),
        codes=tuple(_code(archive, f"{folder}/{code}") for code in codes),
    )


def _code(archive: Archive, folder: str) -> Code:
    item = _json(archive, f"{folder}/code.json")
    machine = _get(item, "machine", str)
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
    """A field of an object, which must be of a type."""
    if key not in item or not isinstance(item[key], kind):
        what = f"it is {item[key]!r:.40}" if key in item else "there is none"
        raise ArtifactError(f"field {key!r} is not of type {getattr(kind, '__name__', kind)}: {what}")
    return item[key]


def _list(items: list[Any], kind: type) -> list[Any]:
    if wrong := [i for i in items if not isinstance(i, kind)]:
        raise ArtifactError(f"{wrong[0]!r:.40} is not of type {kind.__name__}")
    return items


def _rows(items: Iterable[tuple[str, Any]], length: int) -> Iterator[tuple[str, list[Any]]]:
    for key, row in items:
        if not isinstance(row, list) or len(row) != length:
            raise ArtifactError(f"{key!r:.40} has no row of {length}")
        yield key, row


def _types(items: list[Any]) -> tuple[tuple[str, TensorType], ...]:
    return tuple((str(name), _type(dtype, shape)) for _, (name, dtype, shape) in _rows((("", i) for i in items), 3))


def _type(dtype: Any, shape: Any) -> TensorType:
    sizes = _list(shape, int) if isinstance(shape, list) else [-1]
    if not isinstance(dtype, str) or dtype not in BY_SHORT_NAME or min(sizes, default=0) < 0:
        raise ArtifactError(f"there is a type of dtype {dtype!r:.40} and shape {shape!r:.60}")
    try:
        return TensorType(BY_SHORT_NAME[dtype], tuple(sizes))
    except TgcError as error:
        raise ArtifactError(str(error)) from error


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise ArtifactError(f"{name!r:.40} stands for the name of a tensor")
    return name


def _member(archive: Archive, name: str) -> memoryview:
    if name not in archive.members:
        raise ArtifactError(f"it has no member {name!r:.80}")
    return archive.members[name]


def _json(archive: Archive, name: str) -> dict[str, Any]:
    try:
        found = json.loads(bytes(_member(archive, name)))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"member {name} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ArtifactError(f"member {name} is no JSON object")
    return found


def _text(archive: Archive, name: str) -> str:
    try:
        return str(_member(archive, name), "utf-8")
    except UnicodeDecodeError as error:
        raise ArtifactError(f"member {name} is no text: {error}") from error
